"""The table's single layers on two correlated tokens: our values, and plain samples of the layer
itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import component_paper as paper
import jax
import jax.numpy as jnp
import numpy as np

import sigprop as sp
from sigprop import Linear, Normalise, Number, Read, State, SubBlock, Write
from sigprop.language.expression import Dropout

COSINES, VARIANCES, DROPOUT = (0.0, 0.3, 0.7, 0.95), (0.5, 1.0, 2.0), (0.0, 0.1)
WIDE = 4096  # coordinates of a sampled LayerNorm
ROWS = ["residual_variance", "token_covariance", "gradient_variance"]


def exchangeable(tokens: int, variance: float, cosine: float) -> np.ndarray:
    """T x T, one diagonal and one off-diagonal entry."""
    return variance * ((1 - cosine) * np.eye(tokens) + cosine)


def predicted(arch: sp.Architecture) -> dict[str, float]:
    """variance and covariance after the layer, gradient_variance before it."""
    value = {(row["quantity"], row["application"]): row["value"] for row in sp.predict(arch, ROWS)}
    return {
        "variance": value["residual_variance", 1],
        "covariance": value["token_covariance", 1],
        "gradient_variance": value["gradient_variance", 0],
    }


def ours(name: str, variance: float, cosine: float, drop: float) -> dict[str, float]:
    """From the theory; a function's values about their mean, E phi^2 - (E phi)^2, whose square
    is the kernel at cosine 0."""
    if name in ("layer_norm", "dropout"):
        inner = (
            Normalise(Read(), "layer")
            if name == "layer_norm"
            else Dropout("m", Read(), Number("p"))
        )
        block = SubBlock(State(0), Linear("w", inner, Number("c_w")), (Write(),))
        return predicted(
            sp.Architecture(
                name,
                (block,),
                [0],
                {"c_w": 1.0, "p": drop} if name == "dropout" else {"c_w": 1.0},
                input_gram=exchangeable(2, variance, cosine),
            )
        )

    def make(c):
        return sp.architectures.mlp(
            depth=1, activation=name, c_w=1, c_b=None, input_gram=exchangeable(2, variance, c)
        )

    found, apart = predicted(make(cosine)), predicted(make(0.0))["covariance"]
    return found | {
        "variance": found["variance"] - apart,
        "covariance": found["covariance"] - apart,
    }


def sampled(
    name: str, x: Any, y: Any, drop: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Per coordinate (per vector for a norm): products about the mean, and the squared
    derivative."""
    if name == "layer_norm":
        x, y = x.reshape(-1, WIDE), y.reshape(-1, WIDE)

        def unit(u):
            return (u - u.mean(1, keepdims=True)) / u.std(1, keepdims=True)

        return {
            "variance": (unit(x) ** 2).mean(1),
            "covariance": (unit(x) * unit(y)).mean(1),
            "gradient_variance": 1 / x.var(1),
        }
    if name == "dropout":
        m, other = ((rng.random(x.shape) >= drop) / (1 - drop) for _ in range(2))
        return {
            "variance": (m * x) ** 2,
            "covariance": m * x * other * y,
            "gradient_variance": m**2,
        }
    functions: dict[str, Callable[[Any], Any]] = {
        "linear": lambda u: u,
        "relu": jax.nn.relu,
        "gelu": lambda u: jax.nn.gelu(u, approximate=False),
    }
    phi = functions[name]
    f, g, slope = (
        np.asarray(v, dtype=np.float64)
        for v in (phi(jnp.asarray(x)), phi(jnp.asarray(y)), jax.vmap(jax.grad(phi))(jnp.asarray(x)))
    )
    mean = (f.mean() + g.mean()) / 2
    return {
        "variance": (f - mean) ** 2,
        "covariance": (f - mean) * (g - mean),
        "gradient_variance": slope**2,
    }


def rows(line: Callable[..., dict[str, Any]], samples: int = 2**21) -> list[dict[str, Any]]:
    """All layers at all points."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, samples)).astype(np.float32)
    found = []
    for cosine, variance in itertools.product(COSINES, VARIANCES):
        x, y = (
            np.float32(math.sqrt(variance))
            * (np.float32(math.sqrt(1 - cosine)) * z[i] + np.float32(math.sqrt(cosine)) * z[2])
            for i in range(2)
        )
        for name, drop in [
            ("linear", 0.0),
            ("relu", 0.0),
            ("gelu", 0.0),
            ("layer_norm", 0.0),
            ("dropout", 0.1),
        ]:
            formula = getattr(paper, name)(
                variance, cosine, *((drop,) if name == "dropout" else ())
            )
            theory, products = ours(name, variance, cosine, drop), sampled(name, x, y, drop, rng)
            base = {"tokens": 2, "cosine": cosine, "variance_in": variance, "dropout": drop}
            for quantity, product in products.items():
                scale = products["variance"].mean() if quantity == "covariance" else product.mean()
                se = product.std() / math.sqrt(product.size)
                found.append(
                    line(
                        name,
                        quantity,
                        base,
                        theory[quantity],
                        product.mean(),
                        se,
                        formula[quantity],
                        scale,
                    )
                )
    return found
