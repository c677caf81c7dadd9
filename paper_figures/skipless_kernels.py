"""Kernels of the tokens by depth in networks without skips or norms: vanilla, U-SPA, E-SPA,
Value-SkipInit."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, over_scale, split
from sigprop.paper_figures._registry import Figure
from sigprop.paper_figures._skipless import FILE, NAMES, RHO, SPAN, WIDTHS, networks, pair_map

TOKENS, DEPTH, STATES = 10, 32, (1, 8, 32)
TICKS = (1, 4, 7, 10)


def tables(run: Any) -> dict[str, sp.Table]:
    """Every pair of tokens, and the diagonal, after three depths."""
    rows = []
    for name, stack in networks(DEPTH, TOKENS).items():
        rows += run.points(
            stack, ("token_covariance", "residual_variance"), STATES, widths=WIDTHS, curve=name
        )
    about = {
        "architectures": list(NAMES),
        "depth": DEPTH,
        "tokens": TOKENS,
        "rho_final": RHO,
        "gamma_final": SPAN / TOKENS,
    }
    return {"kernels": run.table("skipless-kernels", rows, about)}


def draw(figure: Any, tables: Any) -> None:
    """A row a depth: maps, the wide limit's half above the diagonal; below, the last token
    against the others."""
    rows = over_scale(tables["kernels"])
    panels = figure.subplots(
        len(STATES) + 1, len(NAMES), gridspec_kw={"height_ratios": [*(1 for _ in STATES), 0.8]}
    )
    for j, (name, column) in enumerate(split(rows, "curve").items()):
        by_depth = split(sorted(column, key=lambda row: row["application"]), "application")
        for i, (state, here) in enumerate(by_depth.items()):
            image = _draw_map(panels[i][j], _halves(here))
            panels[i][j].set(
                ylabel=f"layer {state}\ntoken $s$" if j == 0 else None,
                xlabel="token $t$" if i == len(STATES) - 1 else None,
            )
            last = [
                {**row, "token": row["token"] + 1} for row in here if row["token_2"] == TOKENS - 1
            ]
            curve(panels[-1][j], last, "token", i, f"layer {state}")
        letter(panels[0][j], NAMES[name])
        panels[-1][j].set(xlabel="token $t$", xticks=TICKS, ylim=(-0.08, 1.08))
    panels[-1][0].set_ylabel("cosine with\nlast token")
    panels[-1][-1].legend(loc="center")
    figure.colorbar(
        image,
        ax=panels[:-1, :],
        shrink=0.7,
        aspect=40,
        label="cosine of tokens; above the diagonal: wide limit, below: networks",
    )
    legend_of_points(figure, rows)


def _halves(rows: Any) -> dict[tuple[int, int], float]:
    """Return the wide limit's pairs of tokens above the diagonal, and the widest networks' on it
    and below."""
    widest = max(row["width"] for row in rows)
    at = [row for row in rows if row["width"] == widest]
    limit = {
        (row["token"], row["token_2"]): row["theory"] for row in at if row["token_2"] is not None
    }
    return limit | {
        (row["token"] if row["token_2"] is None else row["token_2"], row["token"]): row["measured"]
        for row in at
    }


def _draw_map(axes: Any, values: dict[tuple[int, int], float]) -> Any:
    """Draw a map of pairs of tokens, parted at its diagonal."""
    image = pair_map(axes, values, TOKENS, TICKS, vmin=0.0, vmax=1.0)
    axes.plot((0.5, TOKENS + 0.5), (0.5, TOKENS + 0.5), color="white", linewidth=0.8)
    return image


FIGURE = Figure(
    name="skipless-kernels",
    paper="2302.10322",
    item="kernel matrices, Sec. 3",
    shows="normalised kernels of the tokens by depth without skips or norms: vanilla, U-SPA, "
    "E-SPA, Value-SkipInit",
    caption="Predicted: Sigma_l = A_l Sigma_(l-1) A_l^T from independent tokens, over the root of "
    "the predicted diagonals. Causal uniform attention collapses "
    "the tokens into one direction; designed attention ends at the kernel it was designed for "
    "(U-SPA: cosine 0.8 of all pairs; E-SPA: exp(-gamma |s - t|), "
    "gamma = 0.64/T); attention that begins as the identity keeps the input's. Measured: the same "
    "entries, on and below the diagonal, of {samples} networks of "
    "32 layers with orthogonal matrices, width {widths} (maps: the widest; vanilla as "
    "Value-SkipInit's other end, alpha = 0 and beta = 1), {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 6.4),
    seconds=20,
    sources=(FILE,),
)
