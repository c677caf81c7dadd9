"""What every engine is: batches of finite networks, from the same description and keys to the same
rows.

Randomness is a function of (description, seed, stream, sample index) alone: batch size and device
count change nothing but rounding. Networks are float32 or, in a scope of their own, float64
(``precision``); sums over samples are float64 (``monte_carlo``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer, Key, UInt32

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.runtime import memory
from sigprop.runtime.compiling import LIGHT, OUT_OF_CACHE, jit
from sigprop.runtime.memory import LONG
from sigprop.simulations.engines import batches
from sigprop.simulations.network import random
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.precision import SINGLE, itemsize, scope
from sigprop.simulations.network.twin import Twin, looks_back, needed
from sigprop.simulations.network.weights import Shape, shapes, slot_tables, use_tables
from sigprop.simulations.observables.rows import network_rows, passes

Roots = dict[str, Float[Array, "T T"]]
# bytes of a batch, by an estimate that is two to five times the truth: beyond 32 MiB the C library
# maps memory anew at every call
KEPT = 40 * 2**20
# quantities of all uses of a slot, and how many Grams of them are at hand at a time
OVER_USES, GRAMS = {"weight_gradient", "ntk"}, 3


def base_key(arch: Architecture, width: int, seed: int, stream: int) -> Key[Array, ""]:
    """The key of one stream of networks: a hash of the description, the seed and the stream."""
    described = f"{arch.name}|{arch.depth}|{arch.tokens}|{sorted(arch.drawn)}|{width}"
    return jax.random.fold_in(
        jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(described.encode()))),
        np.uint32(stream),
    )


class Engine:
    """Networks of one description and width: ``batch(samples)`` gives their rows, one compilation
    per structure and shape.

    What an engine is, is how its matrices act on vectors: ``matrices`` of one network
    (``Matrices``), and what a network costs.
    """

    name = ""
    compiling = 0.5  # seconds a weight that a program takes to compile, roughly
    # of a verdict: multiples of its n1, the fewest of them, and the widest network it may ask for
    ladder, loose, widest = (1, 2, 4, 8), (1, 2, 8), 1024

    def __init__(
        self,
        arch: Architecture,
        rows: tuple[Row, ...],
        width: int,
        memory_bytes: int,
        dtype: str = SINGLE,
        twin: Twin | None = None,
    ):
        self.arch, self.rows, self.width, self.dtype = arch, rows, width, dtype
        # of a twin: averages; None without one
        self.needed = None if twin is None else needed(arch, twin)
        self.memory_bytes, self.twin = memory_bytes, None if twin is None else twin.rounded(dtype)
        self.itemsize, real = itemsize(dtype), np.dtype(dtype).type
        self.shapes, self.passes = shapes(arch, width), passes(arch, rows)
        numbers = arch.number_tables | arch.tables_by_application
        # a number beyond float32 is a network that diverges, and is reported as such
        with np.errstate(over="ignore"):
            tables = {name: table.astype(real) for name, table in numbers.items()}
        self.tables = {
            "kind": np.array(arch.kind_table, dtype=np.int32),
            "slots": slot_tables(arch),
            "uses": use_tables(arch),
            "numbers": tables,
            "stem": {part: gram.astype(real) for part, (_, gram) in arch.stem_parts.items()},
            "head": real(arch.head.variance),
            "factors": {group: real(factor) for group, factor in arch.sgd_factors.items()},
        }
        self.roots = {
            part: random.root(variance * gram).astype(real)
            for part, (variance, gram) in arch.stem_parts.items()
        }
        self.keys: dict[tuple[int, int], Array] = {}
        self.compiled = False  # whether a batch has been run
        self.static = Static(arch, rows, width, self.plan(memory_bytes), dtype, self.needed)
        self.lanes = batches.lanes(memory_bytes // self.bytes_per_network)
        # of the most lanes, not this machine's: batches, and so rounding, are everywhere the same
        at_once = memory_bytes
        if jax.default_backend() == "cpu":
            at_once = min(memory_bytes // batches.MOST_LANES, KEPT)
        self.batch_size = batches.batch_size(at_once // self.bytes_per_network, self.seconds)

    @staticmethod
    def can(arch: Architecture) -> bool:
        """Whether this engine samples such networks."""
        return True

    def plan(self, memory_bytes: int) -> Callable[[Static, dict[str, Array]], Matrices]:
        """(static, {weight: key}) -> the matrices of one network; hashable, equal where one
        compilation serves."""
        raise NotImplementedError

    @property
    def bytes_per_network(self) -> int:
        """An estimate of a network's memory."""
        raise NotImplementedError

    @property
    def columns(self) -> int:
        """How many numbers a network gives: its rows, and with a twin those rows without its
        deviations."""
        return len(self.rows) * (1 if self.twin is None else 2)

    @property
    def least_bytes(self) -> int:
        """Of the smallest batch, one network: with those of its vectors, and Grams over all uses
        of a slot, that the asked rows need at a time."""
        arch, asked, weights = self.arch, {row.quantity for row in self.rows}, len(self.shapes)
        vectors = (arch.lanes + 2) * any(QUANTITIES[name].vectors for name in asked) + (
            arch.lanes + 1 + weights
        ) * (self.passes > 0)
        uses = (
            [[len(used) for used in arch.applications_of(name).values()] for name in arch.weights]
            if asked & OVER_USES
            else []
        )
        vectors += (
            weights * (1 + self.passes) * ("ntk" in asked or any(max(each) > 1 for each in uses))
        )
        grams = max(
            (len(each) * (max(each) * arch.tokens) ** 2 for each in uses if max(each) > 1),
            default=0,
        )
        return (
            self.bytes_per_network
            - self._vectors
            + self._twin_bytes
            + 4 * ((arch.depth + 1) * arch.tokens * self.width * vectors + GRAMS * grams)
        )

    def require_memory(self) -> None:
        """Raise ``InputError`` where there is less memory than one network takes."""
        names = {
            "depth": self.arch.sizes.get("L", self.arch.depth),
            "loops": self.arch.sizes.get("N", 1),
            "tokens": self.arch.tokens,
            "width": self.width,
        }
        what = ", ".join(f"{name}={size}" for name, size in names.items() if size > 1)
        memory.require(self.least_bytes, f"{what or 'width=1'}, engine={self.name}")

    @property
    def seconds(self) -> float:
        """Roughly what a network costs on two cores."""
        raise NotImplementedError

    @property
    def _vectors(self) -> int:
        """Bytes of a network's states, writes, inputs and outputs, and of as many cotangents a
        pass."""
        held = self.arch.lanes + 2 + 3 * sum(s.copies for s in self.shapes)
        return (
            self.itemsize
            * (self.arch.depth + 1)
            * self.arch.tokens
            * self.width
            * held
            * (1 + self.passes)
        ) + self._twin_bytes

    @property
    def _twin_bytes(self) -> int:
        """Bytes of a twin's normals and answers, of lane 0, and of what the averages are made of:
        matrices' inputs; on the way back, of as many."""
        held = 0 if self.twin is None else 1 + sum(2 + 2 * s.copies for s in self.shapes)
        held *= 1 + looks_back(self.needed or ())
        return self.itemsize * (self.arch.depth + 1) * self.arch.tokens * self.width * held

    @property
    def _vector_seconds(self) -> float:
        """Roughly what activations, sums and norms of a network's vectors cost."""
        passed = 1 + looks_back(self.needed or ())
        twin = 0 if self.twin is None else passed * (1 + len(self.shapes))
        return 5e-9 * self.arch.depth * self.arch.tokens * self.width * (1 + twin)

    def batch(
        self, seed: int, stream: int, samples: Integer[np.ndarray, " samples"]
    ) -> tuple[Float[Array, "samples R"], Integer[Array, " samples"]]:
        """(rows [samples, rows], first diverged application [samples]) of the networks with
        these indices."""
        if (seed, stream) not in self.keys:
            self.keys = {(seed, stream): base_key(self.arch, self.width, seed, stream)}
        key = self.keys[seed, stream]
        indices = jax.device_put(samples.astype(np.uint32), _sharding(len(samples)))
        with scope(self.dtype):
            return _batch(self.width)(self.static, key, indices, self.tables, self.roots, self.twin)


