"""Token Gram of a pre-norm transformer by sub-block: three widths, and what they extrapolate to."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, INTERVAL, LINES, MARKERS, letter, split
from sigprop.paper_figures._judge import extrapolated
from sigprop.paper_figures._registry import Figure

DEPTH, TOKENS, WIDTHS = 6, 8, (128, 512, 2048)
PANELS = {"diagonal": r"$G_{tt}$", "off-diagonal": r"$G_{ts}$"}
ENTRIES = ((COLOURS[4], "v"), ("0.55", "P"))  # apart from the widths' colours and markers


def tables(run: Any) -> dict[str, sp.Table]:
    """One token's variance and two tokens' covariance: tokens are exchangeable."""
    stack = sp.architectures.transformer(depth=DEPTH, tokens=TOKENS, head_dim=64)

    def keep(row):
        return row["token"] == 0 and row.get("token_2") in (None, 1)

    rows = run.points(
        stack,
        ("residual_variance", "token_covariance"),
        range(2 * DEPTH + 1),
        keep=keep,
        widths=WIDTHS,
    )
    rows = [
        {"panel": "diagonal" if row["quantity"] == "residual_variance" else "off-diagonal"} | row
        for row in rows
    ]
    return {
        "kernels": run.table(
            "transformer-kernels",
            rows,
            {"architecture": "transformer", "depth": DEPTH, "tokens": TOKENS, "head_dim": 64},
        )
    }


def draw(figure: Any, tables: Any) -> None:
    """Left the Gram at the widest networks, then how far each width is from it."""
    left, *others = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.05, 1, 1]})
    by_panel = split(tables["kernels"], "panel")
    for i, (axes, (panel, rows)) in enumerate(zip(others, by_panel.items(), strict=True)):
        by_width = split(sorted(rows, key=lambda row: row["application"]), "width")
        _draw_entry(left, i, PANELS[panel], by_width[max(WIDTHS)])
        _draw_deviations(axes, by_width)
        letter(axes, f"{PANELS[panel]}: networks")
    left.set(
        xlabel="sub-block",
        ylabel=r"token Gram $\langle h_t, h_s\rangle$",
        xticks=range(0, 2 * DEPTH + 1, 3),
    )
    letter(left, f"wide limit and n = {max(WIDTHS)}")
    left.legend()
    figure.legend(*others[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _draw_entry(axes: Any, i: int, label: str, rows: Any) -> None:
    """Draw one entry of the Gram by sub-block, networks of one width beside the line."""
    (colour, marker), xs = ENTRIES[i], [row["application"] for row in rows]
    axes.plot(xs, [row["theory"] for row in rows], color=colour, linestyle=LINES[i], label=label)
    axes.errorbar(
        xs,
        [row["measured"] for row in rows],
        [INTERVAL * row["se"] for row in rows],
        marker=marker,
        markersize=3.6,
        linestyle="",
        color=colour,
        linewidth=0.7,
    )


def _draw_deviations(axes: Any, by_width: dict[int, Any]) -> None:
    """Draw how far networks of each width, and what they extrapolate to, are from the wide
    limit."""
    first, last = (by_width[n] for n in (min(WIDTHS), max(WIDTHS)))
    series = {f"n = {n}": [of(row) for row in rows] for n, rows in by_width.items()}
    series["extrapolated"] = [
        extrapolated(a["width"], of(a), b["width"], of(b)) for a, b in zip(first, last, strict=True)
    ]
    axes.axhline(0, color="0.2", linewidth=0.8)
    for j, (name, values) in enumerate(series.items()):
        pairs = [(v, se, row["theory"]) for (v, se), row in zip(values, last, strict=True)]
        axes.errorbar(
            [row["application"] + 0.18 * (j - 1.5) for row in last],
            [100 * (v - theory) / theory for v, _, theory in pairs],
            [100 * (INTERVAL * se) / theory for _, se, theory in pairs],
            marker=MARKERS[j],
            markersize=3.2,
            linestyle="",
            color=COLOURS[j],
            linewidth=0.7,
            markerfacecolor=COLOURS[j] if j == 3 else "white",
            label=name,
        )
    axes.set(
        xlabel="sub-block", ylabel="from the wide limit / %", xticks=range(0, 2 * DEPTH + 1, 3)
    )


def of(row: Any) -> tuple[float, float]:
    """(value, standard error) of a row."""
    return row["measured"], row["se"]


FIGURE = Figure(
    name="transformer-kernels",
    paper="2304.02034",
    item="eqs. 1.65, 1.77",
    shows="token Gram of a pre-norm transformer by sub-block, at three widths and extrapolated",
    caption="Predicted: G <- G + C_U C_V E[Omega F Omega^T] after attention and G <- G + C_X <phi "
    "phi>_F after the MLP, F the Gram of the normalised tokens; "
    "8 tokens of cosine 0.3, heads of 64 coordinates, GELU. G grows linearly, and the tokens' "
    "cosine rises from 0.30 to 0.74. Measured: {samples} networks of "
    "width {widths}, {engines} engine; extrapolated: the line in 1/n through the narrowest and "
    "the widest, all with 95 % intervals.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.7),
    seconds=14,
)
