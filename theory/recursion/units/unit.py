"""One unit of every population, traced beside the recursion: what finite networks average over.

At any width, a network's order parameters K (Grams that it reads, divides by or multiplies with a
matrix) are averages over its units, K_y = mean_i f_y(g_i; K), g_i independent standard normals. One
unit of weight t / sqrt(r) among all others, r n the size of its population,

    K_y(t) = (1 - t / sqrt(r)) F_y(K(t)) + t / sqrt(r) f_y(g; K(t)),

has E (dK/dt)^2 = n Var and E d^2K/dt^2 / 2 = the shift of the mean times n, at t = 0 and n ->
infinity. The rules of the calculus give F; here is f, and where the two are mixed. Source: derived
(tests/theory/fluctuations).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field as fresh
from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

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
from sigprop.language.nodes import Gate, Mix
from sigprop.theory.attention import expectation
from sigprop.theory.attention.heads import softmax
from sigprop.theory.attention.positions import positions, rotated
from sigprop.theory.attention.sampling import normalised
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.log_scale import log_scale, shift
from sigprop.theory.calculus.rules import norm
from sigprop.theory.recursion.units.sizes import rows


class Averaging(Protocol):
    """What an environment asks for the averages that a network sees, where they are not means."""

    def seen(self, weight: str, of: Vector, i: str, j: str, value: Any, env: Any) -> Any:
        """Return <x_i, x_j> of x = ``of``, what a weight is given; value: its mean."""
        ...

    def mean_square(self, node: Normalise, value: Any, env: Any) -> Any:
        """Return what a norm divides by, squared; value: its mean."""
        ...


class Reads(NamedTuple):
    """What a unit reads, and the mean of what the others read [R, T]: 0 but for what LayerNorm took
    away of the unit."""

    unit: Any
    others: Any


class Given(NamedTuple):
    """What a unit gives to a matrix [*U, C, T], and the mean of what the others give [*U, T]."""

    unit: Any
    others: Any


@dataclass
class Unit:
    """A unit at one step. t: its weight (None: it is a part of no average); reads: what it reads;
    earlier: {matrix: what its partners' units gave to it [U, C, T]}; outputs: {matrix or bias: its
    output [C, T]}, as they are drawn. C: coordinates of the unit, 1, or where it is a head those of
    a head. All as mantissas of the scales that ``log_scale`` says."""

    t: Any
    reads: Reads
    earlier: dict[str, Given]
    outputs: dict[str, Any] = fresh(default_factory=dict)
    values: dict[Vector, Any] = fresh(default_factory=dict)

    def value(self, u: Vector, env: Environment) -> Float[Array, "C T"]:
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
                return self.reads.unit[index][None]
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
            case Mix(table, of, turned):
                return self._mixed(env.matrix(table, "a", turned), of, u, env)
            case Attend(value=of):
                return self._mixed(self._weights(u, env), of, u, env)
        raise without_form(u)

    def _weights(self, node: Attend, env: Any) -> Float[Array, "1 T T"]:
        """Return the attention weights of the unit, a head."""
        scores = node.scores
        if scores.uniform:
            return env.weights(node, "a", False)
        d = scores.head_dim
        query, key = (
            (self.value(leg, env) * jnp.exp(log_scale(leg, "a", env))).T[None, None]
            for leg in (node.query, node.key)
        )
        if scores.qk_norm:
            query, key = (normalised(x, d)[0] for x in (query, key))
        form = expectation.form(env, node, "a", "a")
        if scores.rotary:
            angle = positions(query.shape[-2], scores, form.base)
            query, key = rotated(query, angle), rotated(key, angle)
        s = jnp.einsum("cbtj,cbsj->cbts", query, key) / math.sqrt(d)
        log = jnp.zeros(1, dtype=s.dtype)
        return softmax(scores, form.cap, s, log, form.bias_a)[0][0]

    def _mixed(self, matrix: Any, part: Vector, whole: Vector, env: Environment) -> Any:
        """Mix tokens, all on the whole's one scale."""
        even = self.value(part, env) * shift(part, whole, "a", env)
        return jnp.einsum("ts,cs->ct", matrix[0], even)

    def seen(self, weight: str, of: Vector, i: str, j: str, value: Any, env: Environment) -> Any:
        """Mix an inner product of what a weight is given with the unit's."""
        if self.t is None:
            return value
        other = None if i == j else self.at_partners(weight, of)
        return self.averaged(of, other, value, env)

    def averaged(self, u: Vector, other: Any, value: Any, env: Environment) -> Any:
        """Mix an inner product of u with what partners' units have in its place (None: with
        itself), which a network sees as an average over coordinates, with the unit's."""
        mine, mean, t = self.value(u, env), self.mean(u, env), self.weight(u, env)
        unit, others = Given(mine[None], mean) if other is None else other
        value = value + mean[:, :, None] * others[:, None, :]
        return (1 - t) * value + t * jnp.einsum("ct,ucs->uts", mine, unit) / mine.shape[0]

    def mean_square(self, node: Normalise, value: Any, env: Environment) -> Float[Array, "1 T"]:
        """Mix a variance with the unit's, as a norm sees it: of LayerNorm about the mean."""
        if self.t is None:
            return value
        of, t = node.of, self.weight(node.of, env)
        mean = self.mean(of, env)
        own = jnp.mean(self.value(of, env) ** 2, axis=0, keepdims=True)
        square = (1 - t) * (value + mean**2) + t * own
        return square - self.average(of, env) ** 2 if node.kind == "layer" else square

    def average(self, u: Vector, env: Environment) -> Float[Array, "1 T"]:
        """Return the mean over all coordinates of u, the unit's among them."""
        if self.t is None:
            return self.mean(u, env)
        own, t = jnp.mean(self.value(u, env), axis=0, keepdims=True), self.weight(u, env)
        return (1 - t) * self.mean(u, env) + t * own

    def mean(self, u: Vector, env: Environment) -> Float[Array, "1 T"]:
        """Return the mean of the other units' values: what LayerNorm took away of the unit."""
        match u:
            case Read(index):
                return self.reads.others[index][None]
            case Scale(factor, of) | Gate(factor, of):
                return env.per_token(factor, "a") * self.mean(of, env)
            case Rescale(factor, of):
                return env.table(factor, "a") * self.mean(of, env)
            case Sum(terms):
                parts = [self.mean(term, env) * shift(term, u, "a", env) for term in terms]
                return jnp.sum(jnp.stack(parts), axis=0)
            case Normalise(of=of):
                mean = self.mean(of, env)
                mean = mean - self.average(of, env) if u.kind == "layer" else mean
                return mean / norm(u, "a", env)
            case Mix(table, of, turned):
                even = self.mean(of, env) * shift(of, u, "a", env)
                return jnp.einsum("ts,cs->ct", env.matrix(table, "a", turned)[0], even)
            case Linear() | Bias() | Activate() | Product() | Attend(value=Linear()):
                return jnp.zeros_like(self.reads.others[:1])
            case Attend(value=Sum(terms)) if all(isinstance(t, (Linear, Bias)) for t in terms):
                return jnp.zeros_like(self.reads.others[:1])
        raise without_form(u)

    def weight(self, u: Vector, env: Environment) -> Any:
        """Return the unit's weight among those that u has: coordinates, or heads of several."""
        return self.t * share(u, self.value(u, env).shape[0])


def share(u: Vector, size: int) -> float:
    """Return 1/sqrt(r), r n units of ``size`` coordinates having the coordinates of u."""
    return math.sqrt(size / rows(u))


def without_form(u: Vector) -> NoRule:
    """Return the refusal of a node that has no fluctuation form."""
    return no_rule(u, "no form for its fluctuations yet", "matrices, activations, products, norms")