def _sharding(samples: int) -> Any:
    devices = jax.local_devices()
    count = max(k for k in range(1, len(devices) + 1) if samples % k == 0)
    return jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(devices[:count]), ("samples",)),
        jax.sharding.PartitionSpec("samples"),
    )


class Static:
    """What one compilation depends on: the description's structure, never its numbers.

    needed: which averages of a twin are looked at; None without one."""

    def __init__(
        self,
        arch: Architecture,
        rows: tuple[Row, ...],
        width: int,
        plan: Any,
        dtype: str = SINGLE,
        needed: tuple[str, ...] | None = None,
    ):
        self.needed = needed
        self.arch, self.rows, self.width, self.plan, self.dtype = arch, rows, width, plan, dtype
        self.passes = passes(arch, rows)
        self.shapes: tuple[Shape, ...] = shapes(arch, width)
        uses = tuple((w, tuple(map(tuple, arch.applications_of(w).values()))) for w in arch.drawn)
        structure = (
            arch.sub_blocks,
            arch.initial,
            arch.readout,
            arch.depth,
            arch.tokens,
            arch.groups,
            arch.ensemble,
            uses,
        )
        shares = (
            arch.bands,
            tuple(arch.owned),
            arch.head.vocabulary,
            arch.head.inverse_temperature,
        )
        self.key = (*structure, *shares, rows, width, plan, dtype, needed)
        self.hash = hash(self.key)

    @property
    def compared(self) -> tuple[Any, ...]:
        """What two are equal by."""
        return self.key

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Static) and self.key == other.key)


