"""docs/scatter.csv and docs/scatter_gradients.csv (``python docs/make_scatter.py``) as tables: a
line an architecture."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from scipy.special import ndtri

FILE = Path(__file__).parent / "scatter.csv"
GRADIENTS = FILE.with_name("scatter_gradients.csv")
NEAR, FAR = 0.05, 3.0  # of one row: n Var within so much, or so many standard errors
RESOLVED = 0.1  # relative error of networks' n Var, of rows that ``off`` is the largest of
ALARM = 0.01  # that a right theory has a row beyond ``limit``, over the whole table
MOST_RMS = 1.3
PARTS = ("variance", "shift")
COLUMNS = [
    *("architecture", "set", "seed", "widths", "networks", "rows", "alike", "off", "off_se"),
    *(f"{what}_{which}" for what in PARTS for which in ("rms", "furthest", "row", "beyond")),
    "refused",
]
Line = Mapping[str, object]


class Summary(NamedTuple):
    """Rows of the whole table, the |z| that none of them may pass, the largest |z| and the rms z of
    n_variance and n_shift, how many rows are beyond ``FAR``, and the architectures that miss."""

    rows: int
    limit: float
    furthest: tuple[float, ...]
    rms: tuple[float, ...]
    beyond: tuple[int, ...]
    missed: tuple[str, ...]


def summary(lines: Iterable[Line]) -> Summary:
    """Sum all architectures up; one misses where a row's |z| passes ``limit`` (Bonferroni over both
    numbers of all rows, which rows that go together make strict on theory's side), of n_variance
    only if it is more than ``NEAR`` off too."""
    measured = [line for line in lines if not line["refused"]]
    rows = sum(int(str(line["rows"])) for line in measured)
    limit = -float(ndtri(ALARM / (2 * 2 * rows)))
    missed = tuple(str(line["architecture"]) for line in measured if _missed(line, limit))
    return Summary(
        rows,
        limit,
        tuple(max(abs(_number(line, f"{what}_furthest")) for line in measured) for what in PARTS),
        tuple(_rms(measured, what) for what in PARTS),
        tuple(sum(int(str(line[f"{what}_beyond"])) for line in measured) for what in PARTS),
        missed,
    )


def _missed(line: Line, limit: float) -> bool:
    """Tell whether an architecture misses."""
    off = _number(line, "off") > NEAR and abs(_number(line, "variance_furthest")) > limit
    return off or abs(_number(line, "shift_furthest")) > limit


def _number(line: Line, name: str) -> float:
    return float(str(line[name]))


def _rms(lines: Iterable[Line], what: str) -> float:
    """Root mean square of z over all rows of these lines."""
    counted = [(int(str(line["rows"])), _number(line, f"{what}_rms")) for line in lines]
    return math.sqrt(sum(n * z**2 for n, z in counted) / sum(n for n, _ in counted))


def table(path: Path = FILE) -> str:
    """By architecture: rows, the largest relative deviation of n_variance, rms z and furthest z of
    n_variance and n_shift; under it what is refused."""
    lines = list(csv.DictReader(path.read_text().splitlines()))
    text = (
        "| architecture | rows | n_variance off, at most (typical error) | its rms z, furthest "
        "| n_shift: rms z, furthest |\n|---|---|---|---|---|\n"
    )
    for line in lines:
        name = f"{line['architecture']} {line['set']}".strip()
        if line["refused"]:
            text += f"| {name} | {line['refused'].partition(': ')[2]} | | | |\n"
            continue
        each = [f"{line[f'{what}_rms']}, {line[f'{what}_furthest']}" for what in PARTS]
        off = f"{float(line['off']):.1%} ({float(line['off_se']):.1%})"
        text += f"| {name} | {line['rows']} | {off} | {' | '.join(each)} |\n"
    return text
