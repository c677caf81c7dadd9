"""A unit's cotangents: what comes back to it, matrix by matrix.

Given the forward pass, W^T d of a matrix W that was asked for w_l = W phi_l, l = 1.., is

    W^T d = z + sum_l phi_l A_l,     A = M^-1 (r <w, d> - <phi, z>),     z = chol(C r <d, d'>) g

M = <phi, phi'>, r = n_out / n_in, g fresh normals. So a cotangent has a main part, linear in
fresh normals and the read-out, and a rest: forward vectors times overlaps, of gradients with writes
and inputs and, from a norm's Jacobian, with what the norm is of. In the wide limit overlaps are 0;
they fluctuate like n^-1/2, and their squares shift gradients by 1/n. A unit's overlaps act on the
others too, of which a sample, the members, says what comes of it. Source: derived
(tests/theory/fluctuations).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.expression import (
    Attend,
    Normalise,
    Product,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.theory.calculus.by_band import Bands, over_bands
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.log_scale import log_scale, shift
from sigprop.theory.calculus.rules import norm
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Divide, Transposed
from sigprop.theory.recursion.units.unit import Given, Reads, Unit, without_form


class Cotangents(NamedTuple):
    """A cotangent's main part of the unit [*, T], and its rest, of the unit and then of members
    [1 + M, *, T]."""

    main: Any
    rest: Any

    @property
    def own(self) -> Any:
        """The unit's cotangent, both parts."""
        return self.main + self.rest[0]

    @property
    def members(self) -> Any:
        """The rest of the members'."""
        return self.rest[1:]

    def overlap(self, over: str, forward: Any, weight: Any) -> Any:
        """Return <d, x> of every band with a forward vector x [1 + M, ...], the units of weights
        [K] among the bands'. over: the einsum of d and x, n being the units, k the bands."""
        own = jnp.einsum(over.replace("n", ""), self.own, forward[0])
        others = jnp.einsum(over, self.members, forward[1:]) / max(1, len(self.members))
        weight = weight.reshape([-1 if axis == "k" else 1 for axis in over.split("->")[1]])
        return (1 - weight) * others + weight * own

    def by_band(self, bands: Bands) -> Cotangents:
        """Take the units of the bands apart: [K, C, T], [1 + M, K, C, T]."""
        return Cotangents(bands.units(self.main), bands.units(self.rest))


class Members(NamedTuple):
    """Other units at one step of the forward pass, in the wide limit: what they read [M, R, K, T]
    and what was drawn {matrix or bias: [M, K C, T]}."""

    reads: Any
    outputs: dict[str, Any]


