"""Angle exponents of a transformer block over (alpha, sigma_w), and the participation of its
attention against temperature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sigprop as sp

if TYPE_CHECKING:
    from sigprop.description.architecture import Architecture
    from sigprop.paper_figures._run import Run

FILE = Path(__file__)
SIGMAS = (1.0, 2.0, 3.0, 4.0)
COSINE = 0.999  # the exponent is of tokens that are almost alike
FEW, MANY = (0.25, 0.5, 1.0, 1.5, 2.0), (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
TEMPERATURES = {4: MANY, 16: FEW, 32: FEW}  # tokens: beta/beta_c
# in a full run: theory's quadrature takes its time, and its error leaves little to see above
# beta_c/4
LONG = {64: (0.15, *FEW)}
FINE = [1 + 3 * i / 24 for i in range(25)]
WIDTHS = (256, 4096)


def block(alpha: float, sigma: float) -> Architecture:
    """Attention, then a tanh MLP; skips of sqrt(1 - alpha^2) keep the norms near one."""
    given: dict[str, Any] = {
        "residual_scale": alpha,
        "skip_scale": math.sqrt(1 - alpha**2),
        "c_w": sigma**2,
        "c_x": sigma**2,
        "mlp_ratio": 1,
    }
    return sp.architectures.transformer(
        tokens=2,
        token_cosine=COSINE,
        activation="tanh",
        norm_kind="rms",
        score_scale="zero_query",
        **given,
    )


def angles(
    run: Run, alphas: Sequence[float], measured: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """The exponent of each sub-block at those alphas and every sigma_w of FINE, of networks too
    at those of ``measured``."""
    rows = []
    for alpha, sigma in ((alpha, sigma) for alpha in alphas for sigma in FINE):
        labels = {"curve": f"alpha = {alpha:g}", "alpha": alpha, "sigma_w": sigma}
        rows += run.points(
            block(alpha, sigma),
            "angle_exponent",
            measured=lambda _, s=sigma: s in measured,
            widths=WIDTHS,
            **labels,
        )
    return rows


def shares(run: Run) -> list[dict[str, Any]]:
    """One token's participation; scores of variance beta^2 log T at orthogonal tokens, beta_c =
    sqrt 2."""
    rows = []
    for tokens, ratios in (TEMPERATURES if run.quick else TEMPERATURES | LONG).items():
        for ratio in ratios:
            given: dict[str, Any] = {
                "tokens": tokens,
                "token_cosine": 0.0,
                "c_q": 2 * ratio**2 * math.log(tokens),
                "c_k": 1.0,
                "head_dim": 64,
            }
            stack = sp.architectures.transformer(block="attention", norm_kind="rms", **given)

            def keep(row):
                return row["token"] == 0

            rows += run.points(
                stack,
                "participation",
                keep=keep,
                widths=WIDTHS,
                curve=f"T = {tokens}",
                temperature=ratio,
            )
    return rows


def by_block(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a block: the exponents of its sub-blocks added, their errors as if independent."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["alpha"], row["sigma_w"], row.get("width")), []).append(row)
    found = []
    for (alpha, sigma, width), own in groups.items():
        total = {name: sum(row[name] for row in own) for name in ("theory", "theory_error")}
        lost = any(row.get("measured") is None for row in own)
        networks = {
            "measured": None if lost else sum(row["measured"] for row in own),
            "se": None if lost else math.hypot(*(row["se"] for row in own)),
        }
        found.append({"alpha": alpha, "sigma_w": sigma, "width": width, **total, **networks})
    return found
