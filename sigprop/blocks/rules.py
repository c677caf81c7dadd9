"""Residual rules: how a write joins the state. Each returns the next lanes; a new rule is one more
function.

With h = State(0) and f = Write(), eps = residual_scale, lambda = skip_scale
(docs/systems/residual-mlp.md).
"""

from __future__ import annotations

from collections.abc import Callable

from sigprop.description.structure import NORM_EPSILON
from sigprop.language.expression import Normalise, State, Vector, Write
from sigprop.language.nodes import Centre, Modulate, Project
from sigprop.language.scalar import Constant, Number

RESIDUAL_SCALE = Number("residual_scale", r"\varepsilon")
SKIP_SCALE = Number("skip_scale", r"\lambda")


ALPHA, MODULATOR = Number("alpha", r"\alpha"), Number("modulator", "m")
BETA, SKIP_BELOW = Number("beta", r"\beta"), Number("skip_below", r"\tau")


def modulator(kind: int) -> str:
    """The name of the modulator of the k-th kind of sub-block."""
    return f"modulator_{kind}"


def modulated(directions: int, skips: bool, name: str) -> Callable[[Vector], Vector]:
    """m_t times a vector, m learned: directions of its own at every application, skipping what
    is below ``skip_below``."""
    return lambda u: Modulate(
        name, u, Constant(1), BETA, directions, SKIP_BELOW if skips else Constant(0)
    )


def norm_agnostic(
    modulate: Callable[[Vector], Vector] = lambda u: MODULATOR * u,
) -> tuple[Vector, ...]:
    """(h + alpha m N(f_perp)) / sqrt(1 + alpha^2 m^2), f_perp the part of the centred write that is
    orthogonal to h, N(x) = x/rms(x), N(0) = 0.

    The square root is taken as the rms of what it divides: the same number, exact however h was
    rounded, and 1 where f_perp = 0. Source: 2606.16112, eqs 10-17.
    """
    direction = Normalise(Project(Centre(Write()), State(0)))
    return (Normalise(State(0) + ALPHA * modulate(direction)),)


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