@dataclass
class Pulled(Unit):
    """A unit at one step on the way back. cotangent: of the branch's output [K, T]; later {weight:
    what its partners' units gave to its transpose [U, K C, T], and their members [U, M, K C,
    T]}."""

    cotangent: Any = None
    later: Any = None
    members: Any = None
    rests: dict[Vector, Any] = field(default_factory=dict)

    def at_partners(self, weight: str, of: Vector) -> Given:
        return (self.later if is_cotangent(of) else self.earlier)[weight]

    def mean_square(self, node: Normalise, value: Any, env: Environment) -> Float[Array, "1 T"]:
        """Return a variance as it is: the forward pass kept it as the norm saw it."""
        return value.reshape(1, -1)

    def averaged(self, u: Vector, other: Any, value: Any, env: Environment) -> Any:
        if not is_cotangent(u):
            return super().averaged(u, other, value, env)
        mine, weight = self.both(u, env), self.weight(u, env)[None, :, None, None]
        own, members = (mine.own[None], mine.members[None]) if other is None else other
        each = self.by_band(u, "a" if other is None else "b", value, env)
        (left, right), units = (mine.own, mine.members), self.bands.units
        rest = self.mean_of("mkct,umkcs->ukts", units(right), units(members))
        unit = jnp.einsum("kct,ukcs->ukts", units(left), units(own)) / units(left).shape[1]
        mixed = (1 - weight) * (each + rest) + weight * unit
        return over_bands(self.bands.widths, mixed, 1)

    def mean_of(self, over: str, left: Any, right: Any) -> Any:
        """Return products of the members, by their mean over members and a head's coordinates."""
        return jnp.einsum(over, left, right) / max(1, left.shape[0] * left.shape[2])

    def both(self, u: Vector, env: Environment) -> Cotangents:
        """Return both parts of a cotangent [K C, T], [1 + M, K C, T]."""
        return Cotangents(self.value(u, env), self.rest(u, env))

    def forward(self, u: Vector, env: Environment) -> Float[Array, "B C T"]:
        """Return a forward vector of the unit and of the members."""
        own = self.value(u, env)

        def member(reads: Any, outputs: dict[str, Any]) -> Any:
            own = Reads(reads, jnp.zeros_like(reads))
            return Unit(0.0, self.bands, own, {}, outputs).value(u, env)

        return together(own, jax.vmap(member)(*self.members))

    def rest(self, u: Vector, env: Environment) -> Float[Array, "B C T"]:
        """Return the rest of a cotangent; raises ``NoRule``."""
        if u not in self.rests:
            self.rests[u] = self._rest(u, env)
        return self.rests[u]

    def _rest(self, u: Vector, env: Environment) -> Any:
        match u:
            case Product(left, right):
                return self.forward(left, env) * self.rest(right, env)
            case Scale(factor, of) | Gate(factor, of):
                return _times(self.rest(of, env), env.per_token(factor, "a"))
            case Rescale(factor, of):
                return _times(self.rest(of, env), env.table(factor, "a"))
            case Sum(terms):
                parts = [_times(self.rest(term, env), shift(term, u, "a", env)) for term in terms]
                return sum(parts[1:], parts[0])
            case Truncate(of, fraction):
                rest = self.rest(of, env)
                return rest * self.inside(fraction, rest.shape[1], env)[None]
            case Mix(table, of, turned):
                even = _times(self.rest(of, env), shift(of, u, "a", env))
                return jnp.einsum("ts,mcs->mct", env.matrix(table, "a", turned)[0], even)
            case Divide(of, by):
                return self._divided(of, by, env)
            case AttendTransposed(node, of, leg):
                return self._legs(node, of, leg, u, env)
        raise without_form(u)

    def _divided(self, of: Vector, by: Normalise, env: Environment) -> Any:
        """Return (d - x <x, d>) / norm of x = by, for LayerNorm less its mean: the rest of it."""
        d, x, weight = self.both(of, env), self.forward(by, env), self.weight(by, env)
        along = self.along(d, x, weight)
        rest = d.rest - _times(x, along)
        if by.kind == "layer":
            rest = rest - self.along(d, jnp.ones_like(x), weight)[None]
        return _times(rest, 1 / norm(by, "a", env))

    def along(self, d: Cotangents, x: Float[Array, "B KC T"], weight: Any) -> Float[Array, "1 T"]:
        """Return <d, x> of every token."""
        d, x = d.by_band(self.bands), self.bands.units(x)
        every = d.overlap("nkct,nkct->kt", x, weight) / x.shape[2]
        return over_bands(self.bands.widths, every, 0)[None]

    def _value(self, u: Vector, env: Environment) -> Any:
        match u:
            case Cotangent():
                return self.cotangent
            case Divide(of, by):
                return self.value(of, env) / norm(by, "a", env)
            case AttendTransposed(node, of, leg):
                values = {each: self.value(each, env) for each in _legs_of(node)}
                return _through_head(self, node, leg, u, values, self.value(of, env), env)
        return super()._value(u, env)

    def _legs(self, node: Attend, of: Vector, leg: str, u: Vector, env: Any) -> Any:
        """Return the rest of what comes back to heads' queries, keys or values."""
        values = {each: self.forward(each, env) for each in _legs_of(node)}

        def one(values: dict[Vector, Any], d: Any) -> Any:
            return _through_head(self, node, leg, u, values, d, env)

        names = list(values)
        return jax.vmap(lambda d, *each: one(dict(zip(names, each, strict=True)), d))(
            self.rest(of, env), *values.values()
        )

    def mean(self, u: Vector, env: Environment) -> Float[Array, "1 T"]:
        return jnp.zeros_like(self.cotangent) if is_cotangent(u) else super().mean(u, env)


def together(unit: Any, members: Any) -> Any:
    """Return what the unit and the members [M, ...] have as one array."""
    return jnp.concatenate([unit[None], members])


def _times(rest: Any, factor: Any) -> Any:
    """Return a rest [1 + M, C, T] times a number, or a factor [1, T]."""
    return rest * (factor if isinstance(factor, float) else factor[None])


def _legs_of(node: Attend) -> tuple[Vector, Vector, Vector]:
    return node.query, node.key, node.value


def _through_head(
    unit: Unit, node: Attend, leg: str, u: Vector, values: dict[Vector, Any], d: Any, env: Any
) -> Any:
    """Return what comes back from a head's output cotangent d to its queries, keys or values (u's
    mantissa). values: of all three."""
    log, at = log_scale(u.of, "a", env), getattr(node, leg)  # type: ignore[attr-defined]

    def output(part: Any) -> Any:
        own = values | {at: part}
        return Unit(unit.t, unit.bands, unit.reads, {}, values=own).value(node, env)

    (pulled,) = jax.vjp(output, values[at])[1](d * jnp.exp(log - env.widest(log)))
    scale = env.widest(log) + log_scale(node, "a", env)
    return pulled * jnp.exp(scale - log_scale(at, "a", env) - log_scale(u, "a", env))


def is_cotangent(u: Vector) -> bool:
    """Tell if a vector is one that comes back."""
    if isinstance(u, Product):
        return is_cotangent(u.right)
    if isinstance(u, Sum):
        return is_cotangent(u.terms[0])
    found = isinstance(u, (Cotangent, Transposed, Divide, AttendTransposed))
    inner = (Scale, Gate, Rescale, Mix, Truncate)
    return found or (isinstance(u, inner) and is_cotangent(u.of))
