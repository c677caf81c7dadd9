"""What a first AdamW step of each parameter group changes of the output, at rates prescribed from
a small base, against depth and against width."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import sigprop as sp
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear
from sigprop.paper_figures._draw import INTERVAL, letter, plain_log, sizes, split
from sigprop.paper_figures._judge import Judged, Rows, points
from sigprop.paper_figures._registry import Figure
from sigprop.simulations.training.response import FirstStep

OPTIMIZER, POINTS = "adam", 2048  # AdamW's first step but for its decay
DEPTHS = (2, 4, 8)  # the base's first
ALL, TOLD = "all", 0.3  # the shift that every curve must be able to show: of queries and keys
COLOURS = {
    ALL: "#000000",
    "stem": "#999999",
    "readout": "#e69f00",
    "w": "#0072b2",
    "x": "#d55e00",
    "u": "#56b4e9",
    "v": "#009e73",
    "q": "#cc79a7",
    "k": "#7a3e9d",
}
MARKERS = dict(zip(COLOURS, "osD^vPX<>", strict=True))


class System(NamedTuple):
    """An architecture by depth; widths: the base's first; by: how rates follow depth."""

    build: Callable[..., sp.Architecture]
    parameters: dict[str, Any]
    widths: tuple[int, int, int]
    by: str

    @property
    def name(self) -> str:
        """As registered."""
        return self.build.__name__.replace("_", "-")

    def at(self, depth: int) -> sp.Architecture:
        """The network of that depth."""
        return self.build(depth=depth, **self.parameters)


def systems() -> list[System]:
    """Two that have a law in depth, two that have none; two tokens each."""
    a, ratio, widths = sp.architectures, {"tokens": 2, "mlp_ratio": 1}, (64, 128, 256)
    loops = {"loops": 2, "activation": "gelu", "tokens": 2, "token_cosine": 0.3}
    scaled = {"mask": "causal", "residual_scale": "1/sqrt(L)", **ratio}
    return [
        System(a.looped_mlp, loops, widths, "law"),
        System(a.transformer, scaled, (32, 64, 128), "law"),
        System(a.nag, ratio, widths, "recursion"),
        System(a.deepnorm, {"block": "mlp", **ratio}, widths, "recursion"),
    ]


def rates(system: System, depth: int, width: int) -> dict[str, float]:
    """Return what ``prescribe`` makes of the base's rates, in theory's unit, in which the base's
    are 1."""
    arch, base = system.at(depth), system.widths[0]
    plan = sp.prescribe(
        system.name,
        base={"width": base, "depth": DEPTHS[0]},
        target={"width": width, "depth": depth},
        learning_rate={group: 1 / unit(arch, group, base) for group in arch.groups},
        **system.parameters,
    )
    found = {g: plan.value(g, "learning_rate") * unit(arch, g, width) for g in arch.groups}
    # the same at every width but for rounding, which would be another step to predict
    return {group: float(f"{rate:.9g}") for group, rate in found.items()}


def unit(arch: sp.Architecture, group: str, width: int) -> float:
    """Return theory's rate of a group whose learning rate is 1."""
    return width if isinstance(arch.weights.get(group), Linear) or group == READOUT else 1.0


def tables(run: Any) -> dict[str, sp.Table]:
    """Depths at the least and the largest width, widths at the least depth."""
    by_depth, by_width, unscaled = [], [], []
    for system in systems():
        first, last = system.widths[0], system.widths[-1]
        for depth in DEPTHS:
            for width in system.widths if depth == DEPTHS[0] else (first, last):
                given = rates(system, depth, width)
                theory = predicted(system, depth, given)
                rows = rows_of(run, system, (depth, width), given, theory)
                by_depth += rows if width in (first, last) else []
                by_width += rows if depth == DEPTHS[0] else []
                unscaled.append(at_base_rates(system, (depth, width), given, theory))
    about = {"optimizer": OPTIMIZER, "base depth": DEPTHS[0], "points": POINTS}
    about |= {s.name: {"by": s.by, "widths": s.widths, **s.parameters} for s in systems()}
    every = {"depth": by_depth, "width": by_width, "unscaled": unscaled}
    return {key: run.table("prescribed-steps", rows, about) for key, rows in every.items()}


