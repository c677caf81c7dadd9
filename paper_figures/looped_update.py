"""What one Adam step changes in the output against loops, blocks and width: naive and prescribed
rates, with the predicted lines."""

from __future__ import annotations

from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._registry import Figure

LETTERS = {"loops": "loops $N$", "depth": "blocks $L$", "width": "width $n$"}
# so small that what is left of the second order in the rate is below what the points resolve
RATES = {"prescribed": 2.0**-5, "naive": 2.0**-14}
# N and L, widths, fewest networks
QUICK, FULL = ((2, 4, 8), (64, 256), 384), ((2, 4, 8, 16), (128, 512), 512)


def tables(run: Any) -> dict[str, sp.Table]:
    """``check``'s points of the output after one step, per unit of base rate; a narrow network's
    by its theory over the widest one's."""
    ladder, widths, _ = QUICK if run.quick else FULL
    ns = [widths[0] * 2**k for k in range(3)]
    rows, notes = [], {}
    for name in RATES:
        sample = {"samples": _networks(run, name), "seed": run.seed, "engine": "dense"}
        for n in widths:
            table = _checked(run, name, n, {"loops": ladder, "depth": ladder})
            rows += [
                {"panel": variable, "curve": name, "size": size, **point, "width": n, **sample}
                for (variable, size), point in outputs(table, name).items()
            ]
            notes[f"{name}, n = {n}"] = table.notes["rates"]
        table = _checked(run, name, ns[0], {"width": ns})
        rows += [
            {"panel": "width", "curve": name, "size": 0, **point, "width": n, **sample}
            for (_, n), point in outputs(table, name).items()
        ]
    about = {
        "architecture": "looped-mlp",
        "depth, loops where fixed": 2,
        "optimizer": "adamw",
        "loss": "linear",
        "base rates": notes,
    }
    return {"changes": run.table("looped-update", rows, about)}


def _checked(run: Any, name: str, width: int, ladders: dict[str, Any]) -> Any:
    """Check one parametrisation along ladders of sizes."""
    networks = _networks(run, name)
    return sp.check(
        sp.architectures.looped_mlp(
            depth=2, loops=2, **({"residual_scale": 1.0} if name == "naive" else {})
        ),
        "adamw",
        slowed(name),
        run.seed,
        tuple(ladders),
        ladders=ladders,
        width=width,
        steps=(1,),
        fine=True,  # theory's errors are below the networks'
        networks=networks,
        most=networks,
        progress=run.progress,
    )


def _networks(run: Any, name: str) -> int:
    """Count the networks, more of those whose changes vary more."""
    _, _, fewest = QUICK if run.quick else FULL
    return fewest * (2 if name == "naive" else 1)


def slowed(name: str) -> Any:
    """The named parametrisation with every rate smaller by the same factor: ``check`` starts
    from the largest rate that it finds linear."""
    from sigprop.coordinate_check.rates import NAMED

    def rule(arch: Any, width: int, optimizer: str) -> Any:
        rates = NAMED[name](arch, width, optimizer)
        groups = {group: g._replace(rate=g.rate * RATES[name]) for group, g in rates.groups.items()}
        return rates._replace(groups=groups)

    return rule


def outputs(table: Any, name: str) -> dict[tuple[str, int], dict[str, float]]:
    """(variable, size) -> theory at the networks' own width with half its 99 % interval, measured
    and standard error per unit of base rate."""
    points = {}
    for p in [p for p in table.notes["points"] if p["quantity"] == "output"]:
        rate = table.notes["rates"][p["variable"]] * RATES[name]
        theory, value = p["theory"] / rate, p["value"] / rate
        points[p["variable"], p["size"]] = {
            "theory": theory,
            "theory_error": theory * p["relative_error"],
            "scale": theory,
            "measured": value,
            "se": value * p["relative_se"],
        }
    return points


def draw(figure: Any, tables: Any) -> None:
    """A panel a variable; the theory is of the networks' own width, a line each."""
    panels = figure.subplots(1, 3, sharey=True)
    by_panel = split(tables["changes"], "panel")
    for axes, (variable, rows) in zip(panels, by_panel.items(), strict=True):
        for index, (name, line) in enumerate(split(rows, "curve").items()):
            if variable == "width":
                by_size = [{**row, "size": row["width"]} for row in line]
                curve(axes, by_size, "size", index, name, filled=True)
                continue
            by_width = split(line, "width")
            for width, at in by_width.items():
                widest = width == max(by_width)
                curve(axes, at, "size", index, name if widest else None, filled=widest)
        sizes(axes, [row["width" if variable == "width" else "size"] for row in rows])
        axes.set(yscale="log", xlabel=LETTERS[variable])
        letter(axes, f"against {LETTERS[variable].split()[0]}")
    panels[0].set_ylabel("rms change of the output\nper unit of base rate")
    panels[0].legend(loc="center right")
    legend_of_points(figure, by_panel["loops"], "theory at that width")


FIGURE = Figure(
    name="looped-update",
    paper="2606.18524",
    item="Fig. 4",
    shows="change of the output by one AdamW step against loops, blocks and width: naive and "
    "prescribed rates",
    caption="Predicted: the rms over networks of the output's change by the first AdamW step, to "
    "first order in the rate, from forward and backward Grams. "
    "Prescribed rates (sigprop prescribe) make it independent of N, L and n; one rate for all "
    "with residual scale 1 does not (a "
    "line for each width; all points of the right panel are filled). "
    "Measured: real optimiser steps of {samples} networks of width {widths}, {engines} engine, at "
    "rates far inside the linear regime.",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=160,
)
