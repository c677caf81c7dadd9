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
    whole = {(row["alpha"], row["sigma_w"]): row["theory"] for row in by_block(tables["plane"])}
    alphas, sigmas = (sorted({key[i] for key in whole}) for i in (0, 1))
    z = [[whole[a, s] for a in alphas] for s in sigmas]
    image = plane.pcolormesh(
        alphas, sigmas, z, shading="nearest", rasterized=True, vmin=-1.0, vmax=0.6
    )
    plane.grid(False)
    lines = plane.contour(
        alphas,
        sigmas,
        z,
        levels=[-0.5, -0.1, 0.0, 0.1],
        colors="white",
        linewidths=[0.6, 0.6, 1.6, 0.6],
        linestyles="solid",
    )
    plane.clabel(
        lines,
        fontsize=6.5,
        fmt=lambda value: f"{value:g}".replace("-", "\N{MINUS SIGN}"),
        inline_spacing=2,
    )
    figure.colorbar(image, ax=plane, extend="min").ax.set_title(r"$\lambda_a$", fontsize=7)
    plane.set(xlabel=r"branch strength $\alpha$", ylabel=r"$\sigma_w$")
    letter(plane, "order below, chaos above 0")
    for index, (name, rows) in enumerate(split(tables["angle"], "curve").items()):
        curve(middle, by_block(rows), "sigma_w", index, name.replace("alpha", r"$\alpha$"))
    middle.axhline(0, color="0.5", linewidth=0.6)
    middle.set(xlabel=r"$\sigma_w$", ylabel=r"angle exponent $\lambda_a$")
    letter(middle, "one block")
    middle.legend()
    for index, (name, rows) in enumerate(split(tables["participation"], "curve").items()):
        curve(right, rows, "temperature", index, name.replace("T", "$T$"))
    xs = [i / 100 for i in range(201)]
    right.plot(
        xs,
        [max(0.0, 1 - 1 / max(x, 1.0)) for x in xs],
        color="0.5",
        linestyle=LINES[5],
        label=r"$T \to \infty$",
    )
    right.set(
        xlabel=r"$\beta/\beta_c$", ylabel=r"participation $\sum_s \Omega_{ts}^2$", ylim=(0, 1)
    )
    letter(right, "attention at initialisation")
    right.legend()
    legend_of_points(figure, tables["participation"])


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
