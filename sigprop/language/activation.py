"""Activations: elementwise functions, registered by name or given by the user."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError

Values = Any
"""Numbers that an activation acts on one by one: a float, or an array of numpy or jax."""
Elementwise = Callable[[Values], Values]
Nodes = NDArray[np.float64]


@dataclass(frozen=True)
class Activation:
    """phi: R -> R elementwise.

    name: how it is shown; function: jax-traceable, elementwise; latex: how formulas write it. Two
    activations are equal when name and function are. Growth at infinity must be at most linear
    (faster growth has no wide limit here).
    """

    name: str
    function: Elementwise
    latex: str = r"\phi"

    def __post_init__(self) -> None:
        if not _is_name(self.name) or not callable(self.function):
            raise InputError(
                f"Activation: {self.name!r}, {self.function!r}; accepted: a name and an "
                f"elementwise function"
            )

    def derivative(self, x: Values) -> Values:
        """phi'(x), elementwise, by automatic differentiation."""
        jax = _jax()
        return jax.jvp(self.function, (x,), (jax.numpy.ones_like(x),))[1]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name)


class Numpy(Protocol):
    """What is asked of jax.numpy, whose own signatures are partly untyped."""

    def asarray(self, a: Values, /) -> Values: ...
    def ones_like(self, a: Values, /) -> Values: ...


class Jax(Protocol):
    """What is asked of jax."""

    @property
    def numpy(self) -> Numpy: ...
    def jvp(
        self, fun: Elementwise, primals: tuple[Values], tangents: tuple[Values], /
    ) -> tuple[Values, ...]: ...
    def enable_x64(self, new_val: bool, /) -> AbstractContextManager[object]: ...


def _jax() -> Jax:
    """Import jax when it is first needed."""
    import jax

    return jax


@dataclass(frozen=True)
class Composition:
    """x -> outer(inner(x)), elementwise."""

    outer: Activation
    inner: Activation

    def __call__(self, x: Values) -> Values:
        return self.outer.function(self.inner.function(x))


def composed(outer: Activation, inner: Activation) -> Activation:
    """The activation outer(inner(x)), named as it is written: ``relu(tanh)``."""
    return Activation(
        f"{outer.name}({inner.name})",
        Composition(outer, inner),
        rf"{outer.latex} \circ {inner.latex}",
    )


@functools.cache
def gaussian_nodes(order: int = 16) -> tuple[Nodes, Nodes]:
    """Nodes z and weights of E f(z), z ~ N(0, 1): Gauss-Legendre panels on [-14, 14], graded
    towards 0.

    The grading resolves a function whose only sharp feature sits at 0, at any scale (relu, or tanh
    of a large argument), to rounding; a kink elsewhere costs O(panel width^2). ``order``: nodes a
    panel.
    """
    x, w = np.polynomial.legendre.leggauss(order)
    edges = np.concatenate(
        [[0.0], 0.5 * 2.0 ** -np.arange(40, 0, -1.0), np.arange(0.5, 14.25, 0.5)]
    )
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * x).ravel()
    weight = (half[:, None] * w).ravel() * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.concatenate([-z[::-1], z]), np.concatenate([weight[::-1], weight])


@functools.cache
def second_moment(activation: Activation) -> float:
    """E[phi(z)^2], z ~ N(0, 1): the inverse of the unit gain (docs/theory.md)."""
    jax = _jax()
    z, weight = gaussian_nodes()
    with jax.enable_x64(True):
        value = np.asarray(activation.function(jax.numpy.asarray(z)), dtype=np.float64)
    moment = float(np.sum(weight * value**2))
    if not np.isfinite(moment) or moment <= 0:
        raise InputError(
            f"activation={activation.name!r}: E[phi(z)^2] = {moment}; accepted: a function with 0 "
            f"< E[phi^2] < inf"
        )
    return moment
