"""Dual activations at single points, and the activations written out again in plain floats."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mpmath import fp

from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.theory.gaussian.dual import dual, features

Point = tuple[float, float, float]
POINTS: list[Point] = [(1.0, 0.5, 1.0), (0.3, -0.2, 2.0), (1.7, 1.1, 0.9), (4.0, -3.5, 4.0)]
SERIES = ["tanh", "silu", "gelu-tanh"]


class strict:
    """64 bit, no implicit promotion of dtypes or ranks."""

    def __enter__(self) -> None:
        self.contexts = [
            jax.enable_x64(True),
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
        ]
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self.contexts):
            context.__exit__(None, None, None)


def hard_tanh(x: Any) -> Any:
    return jnp.clip(x, -1, 1)


def soft_plus(x: Any) -> Any:
    return jax.nn.softplus(x)


def renamed(name: str) -> Activation:
    """The registered function under a name of the user's: goes through the series."""
    return Activation(f"my-{name}", find(name).function)


def pair(
    activation: str | Activation,
    order: int,
    qa: Any,
    c: Any,
    qb: Any,
    sa: Any = 0.0,
    sb: Any = 0.0,
    /,
    **options: int,
) -> Any:
    """V or V' at one point; every argument an array without dimensions."""
    fa, fb = (
        features(activation, qa[None], sa, **options),
        features(activation, qb[None], sb, **options),
    )
    return dual(activation, order, fa, c[None, None], fb)[0, 0]


@functools.cache
def compiled(
    activation: str | Activation, order: int, options: tuple[tuple[str, int], ...] = ()
) -> Callable[..., Any]:
    return jax.jit(functools.partial(pair, activation, order, **dict(options)))


def at(
    activation: str | Activation, order: int, point: Point, /, *logs: float, **options: int
) -> float:
    """V or V' at one point (order 0: its mantissa if there are logs)."""
    return float(
        compiled(activation, order, tuple(options.items()))(
            *(jnp.asarray(float(v)) for v in (*point, *logs))
        )
    )


def gradients(activation: str, order: int, points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """The values at the points, [P], and their gradients by (qa, c, qb), [3, P]."""
    function = jax.vmap(
        jax.value_and_grad(functools.partial(pair, activation, order, degree=64), argnums=(0, 1, 2))
    )
    values, slopes = function(*(jnp.asarray(v) for v in zip(*points, strict=True)))
    return np.asarray(values), np.asarray(jnp.stack(slopes))


def normal(x: float) -> float:
    return float(fp.exp(-x * x / 2) / fp.sqrt(2 * fp.pi))


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


SLOPE = {"linear": 1.0, "relu": 0.0, "leaky-relu": 0.01, "leaky-relu(0.35)": 0.35}
FUNCTIONS: dict[tuple[str, int], Callable[[float], float]] = {
    **{(name, 0): lambda x, s=s: x if x > 0 else s * x for name, s in SLOPE.items()},
    **{(name, 1): lambda x, s=s: 1.0 if x > 0 else s for name, s in SLOPE.items()},
    ("erf", 0): fp.erf,
    ("erf", 1): lambda x: 2 / fp.sqrt(fp.pi) * fp.exp(-x * x),
    ("gelu", 0): lambda x: x * fp.ncdf(x),
    ("gelu", 1): lambda x: fp.ncdf(x) + x * normal(x),
    ("tanh", 0): np.tanh,
    ("tanh", 1): lambda x: 1 / np.cosh(x) ** 2,
    ("silu", 0): lambda x: x * logistic(x),
    ("silu", 1): lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
}
"""phi and phi' written out again, in plain floats: they share nothing with the package."""
