"""The step of every group of parameters along a gradient G, scaled so that numbers have a limit as
the width n grows: Delta W = rate s G or what an optimiser makes of G.

            matrices of a branch                  stem, biases, gates       read-out theta
    sgd     G                                     n G                       G/n
    adam    sign(G)/n                             sign(G)                   sign(G)/n
    muon    sqrt(n_out/n_in) polar(G)             sign(G)                   sign(G)/n

with theta of standard deviation 1/n. adam: its first step at epsilon 0, G/|G|; 0 where G is 0.
muon: of a matrix, each slot's as a whole. Derived: tests/simulations/training/test_response.py.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.errors import InputError, near_miss
from sigprop.simulations.training.polar import Pair, orthogonalised

OPTIMISERS = ("sgd", "adam", "muon")


class Rule(NamedTuple):
    """Which step: optimizer, one of ``OPTIMISERS``; newton_schulz: of muon, whether polar(G) is
    five steps of the iteration that approximates it; width: n."""

    optimizer: str
    newton_schulz: bool
    width: int


class Outer(NamedTuple):
    """sum_k left_k right_k^T of every slot."""

    left: Float[Array, "slots K n_out"]
    right: Float[Array, "slots K n_in"]

    def times(self, x: Float[Array, "slots U n_in"]) -> Float[Array, "slots U n_out"]:
        """Return its products with vectors."""
        along = _exact("sui,ski->suk", x, self.right)
        return _exact("suk,sko->suo", along, self.left)


class Full(NamedTuple):
    """The entries of every slot."""

    entries: Float[Array, "slots n_out n_in"]

    def times(self, x: Float[Array, "slots U n_in"]) -> Float[Array, "slots U n_out"]:
        """Return its products with vectors."""
        return _exact("sui,soi->suo", x, self.entries)


def check_rule(optimizer: str, newton_schulz: bool, width: int) -> Rule:
    """Return the step; raise ``InputError`` for another optimiser, or an iteration that is not
    Muon's."""
    if optimizer not in OPTIMISERS:
        raise InputError(f"optimizer={optimizer!r}{near_miss(str(optimizer), OPTIMISERS)}")
    if newton_schulz and optimizer != "muon":
        raise InputError(
            f"newton_schulz=True with optimizer={optimizer!r}; accepted: with optimizer='muon'"
        )
    return Rule(optimizer, bool(newton_schulz), width)


def of_matrices(rule: Rule, pairs: dict[str, Pair]) -> dict[str, Outer | Full]:
    """Return the step of every matrix along G = sum_k d_k x_k^T, K a slot's uses and tokens.

    pairs {weight: (d [slots, K, n_out], x [slots, K, n_in])}.
    """
    if rule.optimizer == "sgd":
        return {name: Outer(d, x) for name, (d, x) in pairs.items()}
    if rule.optimizer == "adam":
        return {
            name: Full(jnp.sign(_exact("sko,ski->soi", d, x)) / rule.width)
            for name, (d, x) in pairs.items()
        }
    steps = orthogonalised(list(pairs.values()), rule.newton_schulz)
    return {
        name: Outer(left * (left.shape[2] / right.shape[2]) ** 0.5, right)
        for name, (left, right) in zip(pairs, steps, strict=True)
    }


def of_vector(rule: Rule, gradient: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the step of biases, gates and parts of the stem."""
    return rule.width * gradient if rule.optimizer == "sgd" else jnp.sign(gradient)


def of_readout(rule: Rule, gradient: Float[Array, " n"]) -> Float[Array, " n"]:
    """Return the step of theta."""
    return (gradient if rule.optimizer == "sgd" else jnp.sign(gradient)) / rule.width


def _exact(subscripts: str, *arrays: Array) -> Array:
    """Multiply in full precision."""
    return jnp.einsum(subscripts, *arrays, precision=jax.lax.Precision.HIGHEST)
