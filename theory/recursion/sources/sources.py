"""Sources beside the Gram scan: numbers added to the averages that a network reads, divides by or
gives to its matrices.

A row's derivatives by them are how a finite network's own averages move it, to first order in
their deviations: with K = F(K) + s, d row/d s is the row of (1 - dF/dK)^-1 that belongs to it. A
source moves what norms, rules and matrices see, never what the units are. Means over coordinates
(LayerNorm) have none: rows are even in them (``fluctuations.forms`` tells where they are not).
Source: derived (tests/theory/fluctuations/averages/test_controls.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Attend, Linear, Normalise, Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner
from sigprop.theory.recursion.advance import Grams
from sigprop.theory.recursion.units.pulled import is_cotangent

FARTHEST = 300.0
"""Of a scale's logarithm: beyond it lies what no step sees."""


class Sources(NamedTuple):
    """Zeros, in the units of the network. states [P + 1, m, m, T, T], before every step and after
    the last; overlaps [P, m, T]: <w, S>, a token's own; writes [P, T, T]; inputs, pairs {matrix:
    [P, T, T], [P, U, T, T]}: what it is given, with itself and with partners' (none, where no step
    has any); stem [T]; cotangents, later {matrix or bias: likewise}: what comes back to its output,
    with itself and with later partners'."""

    states: Any
    overlaps: Any
    writes: Any
    inputs: dict[str, Any]
    pairs: dict[str, Any]
    stem: Any
    cotangents: dict[str, Any]
    later: dict[str, Any]

    @classmethod
    def none(
        cls,
        steps: int,
        lanes: int,
        tokens: int,
        partners: tuple[int, int],
        matrices: tuple[str, ...],
        pulled: tuple[str, ...],
    ) -> Sources:
        """Return zeros."""

        def zeros(*shape: int) -> Any:
            return jnp.zeros(shape, dtype=jnp.float64)

        def each(names: tuple[str, ...], *shape: int) -> dict[str, Any]:
            return {name: zeros(steps, *shape, *square) for name in names if 0 not in shape}

        square, (earlier, later) = (tokens, tokens), partners
        return cls(
            zeros(steps + 1, lanes, lanes, *square),
            zeros(steps, lanes, tokens),
            zeros(steps, *square),
            each(matrices),
            each(matrices, earlier),
            zeros(tokens),
            each(pulled),
            each(pulled, later),
        )

    @property
    def by_step(self) -> dict[str, Any]:
        """Everything that a step is given: its slice of these, and the states' after it."""
        return {
            "after": self.states[1:],
            "overlaps": self.overlaps,
            "writes": self.writes,
            "inputs": self.inputs,
            "pairs": self.pairs,
        }

    def back(self, row: Any, column: Any) -> dict[str, Any]:
        """Everything that a step is given on the way back, in the forward pass's order. row, column
        [P, U]: where pairs with later partners stand."""
        pairs = {name: jnp.swapaxes(each[row, column], -1, -2) for name, each in self.pairs.items()}
        return {
            "inputs": self.inputs,
            "pairs": pairs,
            "cotangents": self.cotangents,
            "later": self.later,
        }


class Held(NamedTuple):
    """A source at the states' Gram [m, m, T, T], and the states' log [1, T]."""

    source: Any
    log: Any


class Given(NamedTuple):
    """What a step leaves: Grams [T, T] and [U, T, T] of what its matrices are given, in the units
    of the network (zeros where it has none of them), and the source at the states after it."""

    inputs: dict[str, Any]
    pairs: dict[str, Any]
    after: Any

    def remembered(self, tables: dict[str, Any], p: Any) -> dict[str, Any]:
        """Return nothing: later steps look up nothing."""
        return {}


class Sourcing(NamedTuple):
    """A step's sources, which its environment asks for in the place of a unit (``units.unit``)."""

    of_step: dict[str, Any]

    def beside(self, env: Any, block: SubBlock, readout: bool) -> Given:
        """Put the sources into an environment; what a step leaves."""
        env.unit = self
        inputs = {name: jnp.zeros_like(zero) for name, zero in self.of_step["inputs"].items()}
        pairs = {name: jnp.zeros_like(zero) for name, zero in self.of_step["pairs"].items()}
        for u in dict.fromkeys(node for node in walk(block.branch) if isinstance(node, Linear)):
            inputs[u.weight] = _in_units(u.of, "a", env)[0]
            if u.weight in pairs:
                pairs[u.weight] = _in_units(u.of, "b", env)
        return Given(inputs, pairs, self.of_step["after"])

    def behind(self, env: Any, turned: list[Vector | None], cotangents: dict[str, Vector]) -> Given:
        """Put the sources into an environment of the way back; what a step leaves. cotangents
        {weight: of its output}."""
        env.unit = self
        own = {name: jnp.zeros_like(zero) for name, zero in self.of_step["cotangents"].items()}
        later = {name: jnp.zeros_like(zero) for name, zero in self.of_step["later"].items()}
        for name, of in cotangents.items():
            if name in own:
                own[name] = _in_units(of, "a", env)[0]
            if name in later:
                later[name] = _in_units(of, "b", env)
        return Given(own, later, None)

    def seen(self, weight: str, of: Vector, i: str, j: str, value: Any, env: Any) -> Any:
        """Return an inner product of what a weight is given, with its source."""
        names = ("cotangents", "later") if is_cotangent(of) else ("inputs", "pairs")
        sources = self.of_step[names[i != j]]
        if weight not in sources:  # seen by rows alone
            return value
        source = sources[weight][None] if i == j else sources[weight]
        return value + source / _scales(of, i, j, env)

    def mean(self, u: Vector, env: Any) -> float:
        """Return 0: no source stands at means."""
        return 0.0

    def scores(self, node: Attend, env: Any) -> None:
        """Return nothing: no source stands at scores."""

    def mean_square(self, node: Normalise, value: Any, env: Any) -> Any:
        """Return a variance as it is: no source stands at a branch's own norms."""
        return value


