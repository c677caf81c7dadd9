"""The skipless networks that figures compare, and maps of token pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import sigprop as sp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sigprop.description.architecture import Architecture

FILE = Path(__file__)
NAMES = {
    "vanilla": "vanilla",
    "u-spa": "U-SPA",
    "e-spa": "E-SPA",
    "value-skipinit": "Value-SkipInit",
}
RHO = 0.8  # U-SPA's last cosine
MIXED = {"vanilla": 1.0, "value-skipinit": 0.0}  # beta
# E-SPA's last decay times the tokens: 2302.10322's gamma = 0.005 at 128 tokens, so that first and
# last token end as alike as there
SPAN = 0.64
WIDTHS = (128, 1280)


def networks(depth: int, tokens: int) -> dict[str, Architecture]:
    """Attention alone, causal, orthogonal matrices, queries of zero as in the paper, independent
    tokens.

    vanilla as value-skipinit has it, alpha = 0 and beta = 1: one program serves both
    (tests/paper_figures/test_figures_skipless.py).
    """
    size: dict[str, Any] = {"depth": depth, "tokens": tokens}
    a = sp.architectures
    designed = {
        "u-spa": a.u_spa(rho_final=RHO, **size),
        "e-spa": a.e_spa(gamma_final=SPAN / tokens, **size),
    }
    mixed = {
        name: a.value_skipinit(
            shape_alpha=1.0 - b, shape_beta=b, score_scale="zero_query", token_cosine=0.0, **size
        )
        for name, b in MIXED.items()
    }
    return {"vanilla": mixed["vanilla"], **designed, "value-skipinit": mixed["value-skipinit"]}


def cosines(name: str, depth: int, tokens: int) -> np.ndarray:
    """Of neighbouring tokens at l = 0..L: equal steps (u-spa), or sqrt(1 - cosine^2) falling by
    one factor a layer (e-spa)."""
    done = np.arange(depth + 1) / depth
    return RHO * done if name == "u-spa" else np.sqrt(1 - (1 - np.exp(-2 * SPAN / tokens)) ** done)


def design(name: str, before: float, after: float, tokens: int) -> np.ndarray:
    """F_l F_(l-1)^-1 from Cholesky factors of the two kernels, by no formula of the package's."""
    apart = np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
    power = np.minimum(apart, 1) if name == "u-spa" else apart
    old, new = (np.linalg.cholesky(cosine**power) for cosine in (before, after))
    return new @ np.linalg.inv(old)


def pair_map(
    axes: Axes,
    values: dict[tuple[int, int], float],
    tokens: int,
    ticks: Sequence[int],
    **options: Any,
) -> Any:
    """values {(row, column): number}, tokens counted from 0, as a map whose first row is on top;
    tokens are shown from 1."""
    image = axes.imshow(
        [[values.get((i, j), math.nan) for j in range(tokens)] for i in range(tokens)],
        extent=(0.5, tokens + 0.5, tokens + 0.5, 0.5),
        **options,
    )
    axes.grid(False)
    axes.set(xticks=ticks, yticks=ticks)
    return image
