"""What a network costs against its width with each engine, and that both give the same numbers."""

from __future__ import annotations

import time
from typing import Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, LINES, MARKERS, curve, letter, split
from sigprop.paper_figures._registry import Figure

ENGINES = {"dense": (128, 512, 2048), "matrix-free": (128, 512, 2048, 8192, 32768)}
JUDGED = (128, 2048)  # widths at which both engines are compared with theory
APPLICATIONS, REPEATS = (0, 4, 8, 12, 16), 3


def tables(run: Any) -> dict[str, sp.Table]:
    """Seconds of a network (least of three calls, compiled before), and q_a of both engines."""
    stack = sp.architectures.looped_mlp(loops=16, matrices=1)
    rows, times = [], []
    for engine, widths in ENGINES.items():
        rows += run.points(
            stack, "residual_variance", APPLICATIONS, widths=JUDGED, engine=engine, curve=engine
        )
        for width in widths:
            options: dict[str, Any] = {
                "width": width,
                "engine": engine,
                "quantities": ["residual_variance"],
                "applications": APPLICATIONS,
            }
            # what a call costs by itself does not count
            samples = max(8, 2**25 // width**2 if engine == "dense" else 2**18 // width)
            sp.measure(stack, **options, samples=samples)
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                sp.measure(stack, **options, samples=samples)
                seconds.append(time.perf_counter() - started)
            times.append({"curve": engine, "size": width, "seconds": min(seconds) / samples})
    about = {"architecture": "looped-mlp", "loops": 16, "matrices": 1}
    return {
        "variance": run.table("engines-scaling", rows, about),
        "times": run.table("engines-scaling", times, about),
    }


def draw(figure: Any, tables: Any) -> None:
    """Left the cost with slopes 1 and 2 beside it, right the same numbers from both."""
    from matplotlib.lines import Line2D

    left, right = figure.subplots(1, 2)
    for index, (engine, rows) in enumerate(split(tables["times"], "curve").items()):
        xs, ys = [row["size"] for row in rows], [1e3 * row["seconds"] for row in rows]
        left.plot(xs, ys, marker=MARKERS[index], color=COLOURS[index], linestyle="", label=engine)
        power = 2 if engine == "dense" else 1
        given = {
            "color": COLOURS[index],
            "linestyle": LINES[index],
            "label": r"$\propto n^2$" if power == 2 else r"$\propto n$",
        }
        left.plot(xs, [ys[-1] * (x / xs[-1]) ** power for x in xs], **given)
    left.set(xscale="log", yscale="log", xlabel="width $n$", ylabel="time of a network / ms")
    letter(left, "16 loops of one matrix, this machine")
    left.legend()
    for index, rows in enumerate(split(tables["variance"], "curve").values()):
        shift = 0.25 * (2 * index - 1)
        widest = [
            {**row, "application": row["application"] + shift}
            for row in rows
            if row["width"] == max(JUDGED)
        ]
        curve(right, widest, "application", index)
    right.set(
        xlabel="application $a$",
        xticks=APPLICATIONS,
        ylabel=r"residual variance $\langle h_a, h_a\rangle$",
    )
    letter(right, f"theory and both engines, n = {max(JUDGED)} (95 %)")
    handles = [Line2D([], [], color="0.2", label="wide limit")]
    handles += [
        Line2D([], [], linestyle="", marker=MARKERS[i], color=COLOURS[i], label=engine)
        for i, engine in enumerate(ENGINES)
    ]
    right.legend(handles=handles)


FIGURE = Figure(
    name="engines-scaling",
    paper="ours",
    item="engines",
    shows="cost of a network against its width with both engines, and their numbers side by side",
    caption="Left: milliseconds of a tied network of 16 loops, compiled, on the machine that drew "
    "the picture; lines of slope 2 (dense: n^2 random numbers) "
    "and 1 (matrix-free: 16 vectors) each through its engine's widest point; times are no part of "
    "the verdict. Right, predicted: the variance of its states; "
    "measured: {samples} networks of width {widths}, {engines} engine (points and lines moved "
    "sideways by 0.25).",
    tables=tables,
    draw=draw,
    size=(7.0, 2.9),
    seconds=45,
    volatile=("times",),
)
