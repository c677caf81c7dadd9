"""The registered activations. A new one is one function here (or anywhere: ``sp.activation.register``)."""

from __future__ import annotations

from typing import Any

from sigprop.activation import register


@register("linear", r"\mathrm{id}")
def linear(x: Any) -> Any:
    """x."""
    return x


@register("relu", r"\mathrm{relu}")
def relu(x: Any) -> Any:
    """max(x, 0)."""
    import jax.numpy as jnp

    return jnp.where(x > 0, x, jnp.zeros_like(x))


@register("leaky-relu", r"\mathrm{lrelu}")
def leaky_relu(x: Any) -> Any:
    """x for x > 0, x / 100 below."""
    import jax.numpy as jnp

    return jnp.where(x > 0, x, x / 100)


@register("erf", r"\mathrm{erf}")
def erf(x: Any) -> Any:
    """erf(x)."""
    import jax

    return jax.scipy.special.erf(x)


@register("gelu", r"\mathrm{gelu}")
def gelu(x: Any) -> Any:
    """x Phi(x), Phi the normal distribution function (exact form)."""
    import jax

    return x * jax.scipy.special.erfc(-x * 0.5**0.5) / 2


@register("gelu-tanh", r"\mathrm{gelu}_{\tanh}")
def gelu_tanh(x: Any) -> Any:
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2, the approximation that GPT-2 uses."""
    import jax

    return x * jax.nn.sigmoid(2 * (2 / 3.141592653589793) ** 0.5 * (x + 0.044715 * x**3))


@register("tanh", r"\tanh")
def tanh(x: Any) -> Any:
    """tanh(x)."""
    import jax.numpy as jnp

    return jnp.tanh(x)


@register("silu", r"\mathrm{silu}")
def silu(x: Any) -> Any:
    """x / (1 + exp(-x))."""
    import jax

    return x * jax.nn.sigmoid(x)
