"""Order and chaos of a block over (alpha, sigma_w), and how attention's weights freeze on few tokens at low temperature."""

from __future__ import annotations

import math
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import LINES, curve, legend_of_points, letter, split
from sigprop.paper_figures._registry import Figure

ALPHAS, SIGMAS = (0.25, 0.5, 0.75), (1.0, 2.0, 3.0, 4.0)
COSINE = 0.999  # the exponent is of tokens that are almost alike
FEW, MANY = (0.125, 0.25, 0.5, 1.0, 2.0), (0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
TEMPERATURES = {4: MANY, 16: FEW, 32: FEW}  # tokens: beta/beta_c
LONG = {64: FEW, 128: FEW}  # in a full run: theory's quadrature is what takes its time
FINE = [1 + 3 * i / 24 for i in range(25)]
WIDTHS = (256, 4096)


def block(alpha: float, sigma: float) -> Any:
    """Attention, then a tanh MLP; skips of sqrt(1 - alpha^2) keep the norms near one."""
    given: dict[str, Any] = {"residual_scale": alpha, "skip_scale": math.sqrt(1 - alpha**2), "c_w": sigma**2, "c_x": sigma**2, "mlp_ratio": 1}
    return sp.architectures.transformer(tokens=2, token_cosine=COSINE, activation="tanh", norm_kind="rms", score_scale="zero_query", **given)


def tables(run: Any) -> dict[str, sp.Table]:
    """The exponent of each sub-block, on a grid and measured on part of it; one token's participation, scores of variance beta^2 log T, beta_c = sqrt 2."""
    angles, shares, plain = [], [], []
    for sigma in FINE:
        for alpha in [0.02 + 0.88 * i / 24 for i in range(25)]:
            plain += [row | {"alpha": alpha, "sigma_w": sigma} for row in run.points(block(alpha, sigma), "angle_exponent", measured=lambda _: False)]
        for alpha in ALPHAS:
            labels = {"curve": f"alpha = {alpha:g}", "alpha": alpha, "sigma_w": sigma}
            angles += run.points(block(alpha, sigma), "angle_exponent", measured=lambda _, s=sigma: s in SIGMAS, widths=WIDTHS, **labels)
    for tokens, ratios in (TEMPERATURES if run.quick else TEMPERATURES | LONG).items():
        for ratio in ratios:
            given: dict[str, Any] = {"tokens": tokens, "token_cosine": 0.0, "c_q": 2 * ratio**2 * math.log(tokens), "c_k": 1.0, "head_dim": 64}
            stack = sp.architectures.transformer(block="attention", norm_kind="rms", **given)
            keep = lambda row: row["token"] == 0  # noqa: E731
            shares += run.points(stack, "participation", keep=keep, widths=WIDTHS, curve=f"T = {tokens}", temperature=ratio)
    about = {"architecture": "transformer", "token_cosine": COSINE}
    return {
        "plane": run.table("transformer-phases", plain, about),
        "angle": run.table("transformer-phases", angles, about),
        "participation": run.table("transformer-phases", shares, about | {"token_cosine": 0.0, "head_dim": 64}),
    }


def draw(figure: Any, tables: Any) -> None:
    """The plane with its line of no growth, curves across it, and participation against temperature."""
    plane, middle, right = figure.subplots(1, 3, gridspec_kw={"width_ratios": [1.1, 1, 1]})
    whole = summed(tables["plane"], "theory")
    alphas, sigmas = (sorted({key[i] for key in whole}) for i in (0, 1))
    z = [[whole[a, s] for a in alphas] for s in sigmas]
    image = plane.pcolormesh(alphas, sigmas, z, shading="nearest", rasterized=True, vmin=-1.0, vmax=0.6)
    plane.grid(False)
    lines = plane.contour(alphas, sigmas, z, levels=[-0.5, -0.1, 0.0, 0.1], colors="white", linewidths=[0.6, 0.6, 1.6, 0.6])
    plane.clabel(lines, fontsize=6)
    figure.colorbar(image, ax=plane, extend="min", label=r"angle exponent $\lambda_a$")
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
    right.plot(xs, [max(0.0, 1 - 1 / max(x, 1.0)) for x in xs], color="0.5", linestyle=LINES[5], label=r"$T \to \infty$")
    right.set(xlabel=r"$\beta/\beta_c$", ylabel=r"participation $\sum_s \Omega_{ts}^2$", ylim=(0, 1))
    letter(right, "attention at initialisation")
    right.legend()
    legend_of_points(figure, tables["participation"])


def summed(rows: Any, column: str) -> dict[tuple[float, float], float]:
    """(alpha, sigma_w) -> the exponent of attention and MLP together."""
    found: dict[tuple[float, float], float] = {}
    for row in rows:
        key = row["alpha"], row["sigma_w"]
        found[key] = found.get(key, 0.0) + row[column]
    return found


def by_block(rows: Any) -> list[dict[str, Any]]:
    """Rows of a block: the exponents of its sub-blocks added, their errors as if independent."""
    found = []
    for (sigma, width), own in {
        (r["sigma_w"], r["width"]): [q for q in rows if (q["sigma_w"], q["width"]) == (r["sigma_w"], r["width"])] for r in rows
    }.items():
        measured = width is not None
        total = {k: sum(r[k] for r in own) if measured or k == "theory" else None for k in ("theory", "measured")}
        se = math.sqrt(sum(r["se"] ** 2 for r in own)) if measured else None
        found.append({"sigma_w": sigma, "width": width, "se": se, "theory_error": sum(r["theory_error"] for r in own), **total})
    return found


FIGURE = Figure(
    name="transformer-phases",
    paper="2403.02579, 2505.24333",
    item="Fig. 4; REM",
    shows="angle exponent over (alpha, sigma_w), and attention's participation ratio against beta/beta_c",
    caption="Left and middle, predicted: lambda_a, the growth of log(1 - cosine) of two tokens of cosine 0.999 over attention and a tanh MLP behind norms, "
    "with branches of strength alpha and skips sqrt(1 - alpha^2): log(1 - alpha^2) from attention, log of (1 - alpha^2 + alpha^2 sigma_w^4 E phi'^2)/"
    "(1 - alpha^2 + alpha^2 sigma_w^2 E phi^2) from the MLP. Right: E sum Omega^2 of scores of variance beta^2 log T at orthogonal tokens, heads of 64 "
    "coordinates (bands: the error of its quadrature), beside the limit 1 - beta_c/beta. Measured: {samples} networks of width {widths}, "
    "{engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.7),
    seconds=60,
)
