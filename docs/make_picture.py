"""The documentation's pictures: theory as lines, finite networks as points with 95 % intervals.

python docs/make_picture.py [looped] [transformer]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import sigprop as sp

LOOPS, WIDTH, SAMPLES = 16, 512, 64
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"


def draw(axes: Any, label: str, arch: sp.Architecture, quantity: str, style: tuple[str, str, str], at: Sequence[int], networks: dict[str, int]) -> None:
    """One quantity by application (token 0, or tokens 0 and 1): the prediction as a line, the measurement as points."""
    first = lambda table: [row for row in table if row["token"] == 0 and row.get("token_2", 1) == 1]  # noqa: E731
    theory = first(sp.predict(arch, [quantity]))
    axes.plot([r["application"] for r in theory], [r["value"] for r in theory], color=style[0], linestyle=style[2], label=label)
    points = first(sp.measure(arch, **networks, quantities=[quantity], applications=at))
    x, y, e = ([r[key] for r in points] for key in ("application", "value", "se"))
    axes.errorbar(x, y, yerr=[1.96 * s for s in e], fmt=style[1], color=style[0], markersize=4, capsize=2)


def looped() -> Any:
    """Residual variance of untied and looped stacks under two residual scales."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    untied, stack = sp.architectures.residual_mlp, sp.architectures.looped_mlp
    curves = [
        ("looped, $\\varepsilon = 1/\\sqrt{N}$", stack(loops=LOOPS, residual_scale="1/sqrt(N)"), (ORANGE, "s", "-")),
        ("looped, $\\varepsilon = 1/N$", stack(loops=LOOPS), (BLUE, "o", "-")),
        ("untied, $\\varepsilon = 1/\\sqrt{L}$", untied(depth=LOOPS), (GREEN, "^", "-")),
    ]
    for label, arch, style in curves:
        draw(axes, label, arch, "residual_variance", style, range(0, LOOPS + 1, 2), {"width": WIDTH, "samples": SAMPLES})
    axes.set(xlabel="application $a$", ylabel="residual variance $q_a$", yscale="log", xlim=(0, LOOPS + 0.3))
    axes.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def transformer() -> Any:
    """Twelve sub-blocks: token Gram of a pre-norm transformer, and gradients of pre- and post-norm ones by the read-out."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    given: dict[str, Any] = {"depth": 6, "tokens": 6, "norm_kind": "rms", "mlp_ratio": 2}
    networks, at = {"width": 256, "samples": 48}, range(0, 13, 2)
    pre = sp.architectures.transformer(**given)
    draw(left, "diagonal $G_{tt}$", pre, "residual_variance", (BLUE, "o", "-"), at, networks)
    draw(left, "off-diagonal $G_{ts}$", pre, "token_covariance", (ORANGE, "s", "-"), at, networks)
    left.set(xlabel="sub-block $a$", ylabel="token Gram")
    for norm, marker, line in (("pre", "o", "-"), ("post", "s", "--")):
        for readout, colour in (("each", BLUE), ("mean", GREEN)):
            label = f"{norm}-norm, {'independent' if readout == 'each' else 'common'} read-out"
            arch = sp.architectures.transformer(**given, norm=norm, readout=readout)
            draw(right, label, arch, "gradient_variance", (colour, marker, line), at, networks)
    right.set(xlabel="sub-block $a$", ylabel="gradient variance $g_a$", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


PICTURES = {"looped": (looped, "looped-residual-variance.png"), "transformer": (transformer, "transformer-grams.png")}

if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        make, file = PICTURES[name]
        make().savefig(Path(__file__).parent / "images" / file, dpi=150)
        print(file)
