"""docs/components.csv holds the grid of single layers, every point within its tolerance of a
sharp measurement."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "docs" / "components.csv"
TOLERANCE = {"softmax": 0.05, "attention": 0.05}  # 2 % otherwise
GRID = {
    "tokens": ("32", "128", "512"),
    "cosine": ("0", "0.3", "0.7", "0.95"),
    "score_variance": ("0.25", "1", "4", "9"),
    "variance_in": ("0.5", "1", "2"),
    "dropout": ("0", "0.1"),
    "gradient_cosine": ("0", "0.5"),
}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with FILE.open(newline="") as file:
        return list(csv.DictReader(file))


def off(row: dict[str, str], theory: str) -> float:
    """Of the measured value, a covariance of the measured variance (``paper_off`` carries that
    scale)."""
    scale = (
        (float(row["paper"]) - float(row["measured"])) / float(row["paper_off"])
        if float(row["paper_off"])
        else float(row["measured"])
    )
    return (float(row[theory]) - float(row["measured"])) / (
        scale if row["quantity"] == "covariance" else float(row["measured"])
    )


def test_the_grid_is_complete(rows: list[dict[str, str]]):
    found = {
        tuple(row[name] for name in GRID)
        for row in rows
        if (row["component"], row["quantity"]) == ("attention", "gradient_variance")
    }
    assert found == set(itertools.product(*GRID.values()))
    for component in ("linear", "relu", "gelu", "layer_norm", "dropout"):
        assert {row["quantity"] for row in rows if row["component"] == component} == {
            "variance",
            "covariance",
            "gradient_variance",
        }
    assert {row["component"] for row in rows} >= {"softmax", "attention"}


def test_every_point_is_within_its_tolerance_of_a_sharp_measurement(rows: list[dict[str, str]]):
    for row in rows:
        tolerance = TOLERANCE.get(row["component"], 0.02)
        assert abs(off(row, "ours")) < tolerance, row
        assert float(row["se_off"]) < tolerance / 3, row


def test_the_papers_gradient_of_attention_would_not_pass(rows: list[dict[str, str]]):
    """The companion: the same check sees the formula that drops the softmax's path."""
    own = [
        row
        for row in rows
        if (row["component"], row["quantity"]) == ("attention", "gradient_variance")
    ]
    assert sum(abs(off(row, "paper")) > 0.1 for row in own) > len(own) / 2
