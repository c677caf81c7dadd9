"""Slopes of a verdict that ``fluctuations`` predicts: judged beside the rows, and used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.agreement import slopes
from sigprop.errors import InputError
from sigprop.verdict import Predicted

A = sp.architectures
ARCH = A.looped_mlp(loops=2, matrices=1)
ASKED: dict[str, Any] = {"quantities": ["residual_variance", "write_cosine"], "seed": 3}
UNITS = 128
WIDE: dict[str, Any] = {"tolerance": 0.03, **ASKED}
EXTRA = {"predicted_slope", "predicted_slope_error", "slope_margin", "slope_verdict", "slope_times"}


def rows(table: sp.Table, quantity: str = "residual_variance") -> list[dict[str, Any]]:
    return [dict(row) for row in table if row["quantity"] == quantity]


@pytest.fixture(scope="module", autouse=True)
def few_units() -> Iterator[None]:
    """Prediction's own error is larger, as its interval says, and sooner there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slopes, "UNITS", UNITS)
        yield


@pytest.fixture(scope="module")
def tables(few_units: None) -> dict[str, sp.Table]:
    return {name: sp.verify(ARCH, slope=name, **WIDE) for name in slopes.SLOPES}


def test_judged_slopes_are_beside_the_usual_numbers(tables: dict[str, sp.Table]):
    """Those of ``fluctuations``, over the row's scale; rows without a form have none, and what
    ``fitted`` says stays as it is."""
    said = sp.fluctuations(ARCH, ["residual_variance"], units=UNITS)
    shifts = {row["application"]: (row["n_shift"], row["n_shift_error"]) for row in said}
    for row in rows(tables["judged"]):
        found = row["predicted_slope"], row["predicted_slope_error"]
        assert found == pytest.approx(np.array(shifts[row["application"]]) / row["scale"])
        assert row["slope_verdict"] in ("confirmed", "inconclusive")
    assert not any(EXTRA & set(row) for row in rows(tables["judged"], "write_cosine"))
    kept = [{k: v for k, v in row.items() if k not in EXTRA} for row in tables["judged"]]
    assert kept == [dict(row) for row in tables["fitted"]]
    assert not EXTRA & {key for row in tables["fitted"] for key in row}
    assert "remarks" not in (tables["fitted"].notes or {})
    assert "slopes: " in (tables["judged"].notes or {})["remarks"][0]


def test_predicted_slopes_narrow_the_rows_that_confirm_them(tables: dict[str, sp.Table]):
    assert {table.verdict for table in tables.values()} == {"confirmed"}
    confirmed = [row["slope_verdict"] == "confirmed" for row in rows(tables["predicted"])]
    assert any(confirmed)
    free, fixed = (rows(tables[name]) for name in ("fitted", "predicted"))
    for used, a, b in zip(confirmed, free, fixed, strict=True):
        assert b["se"] < 0.8 * a["se"] if used else b["se"] == a["se"]
    assert [r["se"] for r in rows(tables["predicted"], "write_cosine")] == [
        r["se"] for r in rows(tables["fitted"], "write_cosine")
    ]


def test_a_planted_slope_is_rejected(tables: dict[str, sp.Table], monkeypatch: pytest.MonkeyPatch):
    """Five margins beside the predicted one."""
    margin = max(row["slope_margin"] for row in rows(tables["judged"]))

    def planted(*given: Any) -> Predicted:
        found = slopes.predicted_slopes(*given)
        return Predicted(found.slope + 5 * margin, found.error, found.use)

    monkeypatch.setattr("sigprop.agreement.verify.predicted_slopes", planted)
    for how in ("judged", "predicted"):
        table = sp.verify(ARCH, slope=how, **WIDE)
        assert table.verdict == "rejected"
        assert "rejected" in {row["slope_verdict"] for row in rows(table)}
        assert any(line.startswith("slope b = ") for line in (table.notes or {})["remarks"])


def test_a_wrong_theory_is_rejected_with_predicted_slopes():
    """The untied theory of a tied network, whose value is off; the companion of the confirmed
    verdicts above."""
    arch = A.looped_mlp(loops=4, matrices=1, residual_scale=0.5)
    wrong = A.residual_mlp(depth=4, matrices=1, residual_scale=0.5)
    table = sp.verify(
        arch, theory=wrong, slope="predicted", quantities=["residual_variance"], tolerance=0.05
    )
    assert table.verdict == "rejected"


def test_what_is_refused():
    with pytest.raises(InputError, match="slope='fit'.*fitted"):
        sp.verify(ARCH, slope="fit", **WIDE)
    with pytest.raises(InputError, match="orthogonal matrices .*have no form"):
        sp.verify(A.vanilla(), slope="judged")
    with pytest.raises(InputError, match="write_cosine: its fluctuations have no form"):
        sp.verify(ARCH, slope="judged", quantities=["write_cosine"])


def test_slopes_of_gradients_are_judged():
    asked = {"quantities": ["gradient_variance"], "tolerance": 0.05}
    found = rows(sp.verify(ARCH, slope="judged", **asked), "gradient_variance")
    assert found and all("slope_verdict" in row for row in found)
    assert "rejected" not in {row["slope_verdict"] for row in found}
