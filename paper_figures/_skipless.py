"""The skipless networks that figures compare, and maps of token pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sigprop as sp

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sigprop.architecture import Architecture

FILE = Path(__file__)
NAMES = {"vanilla": "vanilla", "u-spa": "U-SPA", "e-spa": "E-SPA", "value-skipinit": "Value-SkipInit"}
RHO = 0.8  # U-SPA's last cosine
SPAN = 0.64  # E-SPA's last decay times the tokens: 2302.10322's gamma = 0.005 at 128 tokens, so that first and last token end as alike as there
WIDTHS = (128, 1536)


def networks(depth: int, tokens: int) -> dict[str, Architecture]:
    """Attention alone, causal, orthogonal values, independent tokens."""
    size: dict[str, Any] = {"depth": depth, "tokens": tokens}
    a = sp.architectures
    designed = {"u-spa": a.u_spa(rho_final=RHO, **size), "e-spa": a.e_spa(gamma_final=SPAN / tokens, **size)}
    return {"vanilla": a.vanilla(**size), **designed, "value-skipinit": a.value_skipinit(token_cosine=0.0, **size)}


def pair_map(axes: Axes, values: dict[tuple[int, int], float], tokens: int, ticks: Sequence[int], **options: Any) -> Any:
    """values {(row, column): number}, tokens counted from 0, as a map whose first row is on top; tokens are shown from 1."""
    image = axes.imshow([[values.get((i, j), math.nan) for j in range(tokens)] for i in range(tokens)], extent=(0.5, tokens + 0.5, tokens + 0.5, 0.5), **options)
    axes.grid(False)
    axes.set(xticks=ticks, yticks=ticks)
    return image
