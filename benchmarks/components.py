"""The component table of 2403.09635, single layers forward and backward: ours, measured, and the
paper's formula.

    python benchmarks/components.py [--tokens 32 128 512] [--out docs/components.csv]     (goes on
    where FILE ends)

linear, relu, gelu, LayerNorm, dropout: two correlated tokens (``component_layers``). softmax and
single-head attention (``attention``): T tokens of a common cosine, head_dim 64, scores of a given
variance. Ours comes from ``sigprop.theory``; the measurement samples plain layers of its own,
float32, with its standard error. Gradients are linear in the output gradient's token covariance: at
gradient cosine c, (1 - c) times independent ones plus c times a common one. Prints, by component,
how far ours and the paper's formulas are off, and how many points of the paper's are off by over 10
%.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
import time
from pathlib import Path
from typing import Any

import component_layers as layers
import component_paper as paper
import jax
import jax.numpy as jnp
from component_samples import MOST, attention_heads, fan_in, measured, softmax_rows
from component_theory import attention_theory, check_against_a_network, softmax_theory

GRADIENT_COSINES, SCORES = (0.0, 0.5), (0.25, 1.0, 4.0, 9.0)
TOLERANCE = {"softmax": 0.05, "attention": 0.05}  # 2 % otherwise


def attention_rows(tokens: int, cosine: float, score: float) -> list[dict[str, Any]]:
    """Attention at every input variance, dropout and gradient cosine."""
    found, chunk = [], max(8, 4096 // tokens)
    ours = attention_theory(tokens, cosine, score)
    given = [jnp.float32(v) for v in (cosine, score)]
    means, errors = measured(
        lambda key: attention_heads(key, tokens, chunk, *given), MOST, TOLERANCE["attention"]
    )
    for drop, variance in itertools.product(layers.DROPOUT, layers.VARIANCES):
        theory, error = ours[drop]
        mean, se = (
            {
                name: one[drop, variance, name]
                for name in ("variance", "covariance", "independent", "common")
            }
            for one in (means, errors)
        )
        base = {
            "tokens": tokens,
            "cosine": cosine,
            "variance_in": variance,
            "score_variance": score,
            "dropout": drop,
        }
        for name in ("variance", "covariance"):
            formula = (
                variance * paper.attention(tokens, score, cosine, drop, fan_in(tokens), 0.0)[name]
            )
            found.append(
                line(
                    "attention",
                    name,
                    base,
                    variance * theory[name],
                    mean[name],
                    se[name],
                    formula,
                    mean["variance"],
                    variance * error[name],
                )
            )
        for c in GRADIENT_COSINES:

            def mix(v, c=c):
                return (1 - c) * v["independent"] + c * v["common"]

            noise = math.hypot((1 - c) * se["independent"], c * se["common"])
            formula = paper.attention(tokens, score, cosine, drop, fan_in(tokens), c)[
                "gradient_variance"
            ]
            at = base | {"gradient_cosine": c}
            found.append(
                line(
                    "attention",
                    "gradient_variance",
                    at,
                    mix(theory),
                    mix(mean),
                    noise,
                    formula,
                    mix(mean),
                    mix(error),
                )
            )
    return found


def softmax_lines(tokens: int, cosine: float, score: float) -> list[dict[str, Any]]:
    """The softmax alone."""
    with jax.enable_x64(True):
        theory, error = softmax_theory(tokens, cosine, score)
    given = [jnp.float32(v) for v in (cosine, score)]

    def draw(key):
        return {(name,): value for name, value in softmax_rows(key, tokens, 2048, *given).items()}

    mean, se = measured(draw, 2**21, TOLERANCE["softmax"])
    formula = paper.softmax(tokens, score, cosine)
    base = {"tokens": tokens, "cosine": cosine, "score_variance": score}
    return [
        line("softmax", n, base, theory[n], mean[n,], se[n,], formula[n], mean[n,], error[n])
        for n in theory
    ]


def line(
    component: str,
    quantity: str,
    base: dict[str, Any],
    ours: float,
    mean: float,
    se: float,
    formula: float,
    scale: float,
    error: float = 0.0,
) -> dict[str, Any]:
    """One line of the table; ``_off``: relative to the measured scale (of a covariance: the
    variance)."""
    off = {
        "ours_off": (ours - mean) / scale,
        "paper_off": (formula - mean) / scale,
        "se_off": se / abs(scale),
    }
    return {
        "component": component,
        "quantity": quantity,
        **base,
        "ours": ours,
        "error": error,
        "measured": mean,
        "se": se,
        "paper": formula,
        **off,
    }


def report(rows: list[dict[str, Any]]) -> None:
    """By component and quantity: the worst of ours, and how often the paper's formula is over 10
    % off."""
    for component, quantity in dict.fromkeys((r["component"], r["quantity"]) for r in rows):
        own = [r for r in rows if (r["component"], r["quantity"]) == (component, quantity)]
        tolerance = TOLERANCE.get(component, 0.02)
        outside, loose = (
            sum(abs(r["ours_off"]) > tolerance for r in own),
            sum(r["se_off"] > tolerance / 3 for r in own),
        )
        far, worst = (
            sum(abs(r["paper_off"]) > 0.1 for r in own),
            max(abs(r["ours_off"]) for r in own),
        )
        print(
            f"{component:10} {quantity:18} {len(own):4} points  ours worst {worst:7.2%}, outside "
            f"{tolerance:.0%}: {outside}",
            end="",
        )
        print(f"  loosely measured: {loose}  paper over 10 % off: {far}")


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """The whole table so far."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, list(dict.fromkeys(key for r in rows for key in r)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows
        )


def load(path: Path) -> list[dict[str, Any]]:
    """What an earlier run saved of attention and softmax, numbers as numbers."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = [
            {k: v if k in ("component", "quantity") else float(v) for k, v in row.items() if v}
            for row in csv.DictReader(file)
        ]
    return [row for row in found if "score_variance" in row]


def main() -> None:
    """Write the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[32, 128, 512])
    parser.add_argument("--out", type=Path, default=Path("components.csv"))
    given = parser.parse_args()
    with jax.enable_x64(True):
        check_against_a_network()
    rows = layers.rows(line) + load(given.out)
    done = {
        (row["tokens"], row["cosine"], row["score_variance"])
        for row in rows
        if "score_variance" in row
    }
    for tokens, cosine, score in itertools.product(given.tokens, layers.COSINES, SCORES):
        if (tokens, cosine, score) in done:
            continue
        started = time.monotonic()
        rows += attention_rows(tokens, cosine, score) + softmax_lines(tokens, cosine, score)
        save(given.out, rows)
        print(
            f"T = {tokens}, cosine {cosine}, score variance {score}: "
            f"{time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    report(rows)


if __name__ == "__main__":
    main()