def rows_of(
    run: Any,
    system: System,
    size: tuple[int, int],
    given: dict[str, float],
    theory: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> list[dict[str, Any]]:
    """Return theory and networks of one depth and width, a row for each group's step and that of
    all."""
    depth, width = size
    count = run.networks * (system.widths[-1] // width)  # least error in the time
    run.progress.start(count, f"{system.name}, depth {depth}, width {width}")
    step = FirstStep(system.at(depth), width, OPTIMIZER)
    output = step.networks(range(count), run.seed, rates=given).output  # [networks, S, T]
    run.progress.advance(count)
    of_run = {"width": width, "samples": count, "seed": run.seed, "engine": "dense"}
    return [
        {"panel": system.name, "curve": setting, "depth": depth}
        | rms(*theory[setting])
        | measured(output[:, s])
        | of_run
        for s, setting in enumerate(step.settings)
    ]


def at_base_rates(
    system: System,
    size: tuple[int, int],
    given: dict[str, float],
    theory: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    """Return theory's change by all groups, every group's learning rate the base's: what each
    changes is its rate times what it changes at any other over that."""
    (depth, width), arch = size, system.at(size[0])
    naive = {g: unit(arch, g, width) / unit(arch, g, system.widths[0]) for g in arch.groups}
    total = sum(theory[group][0] * naive[group] / given[group] for group in arch.groups)
    change = float(np.sqrt(np.mean(np.square(total))))
    return {"panel": system.name, "depth": depth, "width": width, "change": change}


def predicted(
    system: System, depth: int, given: dict[str, float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return theory's change of every token's output by setting, and its error."""
    return _predicted(system.name, depth, tuple(given.items()), POINTS)


@functools.cache
def _predicted(
    name: str, depth: int, given: tuple[tuple[str, float], ...], points: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Do so once for all widths."""
    arch = next(system for system in systems() if system.name == name).at(depth)
    table = sp.first_step(arch, OPTIMIZER, dict(given), points=points)
    own = {s: table.filter(quantity="output_change", group=s) for s in (*arch.groups, ALL)}
    return {
        s: (np.array([r["value"] for r in rows]), np.array([r["error"] for r in rows]))
        for s, rows in own.items()
    }


def rms(value: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Return theory's rms over tokens, and a bound of its error."""
    size = float(np.sqrt((value**2).mean()))
    bound = float((np.abs(value) * error).mean()) / size
    return {"theory": size, "theory_error": bound, "scale": size}


def measured(changes: np.ndarray) -> dict[str, float]:
    """Return the rms over networks and tokens [networks, T], and its standard error."""
    squares = (changes**2).mean(axis=1)
    size = float(np.sqrt(squares.mean()))
    return {"measured": size, "se": float(squares.std(ddof=1)) / len(squares) ** 0.5 / (2 * size)}


def judge(tables: Mapping[str, Rows]) -> Judged:
    """Every group's change in the wide limit, with a shift of its own that must show."""
    return points({name: rows for name, rows in tables.items() if name != "unscaled"}, TOLD)


def draw(figure: Any, tables: Any) -> None:
    """A column a system: above against depth, below against width."""
    panels = figure.subplots(2, 4, sharey=True)
    unscaled = split(tables["unscaled"], "panel")
    for row, (axes_of, x) in enumerate(zip(panels, ("depth", "width"), strict=True)):
        for axes, (panel, rows) in zip(axes_of, split(tables[x], "panel").items(), strict=True):
            names = [name for name in COLOURS if name in split(rows, "curve")]
            for place, name in enumerate(names):
                draw_group(axes, split(rows, "curve")[name], x, name, place / (len(names) - 1))
            base = unscaled[panel][0]
            other = "width" if x == "depth" else "depth"
            line = [one for one in unscaled[panel] if one[other] == base[other]]
            axes.plot([r[x] for r in line], [r["change"] for r in line], **NAIVE)
            sizes(axes, [r[x] for r in rows])
            plain_log(axes)
            axes.set_xlabel("depth $L$" if row == 0 else "width $n$")
            axes.margins(x=0.1)
            if row == 0:
                by = {s.name: s.by for s in systems()}[panel]
                letter(axes, f"{panel}: by {by}")
        axes_of[0].set_ylabel("rms change of the output")
    _legend(figure, tables)


NAIVE: dict[str, Any] = {"color": "0.55", "linestyle": "--", "linewidth": 0.9, "zorder": 1}


def draw_group(axes: Any, rows: Rows, x: str, name: str, place: float) -> None:
    """One group's line with its error's band, and networks: the widest of a depth filled;
    place: from 0 to 1, which way its points are moved aside."""
    colour, shift = COLOURS[name], 2 ** (0.24 * (place - 0.5))
    lines = sorted({r[x]: r for r in rows}.values(), key=lambda r: r[x])
    xs, ys = [r[x] for r in lines], [r["theory"] for r in lines]
    axes.plot(xs, ys, color=colour, linewidth=1.6 if name == ALL else 1.0, zorder=2)
    ends = [[r["theory"] + sign * r["theory_error"] for r in lines] for sign in (-1, 1)]
    axes.fill_between(xs, *ends, color=colour, alpha=0.2, linewidth=0)
    widest = max(r["width"] for r in rows)
    for r in rows:
        filled = x == "width" or r["width"] == widest
        axes.errorbar(
            [r[x] * shift],
            [r["measured"]],
            [INTERVAL * r["se"]],
            fmt=MARKERS[name],
            color=colour,
            linewidth=0.7,
            markersize=3.2,
            markerfacecolor=colour if filled else "white",
            markeredgewidth=0.6,
            zorder=3 + filled,
        )


def _legend(figure: Any, tables: Any) -> None:
    from matplotlib.lines import Line2D

    used = {row["curve"] for row in tables["depth"]}
    names = {ALL: "all groups", "stem": "stem", "readout": "read-out"}
    handles: list[Any] = [
        Line2D([], [], color=colour, marker=MARKERS[name], label=names.get(name, f"${name}$"))
        for name, colour in COLOURS.items()
        if name in used
    ]
    handles.append(Line2D([], [], **NAIVE, label="all groups, the base's rates"))
    networks = {"color": "0.2", "linestyle": "", "marker": "o", "markersize": 3.6}
    for label, face in (("widest networks (95 %)", "0.2"), ("narrowest", "white")):
        handles.append(Line2D([], [], **networks, markerfacecolor=face, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=6)


FIGURE = Figure(
    name="prescribed-steps",
    paper="ours",
    item="prescriptions, first step",
    shows="rms change of the output by the first AdamW step of each parameter group at prescribed "
    "rates, against depth and width, of four systems",
    caption="The first AdamW step of every parameter group alone, and of all together, at the "
    "learning rates that prescribe makes of the base's (the least width, depth 2; two tokens, "
    "labels 1): in depth by the law (looped-mlp, 2 loops; transformer, residual scale L^-1/2), or "
    "by the recursion where there is none (nag; deepnorm of MLPs). Predicted, lines with a band of "
    "their error: the rms over tokens of dz in the wide limit, the same at every width. What is "
    "held is each group's lowering of the loss averaged over labels +-1, which the rms of one "
    "labelling follows nearly. Dashed, predicted: all groups' step where learning rates stay the "
    "base's. Measured: rms over tokens and networks, {samples} of width {widths}, the fewer the "
    "wider; above, the widest are filled, the narrowest open. Finite ones are off by order 1/n; "
    "judged is their limit; all curves but those of queries and keys would show a shift of 10 %.",
    tables=tables,
    draw=draw,
    judge=judge,
    size=(7.0, 4.4),
    seconds=130,
    unjudged=("unscaled",),
)
