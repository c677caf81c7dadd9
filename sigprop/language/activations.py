"""The registered activations. A new one is one function here (or anywhere:
``sigprop.language.activations.register``)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sigprop.errors import InputError, near_miss
from sigprop.language.activation import Activation, Elementwise, Values

LATEX = r"\mathrm{lrelu}"


ACTIVATIONS: dict[str, Activation] = {}


def register(name: str, latex: str) -> Callable[[Elementwise], Elementwise]:
    """Decorate: make an elementwise function known by ``name`` to every architecture and to the
    command line."""

    def add(function: Elementwise) -> Elementwise:
        ACTIVATIONS[name] = Activation(name, function, latex)
        return function

    return add


@register("linear", r"\mathrm{id}")
def linear(x: Values) -> Values:
    """x."""
    return x


@register("relu", r"\mathrm{relu}")
def relu(x: Values) -> Values:
    """max(x, 0)."""
    import jax.numpy as jnp

    return jnp.where(x > 0, x, 0.0)


@dataclass(frozen=True)
class LeakyRelu:
    """x for x > 0, slope x below."""

    slope: float

    def __call__(self, x: Values) -> Values:
        import jax.numpy as jnp

        return jnp.where(x > 0, x, x * self.slope)


leaky_relu = register("leaky-relu", LATEX)(LeakyRelu(0.01))


def leaky(slope: float) -> Activation:
    """The leaky relu of that slope below zero, named leaky-relu(slope); raises ``InputError``
    unless -1 <= slope <= 1."""
    if not -1 <= slope <= 1:
        raise InputError(f"activation=leaky-relu({slope:g}); accepted: a slope from -1 to 1")
    return Activation(f"leaky-relu({slope!r})", LeakyRelu(slope), LATEX)


@register("erf", r"\mathrm{erf}")
def erf(x: Values) -> Values:
    """erf(x)."""
    import jax

    return jax.scipy.special.erf(x)


@register("gelu", r"\mathrm{gelu}")
def gelu(x: Values) -> Values:
    """x Phi(x), Phi the normal distribution function (exact form)."""
    import jax

    return x * jax.scipy.special.erfc(-x * 0.5**0.5) / 2


@register("gelu-tanh", r"\mathrm{gelu}_{\tanh}")
def gelu_tanh(x: Values) -> Values:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, the approximation that GPT-2 uses."""
    import jax

    return x * jax.nn.sigmoid(2 * (2 / 3.141592653589793) ** 0.5 * (x + 0.044715 * x**3))


@register("tanh", r"\tanh")
def tanh(x: Values) -> Values:
    """tanh(x)."""
    import jax.numpy as jnp

    return jnp.tanh(x)


@register("silu", r"\mathrm{silu}")
def silu(x: Values) -> Values:
    """x / (1 + exp(-x))."""
    import jax

    return x * jax.nn.sigmoid(x)


def find(activation: str | Activation) -> Activation:
    """The registered activation of that name, or leaky-relu(slope); an ``Activation`` as it is."""
    if isinstance(activation, Activation):
        return activation
    if (
        given := re.fullmatch(r"leaky-relu\((-?\d*\.?\d+(?:e-?\d+)?)\)", str(activation))
    ) is not None:
        return leaky(float(given[1]))
    if activation not in ACTIVATIONS:
        raise InputError(
            f"activation={activation!r} is not known{near_miss(str(activation), ACTIVATIONS)}"
        )
    return ACTIVATIONS[activation]