class Sourced(NamedTuple):
    """Sources beside a recursion of one band, as a tracer of the Gram scan; start: at the first
    states."""

    start: Held

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return nothing: later steps look up nothing."""
        return {}

    def means(self, lanes: Held) -> dict[str, Any]:
        """Return nothing: rows are even in means."""
        return {}

    def averaged(self, gram: Grams, lanes: Held) -> Grams:
        """Return the state's Gram as a network sees it."""
        scale = jnp.exp(lanes.log[0])
        return gram + (lanes.source / (scale[:, None] * scale[None, :])[None, None])[:, :, None]

    def seen(
        self, tables: dict[str, Any], p: Any, grams: tuple[Any, Any], lanes: Held, columns: Any
    ) -> tuple[Any, Any]:
        """Return <S_p+1, S_p+1> likewise, and overlaps of states as they are: no step sees them."""
        return self.averaged(grams[0], lanes), grams[1]

    def written(self, x: Any, lanes: Held, grams: Any, traced: Given) -> tuple[Any, Any]:
        """Return <S, S>, <w, S> and <w, w> likewise, and the step's slice as it is."""
        (gram, cross, own), given = grams, x["tracing"].of_step
        states, write = jnp.exp(lanes.log[0]), jnp.exp(x["write_log"][0])
        overlaps = given["overlaps"] / (states * write)[None]
        diagonal = overlaps[:, :, None] * jnp.eye(len(write), dtype=overlaps.dtype)[None]
        writes = given["writes"] / (write[:, None] * write[None, :])
        return (
            self.averaged(gram, lanes),
            cross + diagonal[None, :, None],
            own + writes[None, None],
        ), x

    def step(self, tables: dict[str, Any], x: Any, lanes: Held, read: tuple[Any, Any]) -> Sourcing:
        """Return the step's sources."""
        return Sourcing(x["sources"])

    def after(
        self, rule: tuple[Any, ...], lanes: Held, traced: Given, tables: dict[str, Any], p: Any
    ) -> tuple[Held, dict[str, Any]]:
        """Return the source at the next states, and the tables as they are. rule: its last is the
        next states' log."""
        return Held(traced.after, rule[-1]), tables

    def left(self, traced: Given, x: Any, grams: Any, scales: Any) -> dict[str, Any]:
        """Return what a step is to show of the averages it saw."""
        overlaps = jnp.diagonal(grams[1][0, :, 0], axis1=-2, axis2=-1)
        return {"given": (traced.inputs, traced.pairs), "overlaps": overlaps}


class SourcedBack(NamedTuple):
    """Sources beside the reversed recursion, as a tracer of the Gram scan: what comes back is seen
    by matrices alone."""

    start: Any = ()

    def kept(self, steps: int, coupled: bool) -> dict[str, Any]:
        """Return nothing: later steps look up nothing."""
        return {}

    def means(self, lanes: Any) -> dict[str, Any]:
        """Return nothing: what comes back has no mean."""
        return {}

    def averaged(self, gram: Grams, lanes: Any) -> Grams:
        """Return the gradients' Gram as it is."""
        return gram

    def seen(self, tables: Any, p: Any, grams: Any, lanes: Any, columns: Any) -> Any:
        """Return Grams as they are."""
        return grams

    def written(self, x: Any, lanes: Any, grams: Any, traced: Given) -> tuple[Any, Any]:
        """Return Grams and the step's slice as they are."""
        return grams, x

    def step(self, tables: dict[str, Any], x: Any, lanes: Any, read: Any) -> Sourcing:
        """Return the step's sources."""
        return Sourcing(x["sources"])

    def after(self, rule: Any, lanes: Any, traced: Given, tables: Any, p: Any) -> tuple[Any, Any]:
        """Return lanes and tables as they are."""
        return lanes, tables

    def left(self, traced: Given, x: Any, grams: Any, scales: Any) -> dict[str, Any]:
        """Return what a step is to show of the averages it saw."""
        return {"given": (traced.inputs, traced.pairs)}


def _scales(of: Vector, i: str, j: str, env: Any) -> Float[Array, "B T T"]:
    """Return the product of scales that mantissas of <x_i, x_j>, x = ``of``, leave out."""
    logs = (jnp.clip(log_scale(of, place, env), -FARTHEST, FARTHEST) for place in (i, j))
    left, right = (jnp.exp(log) for log in logs)
    return left[:, :, None] * right[:, None, :]


def _in_units(of: Vector, j: str, env: Any) -> Float[Array, "B T T"]:
    """Return <x, x'> of x = ``of`` and of what stands in its place at j, in the network's units."""
    return env.block(inner(of, "a", of, j, env), "a", j) * _scales(of, "a", j, env)
