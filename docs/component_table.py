"""docs/components.csv (``python benchmarks/components.py``) as two tables: how far off each
component is, and where the paper's formulas are."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

FAR = 0.1


def tables(path: Path) -> str:
    """By component and quantity; then every attention and softmax point whose formula is over 10
    % off, the worst of those alike."""
    rows = list(csv.DictReader(path.open()))
    far = [row for row in rows if abs(float(row["paper_off"])) > FAR]
    text = (
        "| component | quantity | points | ours, worst | its formula, worst | over 10 % off "
        "|\n|---|---|---|---|---|---|\n"
    )
    for kind in dict.fromkeys((row["component"], row["quantity"]) for row in rows):
        own = [row for row in rows if (row["component"], row["quantity"]) == kind]
        ours, theirs = (
            max(abs(float(row[f"{who}_off"])) for row in own) for who in ("ours", "paper")
        )
        text += (
            f"| {kind[0]} | {kind[1]} | {len(own)} | {ours:.1%} | {theirs:.1%} | "
            f"{sum(row in far for row in own)} |\n"
        )
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in far:
        key = (
            row["component"],
            row["quantity"],
            row["gradient_cosine"] or "–",
            row["tokens"],
            row["cosine"],
        )
        off = float(row["paper_off"])
        found[key][row["score_variance"]] = max(
            found[key].get(row["score_variance"], 0.0), off, key=abs
        )
    text += (
        "\nWhere the formula is over 10 % off, by score variance (at any input variance and "
        "dropout, the worst):\n\n"
    )
    text += (
        "| component | quantity | gradient cosine | T | cosine | score variance: off |\n"
        "|---|---|---|---|---|---|\n"
    )
    for key, off in found.items():
        text += (
            f"| {' | '.join(key)} | "
            f"{', '.join(f'{score}: {value:+.0%}' for score, value in off.items())} |\n"
        )
    return text
