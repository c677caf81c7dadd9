"""What real optimiser steps change in finite networks: output and states, after each of a few
numbers of steps.

One network is one sample: weights, inputs and labels y_t = +-1 of its own. Loss -(1/T) sum_t y_t
z_t, whose gradient by z_t is +-1/T whatever the output is, so that nothing saturates; or (1/2T)
sum_t (z_t - y_t)^2. All steps are one ``lax.scan``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import Diverged, InputError
from sigprop.language.expression import Linear
from sigprop.runtime.compiling import jit
from sigprop.runtime.optax import contrib_with_muon
from sigprop.simulations.engines.engine import Static, base_key
from sigprop.simulations.network.precision import SINGLE
from sigprop.simulations.training import trained
from sigprop.simulations.training.parts import Part, Seen, squares, unseen
from sigprop.simulations.training.steps import Setting, check_optimizer, library, transform

DEPTHS = {"state at 1/4": 0.25, "state at 1/2": 0.5, "state at 3/4": 0.75, "last state": 1.0}
OBSERVABLES = ("output", *DEPTHS)
LOSSES = ("linear", "squared")
BATCH_BYTES, MOST = 48 * 2**20, 8  # parameters, gradients and moments of the networks of one call
MOMENTS = {"sgd": 3, "adam": 6, "adamw": 6, "muon": 8}  # arrays as large as the parameters
THREADS = 2


def applications(depth: int) -> tuple[int, ...]:
    """After how many applications a state is looked at: those nearest to the relative depths,
    none at the stem."""
    return tuple(max(1, math.floor(depth * share + 0.5)) for share in DEPTHS.values())


def check_training(optimizer: str, steps: Sequence[int], loss: str) -> tuple[int, ...]:
    """The numbers of steps, smallest first; raises ``InputError`` for an unknown optimiser or
    loss, other numbers, or without optax."""
    check_optimizer(optimizer)
    library()
    if optimizer == "muon":
        contrib_with_muon()
    if loss not in LOSSES:
        raise InputError(f"loss={loss!r}; accepted: {', '.join(LOSSES)}")
    if not steps or any(
        isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= 1000 for k in steps
    ):
        raise InputError(
            f"steps={tuple(steps)}; accepted: numbers of steps from 1 to 1000, such as 1, 10"
        )
    return tuple(sorted(set(steps)))


class Training:
    """Networks of one description, width and optimiser; one compilation whatever the rates, numbers
    and scales are.

    arch: the description; width: n; optimizer: of ``OPTIMISERS``; steps: after how many steps to
    look, such as (1, 10); loss: 'linear' or 'squared'; parts: what is looked at beside
    ``OBSERVABLES``. Raises ``InputError``.
    """

    dtype = SINGLE

    def __init__(
        self,
        arch: Architecture,
        width: int,
        optimizer: str,
        steps: Sequence[int] = (1, 10),
        loss: str = "linear",
        parts: tuple[Part, ...] = (),
    ):
        self.arch, self.width, self.steps = arch, width, check_training(optimizer, steps, loss)
        self.tables = {"given": trained.tables(arch), "scales": trained.scales(arch, width)}
        self.static = Static(
            trained.bare(arch, width), (), width, ("training", optimizer, self.steps, loss, parts)
        )
        entries = sum(s.size for s in self.static.shapes) + width * (
            arch.tokens * len(arch.stem_parts) + 1
        )
        vectors = 8 * (arch.depth + 1) * arch.tokens * width * (1 + len(self.static.shapes))
        self.batch_size = 1 << int(
            np.log2(np.clip(BATCH_BYTES / (4 * (MOMENTS[optimizer] * entries + vectors)), 1, MOST))
        )

    def changes(
        self,
        settings: Mapping[str, Setting],
        readout: float,
        samples: range,
        seed: int,
        stream: int = 0,
    ) -> np.ndarray:
        """[networks, steps, observables and parts] mean squares of what the steps changed, over
        tokens (of states and parts: and coordinates), float64.

        settings: {group: ``Setting``} of every group of ``arch.groups``; readout: standard
        deviation of theta in z = theta . o; samples: indices of the networks, which with seed and
        stream fix every random number. Raises ``Diverged`` where one is not finite, ``InputError``.
        """
        if set(settings) != set(self.arch.groups):
            odd = sorted(set(settings) ^ set(self.arch.groups))[0]
            raise InputError(
                f"settings: group {odd!r} is missing or unknown; accepted: one of each of "
                f"{', '.join(self.arch.groups)}"
            )
        key = base_key(self.arch, self.width, seed, stream)
        numbers = {group: Setting(*map(np.float32, setting)) for group, setting in settings.items()}
        table = self.tables | {"settings": numbers, "readout": np.float32(readout)}
        size = self.batch_size

        def batch(first: int) -> np.ndarray:
            indices = np.arange(first, first + size, dtype=np.uint32)
            return np.asarray(_batch(self.static, key, indices, table), dtype=np.float64)

        firsts = list(range(samples.start, samples.stop, size))
        with ThreadPoolExecutor(THREADS) as pool:
            # the first alone: two at a time would both compile
            parts = [pool.submit(batch, firsts[0]).result(), *pool.map(batch, firsts[1:])]
        changes = np.concatenate(parts)[: len(samples)]
        if not np.isfinite(changes).all():
            raise Diverged
        return changes


def _networks(static: Static, key: Any, samples: Any, table: Any) -> Any:
    return jax.vmap(lambda sample: _network(static, jax.random.fold_in(key, sample), table))(
        samples
    )


_batch = jit(static=(0,))(_networks)


def _network(static: Static, key: Any, table: Any) -> Any:
    """Train one network, and return the squared changes of its output, states and parts."""
    arch, (_, optimizer, steps, _, _) = static.arch, static.plan
    everything, labels = trained.start(
        arch,
        static.shapes,
        static.width,
        key,
        size=table["scales"],
        readout=table["readout"],
        by_part=table["given"]["inputs"],
    )
    # what is left, of learned modulators, is not trained
    start = {group: everything.pop(group) for group in arch.groups}
    matrices = [group for group, node in arch.weights.items() if isinstance(node, Linear)]
    rule = transform(optimizer, table["settings"], matrices)
    step = functools.partial(_step, static, table["given"], (start, everything, labels, key, rule))
    counts = jnp.arange(max(steps) + 1, dtype=jnp.int32)
    carried = start, rule.init(start), unseen(arch, static.shapes, static.width)
    _, (outputs, states, parts) = jax.lax.scan(step, carried, counts)
    changes = [_squares(outputs, steps, (1,))[:, None], _squares(states, steps, (2, 3))]
    return jnp.concatenate([*changes, parts[np.array(steps)]], axis=1)


def _step(static: Static, given: Any, network: Any, carried: Any, count: Any) -> Any:
    """Look, then move."""
    arch, (_, _, steps, loss, parts) = static.arch, static.plan
    start, everything, labels, key, rule = network
    params, state, first = carried
    one = trained.passed(
        arch,
        static.shapes,
        params | everything,
        given,
        width=static.width,
        cotangent=functools.partial(_cotangent, loss, labels),
        at=applications(arch.depth),
        key=jax.random.fold_in(key, np.uint32(1)),
    )
    seen = Seen(one.read, one.inputs)
    first = jax.tree.map(lambda old, new: jnp.where(count == 0, new, old), first, seen)
    looked = (count[None] == np.array(steps, dtype=np.int32)).any()
    found = jnp.zeros(len(parts))
    if parts:
        found = jax.lax.cond(
            looked,
            lambda: squares(arch, parts, (start, params), (first, seen), given),
            lambda: found,
        )

    def moved() -> Any:
        updates, after = rule.update(one.gradients, state, params)
        return jax.tree.map(jnp.add, params, updates), after

    new = jax.lax.cond(count < max(steps), moved, lambda: (params, state))
    return (*new, first), (one.outputs, one.states, found)


def _cotangent(loss: str, labels: Any, z: Any) -> Any:
    """Return dloss/dz of a network's outputs z [T]."""
    return (-labels if loss == "linear" else z - labels) / len(labels)


def _squares(x: Any, steps: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """Return the mean squared change since the start, at each of the steps."""
    return ((x[np.array(steps)] - x[:1]) ** 2).mean(axis=axes)
