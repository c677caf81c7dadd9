"""Training of a grid of networks at once: one compiled program for every rate and seed.

A member of the grid is one network with its own rate and seed. Its steps are one ``lax.scan``; the
grid is a ``vmap`` over members, and what a member computes does not depend on the others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.language.expression import Linear
from sigprop.runtime.compiling import jit
from sigprop.simulations.engines.engine import Static, base_key
from sigprop.simulations.learning import batches, network, observed
from sigprop.simulations.training import trained
from sigprop.simulations.training.steps import Setting, transform

NETWORK, MASKS = np.uint32(0), np.uint32(1)
"""Of a seed: the sample that is trained; of its key, the branch of dropout's masks."""


class Plan(NamedTuple):
    """What a program is compiled for beside the description and the width.

    optimizer: of ``steps.OPTIMISERS``; words: V; batch: sequences a step; steps: in one call;
    warmup: over how many steps the rate rises linearly; clipped: whether gradients are; dtype:
    of the computation, 'float32' or 'bfloat16' (parameters and moments stay float32).
    """

    optimizer: str
    words: int
    batch: int
    steps: int
    warmup: int
    clipped: bool
    dtype: str


class Member(NamedTuple):
    """One network of the grid (arrays: all of them): its key, the key of its batches, its rate."""

    key: Any
    data: Any
    rate: Any


class Carried(NamedTuple):
    """Parameters, what is not trained, the optimiser's state."""

    params: Any
    fixed: Any
    state: Any


def leaves_of(carried: Carried) -> list[np.ndarray]:
    """Return the arrays in an order of their own, for files."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(carried)]


def with_leaves(carried: Carried, leaves: Sequence[np.ndarray]) -> Carried:
    """Return the same with these arrays in that order."""
    return jax.tree.unflatten(jax.tree.structure(carried), [jnp.asarray(leaf) for leaf in leaves])


class Learning:
    """Networks of one description, width and plan.

    arch: the description, causal, T its context; width: n; plan: what is compiled; text, held:
    bytes to learn and to be tested on; groups: {group: (factor of the rate, epsilon, decay)} of
    every group of ``groups``; clip: the largest norm of a gradient (where the plan clips); spread:
    of the parameters outside the body. Raises ``InputError``.
    """

    def __init__(
        self,
        arch: Architecture,
        width: int,
        plan: Plan,
        text: np.ndarray,
        *,
        groups: Mapping[str, Setting],
        spread: network.Variances,
        clip: float = 0.0,
    ):
        network.check_causal(arch)
        self.arch, self.width, self.plan = arch, width, plan
        self.static = self._static(plan.steps)
        factors = {g: Setting(*map(np.float32, setting)) for g, setting in groups.items()}
        self.table = {
            "given": {k: v for k, v in trained.tables(arch).items() if k != "inputs"},
            "scales": trained.scales(arch, width),
            "text": jnp.asarray(text, dtype=jnp.uint8),
            "groups": factors,
            "spread": jax.tree.map(np.float32, spread),
            "clip": np.float32(clip),
        }

    def members(self, rates: Sequence[float], seeds: Sequence[int]) -> Member:
        """Return the members of these rates and seeds, as many of each."""
        keys = [
            jax.random.fold_in(base_key(self.arch, self.width, seed, 0), NETWORK) for seed in seeds
        ]
        return Member(
            jnp.stack(keys),
            jnp.stack([batches.key_of(seed) for seed in seeds]),
            jnp.asarray(rates, dtype=jnp.float32),
        )

    def start(self, members: Member) -> Carried:
        """Return the networks before their first step."""
        return _start(self.static, members, self.table)

    def steps(
        self, members: Member, carried: Carried, first: int, count: int
    ) -> tuple[Carried, Any]:
        """(The networks after ``count`` more steps, losses [members, count]) of those that have
        taken ``first``; a program for each count."""
        static = self._static(count)
        return _steps(static, members, carried, self.table, np.int32(first))

    def _static(self, steps: int) -> Static:
        plan = self.plan._replace(steps=steps)
        return Static(trained.bare(self.arch, self.width), (), self.width, ("learning", *plan))

    def held_out(self, carried: Carried, held: Any) -> Any:
        """Return every member's mean loss [members] on windows [batches, B, T + 1]."""
        return _held_out(self.static, carried, self.table, held)

    def observed(self, carried: Carried, start: Carried, words: Any, rows: Any) -> Any:
        """(Rows' means [members, rows], of ``observed.OF_GROUPS`` [members, 3, groups in
        alphabetical order]) on sequences [B, T + 1], whose gradient it is."""
        static = Static(
            self.static.arch, rows, self.width, ("learning", *self.plan._replace(steps=0))
        )
        return _observed(static, carried, start.params, self.table, words)


