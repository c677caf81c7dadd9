"""One unit of every population, traced beside the recursion: what finite networks average over.

At any width, a network's order parameters K (Grams that it reads, divides by or multiplies with a
matrix) are averages over its units, K_y = mean_i f_y(g_i; K), g_i independent standard normals. One
unit of weight t / sqrt(r) among all others, r n the size of its population,

    K_y(t) = (1 - t / sqrt(r)) F_y(K(t)) + t / sqrt(r) f_y(g; K(t)),

has E (dK/dt)^2 = n Var and E d^2K/dt^2 / 2 = the shift of the mean times n, at t = 0 and n ->
infinity. The rules of the calculus give F; here is f, and where the two are mixed. Source: derived
(tests/theory/fluctuations).

Where coordinates are of K bands, band k has a share w_k of every population: one unit of each band
is traced, of weight t / sqrt(r w_k) among its own, and an average over all is one over bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field as fresh
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.description.checks import BAND
from sigprop.errors import NoRule, no_rule
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.language.scalar import Scalar
from sigprop.theory.attention import expectation
from sigprop.theory.attention.heads import softmax
from sigprop.theory.attention.positions import positions, rotated
from sigprop.theory.attention.sampling import normalised
from sigprop.theory.calculus.by_band import Bands, by_band, over_bands
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.log_scale import log_scale, shift
from sigprop.theory.calculus.rules import norm
from sigprop.theory.recursion.units import isometric
from sigprop.theory.recursion.units.sizes import rows


class Averaging(Protocol):
    """What an environment asks for the averages that a network sees, where they are not means."""

    def seen(self, weight: str, of: Vector, i: str, j: str, value: Any, env: Any) -> Any:
        """Return <x_i, x_j> of x = ``of``, what a weight is given; value: its mean."""
        ...

    def mean_square(self, node: Normalise, value: Any, env: Any) -> Any:
        """Return what a norm divides by, squared; value: its mean."""
        ...

    def scores(self, node: Attend, env: Any) -> Any:
        """Return what is added to scores that vanish with the width, or None."""
        ...

    def mean(self, u: Vector, env: Any) -> Any:
        """Return the mean over coordinates of what a branch makes [*, T]."""
        ...


class Reads(NamedTuple):
    """What the units of the bands read, and the mean of what the others read [R, K, T]: 0 but for
    what LayerNorm took away of the unit."""

    unit: Any
    others: Any


class Given(NamedTuple):
    """What a unit gives to a matrix [*U, K C, T], and the mean of what the others give [*U, K,
    T]."""

    unit: Any
    others: Any


@dataclass
class Unit:
    """A unit of every band at one step. t: its weight (None: it is a part of no average); bands;
    reads: what it reads; earlier: {matrix: what its partners' units gave to it [U, K C, T]};
    outputs: {matrix or bias: its output [K C, T]}, as they are drawn. C: coordinates of the unit,
    1, or where it is a head those of a head, one band after the other. All as mantissas of the
    scales that ``log_scale`` says."""

    t: Any
    bands: Bands
    reads: Reads
    earlier: dict[str, Given]
    outputs: dict[str, Any] = fresh(default_factory=dict)
    exact: dict[str, Any] = fresh(default_factory=dict)
    variances: dict[str, Any] = fresh(default_factory=dict)
    values: dict[Vector, Any] = fresh(default_factory=dict)

    def value(self, u: Vector, env: Environment) -> Float[Array, "KC T"]:
        """Return the unit's value of a branch's expression; raises ``NoRule``."""
        if u not in self.values:
            self.values[u] = self._value(u, env)
        return self.values[u]

    def at_partners(self, weight: str, of: Vector) -> Given:
        """Return what partners' units gave to a weight in the place of ``of``."""
        return self.earlier[weight]

    def _value(self, u: Vector, env: Environment) -> Any:
        match u:
            case Read(index):
                return self.reads.unit[index]
            case Linear(weight=name) | Bias(weight=name):
                return self.outputs[name]
            case Scale(factor, of) | Gate(factor, of):
                return env.per_token(factor, "a") * self.value(of, env)
            case Rescale(factor, of):
                return env.table(factor, "a") * self.value(of, env)
            case Sum(terms):
                parts = [self.value(term, env) * shift(term, u, "a", env) for term in terms]
                return sum(parts[1:], parts[0])
            case Activate(activation, of, order):
                scale = jnp.exp(log_scale(of, "a", env))
                argument = self.value(of, env) * scale
                return (
                    activation.derivative(argument)
                    if order
                    else activation.function(argument) / scale
                )
            case Product(left, right):
                return self.value(left, env) * self.value(right, env)
            case Normalise(of=of):
                value = self.value(of, env)
                value = value - self.average(of, env) if u.kind == "layer" else value
                return value / norm(u, "a", env)
            case Truncate(of, fraction):
                value = self.value(of, env)
                return value * self.inside(fraction, len(value), env)
            case Mix(table, of, turned):
                return self._mixed(env.matrix(table, "a", turned), of, u, env)
            case Attend(value=of):
                return self._mixed(self._weights(u, env), of, u, env)
        raise without_form(u)

    def inside(self, fraction: Scalar, size: int, env: Environment) -> Float[Array, "KC 1"]:
        """Return 1 for those of ``size`` coordinates in bands within a first fraction of all."""
        within = self.bands.ends[:, None] <= env.per_token(fraction, "a") + BAND
        return jnp.repeat(within, size // self.bands.count, axis=0).astype(jnp.float64)

    def _weights(self, node: Attend, env: Any) -> Float[Array, "KG T T"]:
        """Return the attention weights of the units, which are heads: of keys, and of the G of
        queries that share them."""
        scores = node.scores
        if scores.uniform:
            return env.weights(node, "a", False)
        d = scores.head_dim
        query, key = (
            self.value(leg, env) * jnp.exp(log_scale(leg, "a", env))
            for leg in (node.query, node.key)
        )
        group, tokens = len(query) // len(key), query.shape[1]
        query, key = (
            jnp.swapaxes(each.reshape(heads, -1, tokens), 1, 2)[:, None]
            for each, heads in ((query, self.bands.count * group), (key, self.bands.count))
        )
        key = jnp.repeat(key, group, axis=0)
        if scores.qk_norm:
            query, key = (normalised(x, d)[0] for x in (query, key))
        form = expectation.form(env, node, "a", "a")
        if scores.rotary:
            angle = positions(query.shape[-2], scores, form.base)
            query, key = rotated(query, angle), rotated(key, angle)
        s = jnp.einsum("cbtj,cbsj->cbts", query, key) / math.sqrt(d)
        log = jnp.zeros(1, dtype=s.dtype)
        return softmax(scores, form.cap, s, log, form.bias_a)[0][:, 0]

    def scores(self, node: Attend, env: Environment) -> Float[Array, "1 T T"]:
        """Return what the units add to the scores of their heads, which are means over a head's
        coordinates of products that have none; all H heads have units of their own."""
        query, key = (
            self.bands.units(self.value(leg, env) * jnp.exp(log_scale(leg, "a", env)))
            for leg in (node.query, node.key)
        )
        weight = self.bands.widths * self.weight(node.query, env) / query.shape[1]
        added = jnp.einsum("k,kct,kcs->ts", weight, query, key)
        assert node.scores.heads is not None  # of scores that vanish with the width
        return math.sqrt(node.scores.heads) * added[None]

    def _mixed(self, matrix: Any, part: Vector, whole: Vector, env: Environment) -> Any:
        """Mix tokens, all on the whole's one scale; every head of queries those of its keys'."""
        even = self.value(part, env) * shift(part, whole, "a", env)
        if len(matrix) == 1:
            return jnp.einsum("ts,cs->ct", matrix[0], even)
        values = self.bands.units(even)
        values = jnp.repeat(values, len(matrix) // len(values), axis=0)
        return jnp.einsum("kts,kcs->kct", matrix, values).reshape(-1, even.shape[-1])

    def seen(self, weight: str, of: Vector, i: str, j: str, value: Any, env: Environment) -> Any:
        """Mix an inner product of what a weight is given with the unit's."""
        if self.t is None:
            return value
        other = None if i == j else self.at_partners(weight, of)
        seen = self.averaged(of, other, value, env)
        if weight not in self.variances:
            return seen
        outputs, partners = self.outputs[weight], self.exact[weight]
        partners = outputs[None] if other is None else partners
        return isometric.of_others(self.t, seen, outputs, partners, self.variances[weight])

    def averaged(self, u: Vector, other: Any, value: Any, env: Environment) -> Any:
        """Mix an inner product of u with what partners' units have in its place (None: with
        itself), which a network sees as an average over coordinates, with the unit's."""
        mine, mean, t = self.value(u, env), self.mean(u, env), self.weight(u, env)
        unit, others = Given(mine[None], mean[None]) if other is None else other
        each = self.by_band(u, "a" if other is None else "b", value, env)
        each = each + mean[None, :, :, None] * others[:, :, None, :]
        mine, unit = self.bands.units(mine), self.bands.units(unit)
        t = t[None, :, None, None]
        own = jnp.einsum("kct,ukcs->ukts", mine, unit) / mine.shape[1]
        return over_bands(self.bands.widths, (1 - t) * each + t * own, 1)

    def by_band(self, u: Vector, j: str, value: Any, env: Environment) -> Float[Array, "B K T T"]:
        """Return what is expected of <u_a, u_j> in every band; value: in all."""
        return value[:, None] if self.bands.count == 1 else by_band(u, j, env, self.bands)

    def mean_square(self, node: Normalise, value: Any, env: Environment) -> Float[Array, "1 T"]:
        """Mix a variance with the unit's, as a norm sees it: of LayerNorm about the mean."""
        if self.t is None:
            return value
        of, t = node.of, self.weight(node.of, env)[:, None]
        mean = self.mean(of, env)
        own = jnp.mean(self.bands.units(self.value(of, env)) ** 2, axis=1)
        if self.bands.count > 1:
            value = jnp.diagonal(self.by_band(of, "a", None, env)[0], axis1=-2, axis2=-1)
        square = self._over_bands((1 - t) * (value + mean**2) + t * own)
        return square - self.average(of, env) ** 2 if node.kind == "layer" else square

    def average(self, u: Vector, env: Environment) -> Float[Array, "1 T"]:
        """Return the mean over all coordinates of u, the unit's among them."""
        if self.t is None:
            return self._over_bands(self.mean(u, env))
        own, t = jnp.mean(self.bands.units(self.value(u, env)), axis=1), self.weight(u, env)
        return self._over_bands((1 - t[:, None]) * self.mean(u, env) + t[:, None] * own)

    def _over_bands(self, each: Float[Array, "K T"]) -> Float[Array, "1 T"]:
        return over_bands(self.bands.widths, each, 0)[None]

    def mean(self, u: Vector, env: Environment) -> Float[Array, "K T"]:
        """Return the mean of the other units' values: what LayerNorm took away of the unit. An
        activation's is 0 here: its Gram is about 0, not about its mean (``gaussian.shifted``)."""
        match u:
            case Read(index):
                return self.reads.others[index]
            case Scale(factor, of) | Gate(factor, of):
                return env.per_token(factor, "a") * self.mean(of, env)
            case Rescale(factor, of):
                return env.table(factor, "a") * self.mean(of, env)
            case Sum(terms):
                parts = [self.mean(term, env) * shift(term, u, "a", env) for term in terms]
                return jnp.sum(jnp.stack(parts), axis=0)
            case Truncate(of, fraction):
                mean = self.mean(of, env)
                return mean * self.inside(fraction, len(mean), env)
            case Normalise(of=of):
                mean = self.mean(of, env)
                mean = mean - self.average(of, env) if u.kind == "layer" else mean
                return mean / norm(u, "a", env)
            case Mix(table, of, turned):
                even = self.mean(of, env) * shift(of, u, "a", env)
                return jnp.einsum("ts,cs->ct", env.matrix(table, "a", turned)[0], even)
            case Linear() | Bias() | Activate() | Product() | Attend(value=Linear()):
                return jnp.zeros_like(self.reads.others[0])
            case Attend(value=Sum(terms)) if all(isinstance(t, (Linear, Bias)) for t in terms):
                return jnp.zeros_like(self.reads.others[0])
        raise without_form(u)

    def weight(self, u: Vector, env: Environment) -> Float[Array, " K"]:
        """Return the units' weights among those of their bands that u has: coordinates, or heads of
        several."""
        coordinates = self.value(u, env).shape[0] // self.bands.count
        return among(self.t * share(u, coordinates), self.bands.widths)


def share(u: Vector, size: int) -> float:
    """Return 1/sqrt(r), r n units of ``size`` coordinates having the coordinates of u."""
    return math.sqrt(size / rows(u))


def among(t: Any, widths: Float[Array, " K"]) -> Float[Array, " K"]:
    """Return the weights of a unit of weight t among all, one of every band, among the band's."""
    return jnp.reshape(t, (1,)) if len(widths) == 1 else t / jnp.sqrt(widths)


def without_form(u: Vector) -> NoRule:
    """Return the refusal of a node that has no fluctuation form."""
    return no_rule(u, "no form for its fluctuations yet", "matrices, activations, products, norms")
