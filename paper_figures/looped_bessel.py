"""A tied linear stack without norms against its limit I_0(2 lambda)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import sigprop as sp
from sigprop.paper_figures._draw import COLOURS, curve, legend_of_points, letter, sizes, split
from sigprop.paper_figures._registry import Figure

if TYPE_CHECKING:
    from sigprop.description.architecture import Architecture

LAMBDAS, LOOPS, MOST = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5), (2, 16), 64
STATES = (1, 2, 4, 8, 16)


def tables(run: Any) -> dict[str, sp.Table]:
    """q_N over lambda at two N, and over N at lambda = 1; the limit beside both; what is not
    measured stands beside its closed form."""
    pairs = [("lambda", f"N={n}", n, x) for x in LAMBDAS for n in LOOPS] + [
        ("loops", "lambda=1", n, 1.0) for n in STATES
    ]
    rows = []
    for panel, name, n, x in pairs:
        rows += run.points(
            _stack(max(LOOPS), x / n),
            "residual_variance",
            STATES,
            keep=lambda row, n=n: row["application"] == n,
            panel=panel,
            curve=name,
            **{"lambda": x},
        )
    theory = [
        {"panel": "loops", "curve": "lambda=1", "application": n, "lambda": 1.0}
        | _last(_stack(n, 1 / n))
        for n in (32, MOST)
    ]
    about = {
        "architecture": "looped-mlp",
        "activation": "linear",
        "norm": "none",
        "matrices": 1,
        "residual_scale": "lambda/N",
    }
    return {"variance": run.table("looped-bessel", rows + theory + _limit(), about)}


def _stack(loops: int, scale: float) -> Architecture:
    """Return the linear stack with this residual scale."""
    return sp.architectures.looped_mlp(
        loops=loops, activation="linear", matrices=1, norm="none", residual_scale=scale
    )


def _limit() -> list[dict[str, Any]]:
    """Return the derived limit over lambda, I_0(2 lambda sqrt(c_w)) q_0, beside scipy's."""
    import sympy
    from scipy.special import i0

    deep = _stack(16, 1.0)
    closed = sp.derive(deep)["limit"].rhs
    here = {"q_0": deep.input_gram[0, 0], **deep.numbers}

    def at(scale: float) -> float:
        values: Any = {
            symbol: scale if symbol.name == "lambda" else here[symbol.name]
            for symbol in closed.free_symbols
        }
        return float(sympy.N(closed.subs(values)))

    return [
        {
            "panel": "lambda",
            "curve": "limit",
            "lambda": x,
            "theory": at(x),
            "reference": float(i0(2 * x)),
        }
        for x in (0.02 * k for k in range(81))
    ]


def _last(stack: Architecture) -> dict[str, Any]:
    """Predict the last state's variance, beside the sum of binomials that it is."""
    row = sp.predict(stack, ["residual_variance"], applications=[stack.depth])[0]
    n = stack.depth
    closed = sum(math.comb(n, k) ** 2 * float(n) ** (-2 * k) for k in range(n + 1))
    return {
        "theory": row["value"],
        "theory_error": row["error"],
        "scale": row["scale"],
        "reference": closed,
    }


def draw(figure: Any, tables: Any) -> None:
    """Left over lambda, right over the loops."""
    left, right = figure.subplots(1, 2)
    panels = split(tables["variance"], "panel")
    curves = split(panels["lambda"], "curve")
    limit = curves.pop("limit")
    left.plot(
        [row["lambda"] for row in limit],
        [row["theory"] for row in limit],
        color=COLOURS[4],
        linestyle=":",
        label=r"$N\to\infty$: $I_0(2\lambda)$",
    )
    for index, (name, rows) in enumerate(curves.items()):
        curve(left, rows, "lambda", index, f"$N$ = {name[2:]}")
    left.set(
        xlabel=r"$\lambda = \varepsilon N$",
        ylabel="variance of the last state $q_N$",
        ylim=(0.8, 6.2),
    )
    letter(left, r"$h \leftarrow h + (\lambda/N)\, W h$, one $W$")
    left.legend()
    at_one = next(row["theory"] for row in limit if abs(row["lambda"] - 1) < 1e-9)
    right.axhline(at_one, color=COLOURS[4], linestyle=":", label=f"$I_0(2)$ = {at_one:.4f}")
    curve(right, panels["loops"], "application", 2, r"$\lambda$ = 1")
    sizes(right, (1, 2, 4, 8, 16, 32, MOST))
    right.set(xlabel="loops $N$", ylabel="variance of the last state $q_N$", ylim=(1.9, 2.4))
    letter(right, "approach to the limit")
    right.legend(loc="lower right")
    legend_of_points(figure, tables["variance"])


FIGURE = Figure(
    name="looped-bessel",
    paper="ours",
    item="continuum limit of 2606.18524's model",
    shows="a tied linear stack without norms against I_0(2 lambda)",
    caption="Predicted: the variance after N loops of h + (lambda/N) W h, W alike in every loop, "
    "sum_k binomial(N, k)^2 (lambda/N)^(2k), "
    "and its limit I_0(2 lambda), the solution of d^2 G/ds dt = lambda^2 G. Measured: {samples} "
    "networks of width {widths}, {engines} engine.",
    tables=tables,
    draw=draw,
    size=(7.0, 3.0),
    seconds=30,
)