def _batch_of(
    static: Static,
    key: Key[Array, ""],
    samples: UInt32[Array, " samples"],
    tables: Any,
    roots: Roots,
    twin: Twin | None,
) -> tuple[Float[Array, "samples R"], Integer[Array, " samples"]]:
    return jax.vmap(
        lambda sample: _network(static, jax.random.fold_in(key, sample), tables, roots, twin)
    )(samples)


_SHORT, _LONG = (jit(static=(0,), options=options)(_batch_of) for options in (LIGHT, OUT_OF_CACHE))


def _batch(width: int) -> Any:
    return _SHORT if width < LONG else _LONG


def program(engine: Engine, samples: int) -> Any:
    """The compiled program of a batch of that many networks: for what it costs
    (``memory_analysis``)."""
    key, indices = (
        base_key(engine.arch, engine.width, 0, 0),
        jax.device_put(np.arange(samples, dtype=np.uint32), _sharding(samples)),
    )
    with scope(engine.dtype):
        lowered = (
            _batch(engine.width)
            .compiled()
            .lower(engine.static, key, indices, engine.tables, engine.roots, engine.twin)
        )
        return lowered.compile()


def _network(
    static: Static, key: Key[Array, ""], tables: Any, roots: Roots, twin: Twin | None
) -> tuple[Float[Array, " R"], Integer[Array, ""]]:
    arch, width = static.arch, static.width
    # own: of dropout's masks and the head's words
    stem_key, readout_key, *weight_keys, own = random.branches(key, 3 + len(static.shapes))
    keys = [stem_key] if len(roots) == 1 else list(random.branches(stem_key, len(roots)))

    def draw(root: Float[Array, "T T"], key: Key[Array, ""]) -> Float[Array, "T n"]:
        return jnp.matmul(
            root,
            random.normal(key, (arch.tokens, width), static.dtype),
            precision=jax.lax.Precision.HIGHEST,
        )

    parts = {part: draw(roots[part], k) for part, k in zip(arch.stem_parts, keys, strict=True)}
    readout = random.normal(readout_key, (arch.tokens, width), static.dtype)
    # the shared v of the NTK is the first token's
    readout = jnp.concatenate([readout, readout[:1]])
    matrices = static.plan(
        static, {s.name: k for s, k in zip(static.shapes, weight_keys, strict=True)}
    )
    return network_rows(
        arch,
        static.rows,
        static.shapes,
        matrices,
        parts=parts,
        readout=readout,
        tables=tables,
        key=own,
        twin=twin,
        needed=static.needed or (),
    )
