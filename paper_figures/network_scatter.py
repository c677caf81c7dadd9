"""Single networks of three widths about the wide limit, and the predicted scatter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

import sigprop as sp
from sigprop.description.rows import select
from sigprop.paper_figures._draw import (
    COLOURS,
    INTERVAL,
    LINES,
    MARKERS,
    letter,
    plain_log,
    sizes,
    split,
)
from sigprop.paper_figures._first_order import both, limits, scaled
from sigprop.paper_figures._judge import Judged, Rows
from sigprop.paper_figures._registry import FOLDER, Figure
from sigprop.simulations.engines.monte_carlo import engine_for, sample

WIDTHS, UNITS, MORE, BINS = (64, 256, 1024), 1024, 32, 36
MEMORY = 1024  # MiB of a batch
TOLD = 0.2  # of n Var: what the networks must tell it from; a tenth of the sd


def network() -> sp.Architecture:
    """Four loops of one block behind RMSNorm."""
    return sp.architectures.looped_mlp(loops=4, activation="gelu", residual_scale=0.5)


def tables(run: Any) -> dict[str, sp.Table]:
    """The last state's variance of every network: moments, and counts in bins."""
    arch = network()
    run = run.more(MORE)
    (row,) = sp.fluctuations(arch, ["residual_variance"], [arch.depth], units=UNITS)
    about = {"architecture": arch.name, **arch.parameters}
    keys = {name: row[name] for name in ("quantity", "application", "token")}
    predicted = {
        "theory": row["value"],
        "theory_error": row["error"],
        "scale": row["scale"],
        **{name: row[name] for name in ("n_variance", "n_variance_error", "n_shift")},
        "told": TOLD * row["n_variance"],
    }
    moments, counts = [], []
    rows = select(arch, ("residual_variance",), (arch.depth,))
    for width in WIDTHS:
        engine = engine_for("matrix-free", arch, rows, width, MEMORY)
        run.progress.start(run.networks, f"width {width}")
        values = sample(engine, run.networks, run.seed, 0, run.progress.advance)[:, 0]
        of_run = {"width": width, "samples": run.networks, "seed": run.seed, "engine": engine.name}
        moments.append(keys | predicted | measured(values) | of_run)
        heights, edges = np.histogram(values, BINS)
        counts += [
            {"width": width, "low": low, "high": high, "count": int(count)}
            for low, high, count in zip(edges[:-1], edges[1:], heights, strict=True)
        ]
    name = "network-scatter"
    return {"moments": run.table(name, moments, about), "counts": run.table(name, counts, about)}


def measured(values: np.ndarray) -> dict[str, float]:
    """Return the mean and the variance between networks with their standard errors (of a variance:
    from the fourth moment)."""
    count, variance = len(values), float(values.var(ddof=1))
    fourth = float(np.mean((values - values.mean()) ** 4))
    return {
        "measured": float(values.mean()),
        "se": math.sqrt(variance / count),
        "variance": variance,
        "variance_se": math.sqrt(max(fourth - variance**2, 0) / count),
    }


def judge(tables: Mapping[str, Rows]) -> Judged:
    """The wide limit, and n times the variance between networks."""
    rows = tables.get("moments", [])
    times = [scaled(row, row["variance"], row["variance_se"], "n_variance") for row in rows]
    return both({"moments": limits(rows)}, times)


def draw(figure: Any, tables: Any) -> None:
    """Left the networks of each width, right their standard deviation against the width."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    rows = tables["moments"]
    for index, (row, bins) in enumerate(
        zip(rows, split(tables["counts"], "width").values(), strict=True)
    ):
        colour, sd = COLOURS[index], math.sqrt(row["n_variance"] / row["width"])
        middle = row["theory"] + row["n_shift"] / row["width"]
        edges = [one["low"] for one in bins] + [bins[-1]["high"]]
        density = [one["count"] / row["samples"] / (one["high"] - one["low"]) for one in bins]
        left.stairs(density, edges, fill=True, color=colour, alpha=0.25)
        x = np.linspace(middle - 4 * sd, middle + 4 * sd, 201)
        y = np.exp(-(((x - middle) / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))
        left.plot(x, y, color=colour, linestyle=LINES[index], label=f"$n$ = {row['width']}")
        right.errorbar(
            [row["width"]],
            [math.sqrt(row["variance"])],
            [INTERVAL * row["variance_se"] / (2 * math.sqrt(row["variance"]))],
            fmt=MARKERS[index],
            color=colour,
            zorder=3,
        )
    left.axvline(rows[0]["theory"], color="0.2", linewidth=0.8, linestyle=":", label="wide limit")
    left.set(xlabel=r"$\langle h_4, h_4\rangle$ of one network", ylabel="density", xlim=span(rows))
    left.legend(title="predicted")
    letter(left, "networks (shaded), Gaussian of the predicted sd")
    line = [math.sqrt(rows[0]["n_variance"] / n) for n in WIDTHS]
    right.plot(WIDTHS, line, color="0.2", zorder=2, label=r"predicted, $\propto n^{-1/2}$")
    sizes(right, WIDTHS)
    plain_log(right)
    right.set(xlabel="width $n$", ylabel="sd between networks")
    right.legend()
    letter(right, "measured (95 %) and predicted sd")


def span(rows: Rows) -> tuple[float, float]:
    """Return where the narrowest networks lie, but for their last thousandths."""
    row = rows[0]
    sd = math.sqrt(row["n_variance"] / row["width"])
    return row["theory"] - 3.2 * sd, row["theory"] + 4 * sd


FIGURE = Figure(
    name="network-scatter",
    paper="ours",
    item="finite width",
    shows="one number of single networks at three widths, with the predicted scatter",
    caption="Four loops of one block, h + W2 gelu(W1 h/rms(h))/2. Predicted: the standard "
    "deviation sqrt(nVar/n) of the last state's variance between networks, and its mean q + "
    "n_shift/n, to first order in 1/n, from one unit traced beside the recursion; drawn as "
    "Gaussians, which the networks become: at the smallest width they are visibly skewed. "
    "Measured: {samples} networks of width {widths}, {engines} engine. Judged: the limit, and what "
    "n times the variance extrapolates to.",
    tables=tables,
    draw=draw,
    judge=judge,
    size=(7.0, 2.9),
    seconds=15,
    sources=(FOLDER / "_first_order.py",),
)
