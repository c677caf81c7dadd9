"""Figure prescribed-steps: its rates are the law's where there is one and the recursion's where
not, the unscaled line is the step at the base's rates, and the verdict can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.paper_figures import prescribed_steps as figure
from sigprop.paper_figures._judge import Judged

LOOPED, TRANSFORMER, NAG, DEEPNORM = figure.systems()


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(figure, "POINTS", 256)


def test_four_systems_of_which_two_have_no_law():
    assert [s.name for s in figure.systems()] == ["looped-mlp", "transformer", "nag", "deepnorm"]
    for system in figure.systems():
        plan = sp.prescribe(
            system.name,
            base={"width": 64, "depth": 2},
            target={"width": 64, "depth": 4},
            **system.parameters,
        )
        assert plan.row("w", "learning_rate").get("by", "law") == system.by


@pytest.mark.parametrize("system", [LOOPED, TRANSFORMER], ids=lambda s: s.name)
def test_rates_are_1_at_the_base_and_at_every_width_and_the_law_in_depth(system: figure.System):
    """eps D is 2^(1/2) and 8^(1/2) for branches 1/L^(1/2) (and 1/(N L^(1/2)), N loops)."""
    base, *wider = system.widths
    for width in (base, *wider):
        assert set(figure.rates(system, 2, width).values()) == {1.0}
    found = figure.rates(system, 8, base)
    for group, rate in found.items():
        assert rate == pytest.approx(1 if group in ("stem", "readout") else 1 / 2)


def test_the_unscaled_line_is_the_step_at_the_learning_rates_of_the_base():
    """Matrices and the read-out move n/n_0 times as far in theory's unit, the stem as far."""
    given = figure.rates(LOOPED, 2, 128)
    theory = figure.predicted(LOOPED, 2, given)
    found = figure.at_base_rates(LOOPED, (2, 128), given, theory)
    naive = {"x": 2.0, "w": 2.0, "readout": 2.0}
    rows = sp.first_step(LOOPED.at(2), "adam", naive, points=figure.POINTS).filter(
        quantity="output_change", group="all"
    )
    # sampled: groups apart and together differ in the part that is new
    change = np.sqrt(np.mean([r["value"] ** 2 for r in rows]))
    assert found["change"] == pytest.approx(change, rel=0.01)
    assert found["change"] > 1.5 * figure.rms(*theory["all"])["theory"]


def test_the_measured_rms_and_its_standard_error():
    """rms of N(0, 1) changes of one token: 1, and (2 count)^(-1/2) of a count's scatter."""
    found = figure.measured(np.random.default_rng(0).standard_normal((40000, 1)))
    assert found["se"] == pytest.approx((2 * 40000) ** -0.5, rel=0.05)
    assert found["measured"] == pytest.approx(1, abs=4 * found["se"])


def judged(factor: float = 1.0, se: float = 0.003) -> Judged:
    """Networks 1 + 2/n with normal errors in both tables, where ``factor`` is predicted."""
    rng = np.random.default_rng(1)
    tables: dict[str, Any] = {"unscaled": [{"panel": "p", "change": 3.0, "width": 64}]}
    for x in ("depth", "width"):
        tables[x] = [
            {"panel": "p", "curve": "w", "depth": depth, "width": n}
            | {"measured": 1 + 2 / n + se * rng.standard_t(128), "se": se, "samples": 128}
            | {"theory": factor, "theory_error": 0.0, "scale": factor}
            for depth in ((2, 4) if x == "depth" else (2,))
            for n in ((64, 256) if x == "depth" else (64, 128, 256))
        ]
    return figure.judge(tables)


def test_another_line_is_rejected_and_wide_bars_confirm_nothing():
    assert judged().verdict == "confirmed"
    assert judged(1.06).verdict == judged(0.94).verdict == "rejected"
    assert judged(se=0.1).verdict == "inconclusive"
