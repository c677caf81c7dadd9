"""The dense engine: batches of finite networks, every matrix drawn (or drawn again) in full.

Any architecture. Randomness is a function of (description, seed, stream, sample index) alone: batch size and device
count change nothing but rounding. Networks are float32; sums over samples are float64 (``monte_carlo``).
"""

from __future__ import annotations

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.architecture import Architecture
from sigprop.compiling import jit
from sigprop.rows import Row
from sigprop.simulations.observables import network_rows
from sigprop.simulations.weights import Shape, shapes, slot_tables, stored

NAME = "dense"
DTYPE = "float32"
BATCH_SECONDS = 0.05  # a batch has one shape whatever is asked, so that a width compiles once; short, so little is wasted


def base_key(arch: Architecture, width: int, seed: int, stream: int) -> Any:
    """The key of one stream of networks: a hash of the description, the seed and the stream."""
    described = f"{arch.name}|{arch.depth}|{arch.tokens}|{sorted(arch.weights)}|{width}"
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(described.encode()))), np.uint32(stream))


def bytes_per_network(arch: Architecture, width: int, keep: bool = True) -> int:
    """An estimate of a network's memory: its matrices (all, or one application's), and its vectors forward and backward."""
    all_shapes = shapes(arch, width)
    matrices = sum(s.size for s in all_shapes) if keep else sum(s.size // s.slots for s in all_shapes)
    held = arch.lanes + 3 + 3 * len(all_shapes)
    return 4 * (2 * matrices + 2 * sum(s.size // s.slots for s in all_shapes) + 2 * (arch.depth + 1) * arch.tokens * width * held * (1 + arch.tokens))


class DenseEngine:
    """Networks of one description and width: ``batch(samples)`` gives their rows, one compilation per structure and shape."""

    name, dtype = NAME, DTYPE

    def __init__(self, arch: Architecture, rows: tuple[Row, ...], width: int, memory_bytes: int):
        self.arch, self.rows, self.width = arch, rows, width
        self.keep = bytes_per_network(arch, width) <= memory_bytes or arch.tied
        self.tables = {
            "kind": np.array(arch.kinds, dtype=np.int32),
            "slots": slot_tables(arch),
            "numbers": {name: table.astype(np.float32) for name, table in (arch.number_tables | arch.tables_by_application).items()},
            "stem": {part: gram.astype(np.float32) for part, (_, gram) in arch.stem_parts.items()},
            "head": np.float32(arch.head.variance),
            "factors": {group: np.float32(factor) for group, factor in arch.sgd_factors.items()},
        }
        self.roots = {part: _root(variance * gram) for part, (variance, gram) in arch.stem_parts.items()}
        self.static = _Static(arch, rows, width, self.keep)
        self.batch_size = _batch_size(memory_bytes // bytes_per_network(arch, width, self.keep), BATCH_SECONDS / self.seconds)

    @property
    def seconds(self) -> float:
        """Roughly what a network costs on two cores: its normals, its matrix products forward and backward, its vectors."""
        normals = sum(s.size for s in self.static.shapes)
        products = 2 * self.arch.tokens * sum(len(used) * s.size // s.slots for s in self.static.shapes for used in self.arch.applications_of(s.name).values())
        return 12e-9 * normals + 0.25e-9 * products + 25e-9 * self.arch.depth * self.arch.tokens * self.width

    def batch(self, seed: int, stream: int, samples: np.ndarray) -> tuple[Any, Any]:
        """(rows [samples, rows] float32, first diverged application [samples]) of the networks with these indices."""
        key = base_key(self.arch, self.width, seed, stream)
        indices = jax.device_put(samples.astype(np.uint32), _sharding(len(samples)))
        return _batch(self.static, key, indices, self.tables, self.roots)


def _batch_size(fits: float, quick: float) -> int:
    """Networks a call: a power of two (so any device count up to it divides it), as many as are quick and fit."""
    return 1 << int(np.log2(np.clip(min(fits, quick), 1, 4096)))


def _root(gram: np.ndarray) -> np.ndarray:
    """A with A A^T = gram, also for a singular Gram (repeated tokens)."""
    values, vectors = np.linalg.eigh(gram)
    return (vectors * np.sqrt(np.clip(values, 0, None))).astype(np.float32)


def _sharding(samples: int) -> Any:
    devices = jax.local_devices()
    count = max(k for k in range(1, len(devices) + 1) if samples % k == 0)
    return jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(devices[:count]), ("samples",)), jax.sharding.PartitionSpec("samples"))


class _Static:
    """What one compilation depends on: the description's structure, never its numbers."""

    def __init__(self, arch: Architecture, rows: tuple[Row, ...], width: int, keep: bool):
        self.arch, self.rows, self.width, self.keep = arch, rows, width, keep
        self.shapes: tuple[Shape, ...] = shapes(arch, width)
        uses = tuple((w, tuple(map(tuple, arch.applications_of(w).values()))) for w in arch.weights)
        self.key = (arch.sub_blocks, arch.initial, arch.readout, arch.depth, arch.tokens, arch.groups, arch.head.vocabulary, uses, rows, width, keep)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key == other.key


@jit(static=(0,))
def _batch(static: _Static, key: Any, samples: Any, tables: Any, roots: Any) -> Any:
    return jax.vmap(lambda sample: _network(static, jax.random.fold_in(key, sample), tables, roots))(samples)


def _network(static: _Static, key: Any, tables: Any, roots: Any) -> Any:
    arch, width = static.arch, static.width
    stem_key, readout_key, *weight_keys = [jax.random.fold_in(key, i) for i in range(2 + len(static.shapes))]
    normal = functools.partial(jax.random.normal, dtype=jnp.float32)
    keys = [stem_key] if len(roots) == 1 else [jax.random.fold_in(stem_key, i) for i in range(len(roots))]
    draw = lambda root, key: jnp.matmul(root, normal(key, (arch.tokens, width)), precision=jax.lax.Precision.HIGHEST)  # noqa: E731
    parts = {part: draw(roots[part], k) for part, k in zip(arch.stem_parts, keys, strict=True)}
    readout = normal(readout_key, (arch.tokens, width))
    readout = jnp.concatenate([readout, readout[:1]])  # the shared v of the NTK is the first token's
    sources = {s.name: stored(k, s) if static.keep or len(s.shape) == 1 else k for s, k in zip(static.shapes, weight_keys, strict=True)}
    own = jax.random.fold_in(key, 2 + len(static.shapes))  # of dropout's masks and the head's words
    return network_rows(arch, static.rows, static.shapes, width, parts, sources, readout, tables, own)
