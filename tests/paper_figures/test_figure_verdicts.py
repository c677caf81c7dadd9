"""The rules that figures are judged by: false alarms as rare as stated, shifts seen, what is
lost or too wide confirms nothing, published digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sigprop import paper_figures
from sigprop.paper_figures import _exact, _judge, _make, _store
from sigprop.paper_figures._run import Run


def made_up(
    rng: np.random.Generator,
    b: float,
    c: float,
    off: float = 0.0,
    points: int = 40,
    se: float = 0.003,
) -> list[dict[str, Any]]:
    """Points 1 + off + b/n + c/n^2 with normal errors, beside a theory of 1."""
    rows = []
    for x in range(points):
        for n in (256, 4096):
            noise = se * rng.standard_t(63)
            value = 1 + off + b / n + c / n**2 + noise
            rows.append(
                {
                    "curve": "c",
                    "x": x,
                    "theory": 1.0,
                    "scale": 1.0,
                    "measured": value,
                    "se": se,
                    "width": n,
                    "samples": 64,
                }
            )
    return rows


def test_false_alarms_are_as_rare_as_stated():
    """1 % of figures at most: of 400 no more than 11, which binomial(400, 0.01) exceeds with
    probability 0.1 %."""
    rng = np.random.default_rng(0)
    alarms = sum(
        _judge.points({"t": made_up(rng, b=5.0, c=1000.0)}).verdict == "rejected"
        for _ in range(400)
    )
    assert alarms <= 11


def test_a_shift_that_should_show_shows_and_wide_bars_are_no_confirmation():
    rng = np.random.default_rng(1)
    assert all(
        _judge.points({"t": made_up(rng, b=2.0, c=0.0, off=0.03)}).verdict == "rejected"
        for _ in range(50)
    )
    assert _judge.points({"t": made_up(rng, b=2.0, c=0.0, se=0.02)}).verdict == "inconclusive"


def test_lost_networks_and_single_widths_are_inconclusive():
    rows = made_up(np.random.default_rng(2), 0.0, 0.0)
    assert _judge.points({"t": rows[:-1]}).verdict == "inconclusive"
    assert (
        _judge.points({"t": [*rows[:-1], rows[-1] | {"measured": None, "se": None}]}).verdict
        == "inconclusive"
    )
    assert _judge.points({"t": []}).verdict == "inconclusive"


def test_what_is_zero_must_be_zero_in_every_network():
    """Nothing to divide a deviation by: an exact zero agrees and shows no shift; anything else
    contradicts."""
    rows = made_up(np.random.default_rng(3), 0.0, 0.0)
    zero = [
        {
            "curve": "c",
            "x": -1,
            "theory": 0.0,
            "scale": 0.0,
            "measured": 0.0,
            "se": 0.0,
            "width": n,
            "samples": 64,
        }
        for n in (256, 4096)
    ]
    judged = _judge.points({"t": rows + zero})
    assert judged.verdict == "confirmed" and judged.points == 41
    zero[1] |= {"measured": 1e-12}
    judged = _judge.points({"t": rows + zero})
    assert judged.verdict == "rejected" and json.dumps(judged.to_dict(), allow_nan=False)


def test_a_width_between_the_ends_is_judged_too():
    """b/n alone passes at any middle width; a middle width off its line by ten standard errors
    does not, though both ends agree."""
    rng = np.random.default_rng(4)
    rows = made_up(rng, b=2.0, c=0.0)
    middle = [rows[0] | {"width": 1024, "measured": 1 + 2.0 / 1024 + 0.003 * rng.standard_normal()}]
    assert _judge.points({"t": rows + middle}).verdict == "confirmed"
    assert _judge.points({"t": rows + [middle[0] | {"measured": 1.03}]}).verdict == "rejected"


def test_a_closed_form_has_to_be_met_to_rounding():
    rows = made_up(np.random.default_rng(5), 0.0, 0.0)
    line = {"curve": "limit", "x": 0, "theory": 2.0, "reference": 2.0}
    assert _judge.points({"t": [*rows, line]}).verdict == "confirmed"
    assert _judge.points({"t": [*rows, line | {"theory": 2.00001}]}).verdict == "rejected"


def test_identities_do_not_make_a_curve_see():
    """Points without scatter show any shift; where a curve has others, those say what it shows."""
    rows = made_up(np.random.default_rng(6), 0.0, 0.0)
    exact = [
        {
            "curve": "c",
            "x": -1,
            "theory": 1.0,
            "scale": 1.0,
            "measured": 1.0,
            "se": 0.0,
            "width": n,
            "samples": 64,
        }
        for n in (256, 4096)
    ]
    alone, both, identity = (
        _judge.points({"t": own}).detects for own in (rows, rows + exact, exact)
    )
    assert alone is not None and both is not None and identity is not None
    assert both == pytest.approx(alone, rel=0.05) and identity < 1e-5


def test_a_theory_of_each_width_is_compared_with_its_own():
    """Rows whose theory depends on the width are still one point."""
    rows = made_up(np.random.default_rng(7), 0.0, 0.0)
    scaled = [
        row | {key: row[key] * row["width"] for key in ("theory", "scale", "measured", "se")}
        for row in rows
    ]
    assert _judge.points({"t": scaled}).to_dict() == pytest.approx(
        _judge.points({"t": rows}).to_dict()
    )


def printed(theory: float, published: float, unit: float) -> dict[str, Any]:
    """A published number beside what was computed."""
    return {"curve": "c", "theory": theory, "published": published, "unit": unit}


def test_published_digits_agree_to_half_a_unit():
    good = [printed(1.2349, 1.23, 0.01), printed(-3.196, -3.2, 0.01)]
    assert _exact.exact({"t": good}).verdict == "confirmed"
    assert _exact.exact({"t": [*good, printed(1.2351, 1.23, 0.01)]}).verdict == "rejected"
    # one digit shows no shift of 3 %
    assert _exact.exact({"t": [printed(1.2, 1.0, 1.0)]}).verdict == "inconclusive"
    assert _exact.exact({"t": []}).verdict == "inconclusive"


@pytest.mark.parametrize("name", ["width-schedule", "width-costs"])
def test_the_released_solver_is_met_and_other_widths_are_not(name: str, tmp_path: Path):
    figure = paper_figures.figure(name)
    assert _make.make(figure, tmp_path, Run(quick=True), ["png"])["verdict"] == "confirmed"
    for rows in _store.load(tmp_path, figure).rows.values():
        for factor in (0.97, 1.03):
            moved = [row | {"theory": factor * row["theory"]} for row in rows]
            assert figure.judge({"t": moved}).verdict == "rejected"
