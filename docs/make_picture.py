"""The README's picture: residual variance of untied and looped stacks under two residual scales, theory and measurement.

python docs/make_picture.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import sigprop as sp

LOOPS = 16


def main() -> None:
    """Lines are the wide limit, points finite networks of width 512 with 95 % intervals."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    untied, looped = sp.architectures.residual_mlp, sp.architectures.looped_mlp
    curves = [
        ("looped, $\\varepsilon = 1/\\sqrt{N}$", looped(loops=LOOPS, residual_scale="1/sqrt(N)"), "#d55e00", "s"),
        ("looped, $\\varepsilon = 1/N$", looped(loops=LOOPS), "#0072b2", "o"),
        ("untied, $\\varepsilon = 1/\\sqrt{L}$", untied(depth=LOOPS), "#009e73", "^"),
    ]
    for label, arch, colour, marker in curves:
        theory = sp.predict(arch, ["residual_variance"])
        axes.plot([r["application"] for r in theory], [r["value"] for r in theory], color=colour, label=label)
        points = sp.measure(arch, width=512, samples=64, quantities=["residual_variance"], applications=range(0, LOOPS + 1, 2))
        x, y, e = ([r[key] for r in points] for key in ("application", "value", "se"))
        axes.errorbar(x, y, yerr=[1.96 * s for s in e], fmt=marker, color=colour, markersize=4, capsize=2)
    axes.set(xlabel="application $a$", ylabel="residual variance $q_a$", yscale="log", xlim=(0, LOOPS + 0.3))
    axes.set_yticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path = Path(__file__).parent / "images" / "looped-residual-variance.png"
    figure.savefig(path, dpi=150)
    print(path.name)


if __name__ == "__main__":
    main()
