"""A unit's cotangents: what comes back to it, matrix by matrix.

Given the forward pass, W^T d of a matrix W that was asked for W phi_l, l = 1.., is

    W^T d = z + sum_l phi_l A_l,      A = M^-1 (r O_l - <phi_l, z>),      z = chol(C r <d, d'>) gamma

M = <phi, phi'>, O_l = <W phi_l, d>, r = n_out / n_in, gamma fresh normals. A vector has two parts:
the main one, linear in fresh normals (and in the read-out), and the rest, multiples of forward
vectors by overlaps O, <phi_l, gamma> and those of a norm's Jacobian. In the wide limit the rest is
0, but overlaps fluctuate like n^-1/2, and their squares shift gradients by 1/n. Source: derived
(tests/theory/fluctuations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
from sigprop.language.nodes import Gate, Mix
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import norm
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Divide, Transposed
from sigprop.theory.recursion.units.unit import Given, Unit


@dataclass
class Pulled(Unit):
    """A unit at one step on the way back. cotangent [1, T]: of the branch's output; later {weight:
    what its partners' units gave to its transpose [U, C, T]}."""

    cotangent: Any = None
    later: Any = None

    def at_partners(self, weight: str, of: Vector) -> Given:
        return (self.later if is_cotangent(of) else self.earlier)[weight]

    def mean_square(self, node: Normalise, value: Any, env: Environment) -> Float[Array, "1 T"]:
        """Return a variance as it is: the forward pass kept it as the norm saw it."""
        return value

    def _value(self, u: Vector, env: Environment) -> Any:
        match u:
            case Cotangent():
                return self.cotangent
            case Divide(of, by):
                return self.value(of, env) / norm(by, "a", env)
            case AttendTransposed(node, of, leg):
                return self._leg(node, of, leg, u, env)
        return super()._value(u, env)

    def _leg(self, node: Attend, of: Vector, leg: str, u: Vector, env: Any) -> Any:
        """Return what comes back to a head's queries, keys or values."""
        even = self.value(of, env) * shift_to_widest(of, env)
        legs = {name: getattr(node, name) for name in ("query", "key", "value")}
        values = {each: self.value(each, env) for each in legs.values()}

        def output(part: Any) -> Any:
            unit = Unit(self.t, self.reads, {}, values=values | {legs[leg]: part})
            return unit.value(node, env)

        (pulled,) = jax.vjp(output, values[legs[leg]])[1](even)
        scale = env.widest(log_scale(of, "a", env)) + log_scale(node, "a", env)
        return pulled * jnp.exp(scale - log_scale(legs[leg], "a", env) - log_scale(u, "a", env))

    def mean(self, u: Vector, env: Environment) -> Float[Array, "1 T"]:
        return jnp.zeros_like(self.cotangent) if is_cotangent(u) else super().mean(u, env)


def is_cotangent(u: Vector) -> bool:
    """Tell if a vector is one that comes back."""
    if isinstance(u, Product):
        return is_cotangent(u.right)
    if isinstance(u, Sum):
        return is_cotangent(u.terms[0])
    found = isinstance(u, (Cotangent, Transposed, Divide, AttendTransposed))
    return found or (isinstance(u, (Scale, Gate, Rescale, Mix)) and is_cotangent(u.of))


def shift_to_widest(u: Vector, env: Any) -> Any:
    """exp(log of u - the largest over tokens)."""
    log = log_scale(u, "a", env)
    return jnp.exp(log - env.widest(log))
