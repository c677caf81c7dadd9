"""Residual rules: how a write joins the state. Each returns the next lanes; a new rule is one more function.

With h = State(0) and f = Write(), eps = residual_scale, lambda = skip_scale (docs/theory.md).
"""

from __future__ import annotations

from sigprop.architecture import NORM_EPSILON
from sigprop.expression import Normalise, State, Vector, Write
from sigprop.scalar import Number

RESIDUAL_SCALE = Number("residual_scale", r"\varepsilon")
SKIP_SCALE = Number("skip_scale", r"\lambda")


def additive() -> tuple[Vector, ...]:
    """h + eps f."""
    return (State(0) + RESIDUAL_SCALE * Write(),)


def weighted() -> tuple[Vector, ...]:
    """lambda h + eps f."""
    return (SKIP_SCALE * State(0) + RESIDUAL_SCALE * Write(),)


def skipless() -> tuple[Vector, ...]:
    """f: no skip."""
    return (Write(),)


def post_norm(kind: str = "rms") -> tuple[Vector, ...]:
    """(lambda h + eps f) / norm, token by token."""
    return (Normalise(weighted()[0], kind, NORM_EPSILON),)


def sandwich(kind: str = "rms") -> tuple[Vector, ...]:
    """lambda h + eps f / norm(f): the branch's output is normalised before it is added."""
    return (SKIP_SCALE * State(0) + RESIDUAL_SCALE * Normalise(Write(), kind, NORM_EPSILON),)
