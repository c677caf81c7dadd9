"""Order and chaos of a block over (alpha, sigma_w), and how attention's weights freeze on few
tokens at low temperature."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import LINES, curve, legend_of_points, letter, split
from sigprop.paper_figures._phases import COSINE, FILE, SIGMAS, angles, by_block, shares
from sigprop.paper_figures._registry import Figure

ALPHAS, PLANE = (0.25, 0.5, 0.75), [0.02 + 0.88 * i / 24 for i in range(25)]


def tables(run: Any) -> dict[str, sp.Table]:
    """The exponent on a grid, along three curves with networks on them, and participation."""
    about = {"architecture": "transformer", "token_cosine": COSINE}
    return {
        "plane": run.table("transformer-phases", angles(run, PLANE), about),
        "angle": run.table("transformer-phases", angles(run, ALPHAS, SIGMAS), about),
        "participation": run.table(
            "transformer-phases", shares(run), about | {"token_cosine": 0.0, "head_dim": 64}
        ),
    }


def draw(figure: Any, tables: Any) -> None:
    """The plane with its line of no growth, curves across it, and participation against
    temperature."""
    plane, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.1, 1, 1]})
    _draw_plane(figure, plane, by_block(tables["plane"]))
    for index, (name, rows) in enumerate(split(tables["angle"], "curve").items()):
        curve(middle, by_block(rows), "sigma_w", index, name.replace("alpha", r"$\alpha$"))
    middle.axhline(0, color="0.5", linewidth=0.6)
    middle.set(xlabel=r"$\sigma_w$", ylabel=r"angle exponent $\lambda_a$")
    letter(middle, "one block")
    middle.legend()
    _draw_participation(right, tables["participation"])
    legend_of_points(figure, tables["participation"])


def _draw_plane(figure: Any, axes: Any, rows: Any) -> None:
    """Draw the exponent of a block as a map, with lines of equal growth."""
    exponents = {(row["alpha"], row["sigma_w"]): row["theory"] for row in rows}
    alphas, sigmas = (sorted({key[i] for key in exponents}) for i in (0, 1))
    z = [[exponents[a, s] for a in alphas] for s in sigmas]
    shown = {"shading": "nearest", "rasterized": True, "vmin": -1.0, "vmax": 0.6}
    image = axes.pcolormesh(alphas, sigmas, z, **shown)
    axes.grid(False)
    lines = axes.contour(
        alphas,
        sigmas,
        z,
        levels=[-0.5, -0.1, 0.0, 0.1],
        colors="white",
        linewidths=[0.6, 0.6, 1.6, 0.6],
        linestyles="solid",
    )
    axes.clabel(
        lines,
        fontsize=6.5,
        fmt=lambda value: f"{value:g}".replace("-", "\N{MINUS SIGN}"),
        inline_spacing=2,
    )
    figure.colorbar(image, ax=axes, extend="min").ax.set_title(r"$\lambda_a$", fontsize=7)
    axes.set(xlabel=r"branch strength $\alpha$", ylabel=r"$\sigma_w$")
    letter(axes, "order below, chaos above 0")


def _draw_participation(axes: Any, rows: Any) -> None:
    """Draw participation against temperature, beside its limit of many tokens."""
    for index, (name, line) in enumerate(split(rows, "curve").items()):
        curve(axes, line, "temperature", index, name.replace("T", "$T$"))
    xs = [i / 100 for i in range(201)]
    limit = [max(0.0, 1 - 1 / max(x, 1.0)) for x in xs]
    axes.plot(xs, limit, color="0.5", linestyle=LINES[5], label=r"$T \to \infty$")
    axes.set(xlabel=r"$\beta/\beta_c$", ylabel=r"participation $\sum_s \Omega_{ts}^2$", ylim=(0, 1))
    letter(axes, "attention at initialisation")
    axes.legend()


FIGURE = Figure(
    name="transformer-phases",
    paper="2403.02579, 2505.24333",
    item="Fig. 4; REM",
    shows="angle exponent over (alpha, sigma_w), and attention's participation ratio against "
    "beta/beta_c",
    caption="Left and middle, predicted: lambda_a, the growth of log(1 - cosine) of two tokens of "
    "cosine 0.999 over attention and a tanh MLP behind norms, "
    "with branches of strength alpha and skips sqrt(1 - alpha^2): log(1 - alpha^2) from "
    "attention, log of (1 - alpha^2 + alpha^2 sigma_w^4 E phi'^2)/"
    "(1 - alpha^2 + alpha^2 sigma_w^2 E phi^2) from the MLP. Right: E sum Omega^2 of scores of "
    "variance beta^2 log T at orthogonal tokens, heads of 64 "
    "coordinates (bands: the error of its quadrature), beside the limit 1 - beta_c/beta. "
    "Measured: {samples} networks of width {widths}, "
    "{engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.7),
    seconds=60,
    sources=(FILE,),
    unjudged=("plane",),
)