def groups(arch: Architecture) -> tuple[str, ...]:
    """Return the groups of parameters of a language model."""
    head = () if arch.head.tied else (network.READOUT,)
    return (*arch.weights, network.EMBEDDING, network.POSITION, *head)


def _plan(static: Static) -> Plan:
    return Plan(*static.plan[1:])


def _rule(static: Static, settings: Mapping[str, Setting]) -> Any:
    matrices = [g for g, node in static.arch.weights.items() if isinstance(node, Linear)]
    return transform(_plan(static).optimizer, settings, matrices)


def _start_all(static: Static, members: Member, table: Any) -> Carried:
    def one(member: Member) -> Carried:
        params, fixed = network.start(
            static.arch,
            static.shapes,
            static.width,
            member.key,
            scales=table["scales"],
            spread=table["spread"],
            words=_plan(static).words,
        )
        return Carried(params, fixed, _rule(static, table["groups"]).init(params))

    return jax.vmap(one)(members)


def _steps_all(static: Static, members: Member, carried: Carried, table: Any, first: Any) -> Any:
    counts = first + jnp.arange(_plan(static).steps, dtype=jnp.int32)

    def one(member: Member, carried: Carried) -> Any:
        return jax.lax.scan(functools.partial(_step, static, table, member), carried, counts)

    return jax.vmap(one)(members, carried)


def _step(static: Static, table: Any, member: Member, carried: Carried, count: Any) -> Any:
    """One step of one member: (the network after it, the loss before it)."""
    plan, params = _plan(static), carried.params
    words = batches.batch(table["text"], member.data, count, plan.batch, static.arch.tokens + 1)
    masks = jax.random.fold_in(jax.random.fold_in(member.key, MASKS), count)

    def loss(params: Any) -> Any:
        return network.loss(
            static.arch,
            static.shapes,
            params | carried.fixed,
            table["given"],
            words,
            key=masks,
            dtype=plan.dtype,
        )

    value, gradients = jax.value_and_grad(loss)(params)
    if plan.clipped:
        gradients = clipped(gradients, table["clip"])
    rate = member.rate * jnp.minimum(1, (count + 1).astype(jnp.float32) / max(plan.warmup, 1))
    settings = {g: s._replace(rate=rate * s.rate) for g, s in table["groups"].items()}
    updates, state = _rule(static, settings).update(gradients, carried.state, params)
    return Carried(jax.tree.map(jnp.add, params, updates), carried.fixed, state), value


def clipped(gradients: Any, most: Any) -> Any:
    """Return the gradients, scaled to the norm ``most`` where theirs together is larger."""
    square = sum((g * g).sum() for g in jax.tree.leaves(gradients))
    factor = jnp.minimum(jnp.float32(1), most * jax.lax.rsqrt(jnp.maximum(square, 1e-30)))
    return jax.tree.map(lambda g: factor * g, gradients)


def _held_out_all(static: Static, carried: Carried, table: Any, held: Any) -> Any:
    """Dropout included, where the description has it: masks of the first step."""
    key = jax.random.key(0)

    def one(carried: Carried) -> Any:
        def of_batch(words: Any) -> Any:
            return network.loss(
                static.arch,
                static.shapes,
                carried.params | carried.fixed,
                table["given"],
                words,
                key=key,
                dtype=_plan(static).dtype,
            )

        return jax.lax.map(of_batch, held).mean()

    return jax.vmap(one)(carried)


def _observed_all(static: Static, carried: Carried, start: Any, table: Any, words: Any) -> Any:
    given, key = table["given"], jax.random.key(0)

    def one(carried: Carried, start: Any) -> Any:
        def loss(params: Any) -> Any:
            everything = params | carried.fixed
            return network.loss(static.arch, static.shapes, everything, given, words, key=key)

        params = carried.params
        change = jax.tree.map(jnp.subtract, params, start)
        groups = observed.by_group((params, jax.grad(loss)(params), change))
        if not static.rows:
            return jnp.zeros(0), groups
        everything = params | carried.fixed
        return observed.values(static, static.rows, everything, given, words, key), groups

    return jax.vmap(one)(carried, start)


_start, _steps, _held_out, _observed = (
    jit(static=(0,))(f) for f in (_start_all, _steps_all, _held_out_all, _observed_all)
)
