"""Networks with a twin: its scatter is the predicted one, means stay, errors fall, and a theory
that is off is told as it is without one.

Comparisons of means and variances are at four standard errors (6e-5 a row).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from long_cases import apart

import sigprop as sp
from sigprop.agreement import verify as verifying
from sigprop.agreement.finite_width.controlled import Beside, twin_of
from sigprop.agreement.finite_width.scatter import variance
from sigprop.description.rows import select
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.engines.population import expected
from sigprop.simulations.measure import measure
from sigprop.simulations.network.twin import Twin

FAR = 4.0
FORWARD = ("residual_variance", "token_cosine", "state_cosine", "write_variance")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "two matrices, RMSNorm": ("residual-mlp", {"depth": 3, "matrices": 2, "tokens": 2}),
    "tied, no norm": ("looped-mlp", {"loops": 3, "norm": "none", "activation": "tanh"}),
    "attention": ("transformer", {"depth": 1, "tokens": 3}),
}


def case(name: str) -> sp.Architecture:
    kind, given = CASES[name]
    return getattr(sp.architectures, kind.replace("-", "_"))(**given)


def with_twin(
    arch: sp.Architecture, width: int, count: int, twin: Twin | None = None, engine: str = "auto"
) -> tuple[Any, np.ndarray, np.ndarray]:
    """An engine with a twin, rows of networks [M, R], and those without the deviations."""
    rows = select(arch, [name for name in FORWARD if select(arch, (name,), None)], None)
    twin = twin_of(arch, rows) if twin is None else twin
    runner = engine_for(engine, arch, rows, width, 1024, typical=count, twin=twin)
    return runner, *np.split(sample(runner, count, 0), 2, axis=1)


def ratios(plain: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Variance ratios of rows that move and are not all deviation (the stem's are)."""
    both = plain.var(axis=0), without.var(axis=0)
    kept = (both[0] > 1e-8) & (both[1] > 1e-8 * both[0])
    return both[0][kept] / both[1][kept]


@pytest.mark.parametrize("name", apart(CASES, ["tied, no norm"]))
def test_the_twin_scatters_as_predicted_and_leaves_means_as_they_are(name: str):
    """n Var of what is taken off is n_variance at every width: it is a mean over independent
    units; its mean over networks is that of the units that are drawn for it alone. What is left
    scatters by 1/n, not by its root."""
    arch = case(name)
    runner, plain, without = with_twin(arch, 32, 4000)
    off = plain - without
    said = sp.fluctuations(arch, tuple(dict.fromkeys(row.quantity for row in runner.rows)))
    predicted = np.array([row["n_variance"] for row in said])
    half = np.array([row["n_variance_error"] for row in said])
    found, se = (32 * v for v in (variance(off)[0], np.sqrt(variance(off)[1])))
    assert np.all(np.abs(found - predicted) <= FAR * np.hypot(se, half / 2.576) + 1e-6)
    mean = expected(runner, 1, off.std(axis=0) / len(off) ** 0.5 / 3 + 1e-9)
    error = np.hypot(off.std(axis=0) / len(off) ** 0.5, mean.error)
    assert np.all(np.abs(off.mean(axis=0) - mean.value) <= FAR * error + 1e-6)
    ratio = ratios(plain, without)
    assert len(ratio) >= 6 and ratio.min() >= 4 and np.median(ratio) >= 6


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "least"), [("two matrices, RMSNorm", 60), ("tied, no norm", 60), ("attention", 30)]
)
def test_few_networks_do(name: str, least: float):
    """Variance ratios of one network at n = 256: of every row that moves at least half of it, of
    their median all (docs/finite-width.md has the table)."""
    _, plain, without = with_twin(case(name), 256, 2000)
    ratio = ratios(plain, without)
    assert ratio.min() >= least / 2 and np.median(ratio) >= least


def wrong(twin: Twin, off: float) -> Twin:
    """A twin whose averages are all off by so much: the factors' squares, and what is expected."""
    factors = {name: factor * (1 + off) ** 0.5 for name, factor in twin.factors.items()}
    return twin._replace(factors=factors, expected=twin.expected * (1 + off))


def test_a_twin_that_is_off_moves_nothing():
    """Every average 20 % off: the mean is the same, only its error is larger."""
    arch = case("tied, no norm")
    rows = select(arch, FORWARD[:1], None)
    twin = twin_of(arch, rows)
    assert twin is not None
    tables = [
        measure(arch, width=64, samples=2000, quantities=FORWARD[:1], control=control)
        for control in (None, twin, wrong(twin, 0.2))
    ]
    value, se = (
        np.array([[row[of] for row in table if row["application"]] for table in tables])
        for of in ("value", "se")
    )
    assert np.all(np.abs(value - value[0]) <= FAR * se[0])
    assert np.all(se[1] < se[2]) and np.all(se[2] < se[0])


def test_rows_without_a_form_are_as_they_were():
    arch = case("tied, no norm")
    names = ("residual_variance", "participation_ratio", "ntk")
    plain, both = (
        sp.measure(arch, width=32, samples=64, quantities=names, control=control)
        for control in ("none", "auto")
    )
    for row, other in zip(plain, both, strict=True):
        if row["quantity"] != "residual_variance":
            assert other["value"] == pytest.approx(row["value"], rel=1e-6)
            assert other["variance_ratio"] == 1.0 and other["se_of_control"] == 0.0
        elif row["application"]:
            assert other["se"] < row["se"]


@pytest.mark.parametrize("off", [0.01, -0.01])
def test_a_wrong_theory_is_rejected_whoever_makes_the_twin(
    off: float, monkeypatch: pytest.MonkeyPatch
):
    """A theory with variances off, judged with a twin of its own averages (as if the network were
    its): rejected, with the deviation that is found without a twin. Using its averages in place of
    the twin's own mean would find none."""
    arch = case("tied, no norm")
    c_x = float(arch.number_tables["c_x"][0]) * (1 + 2 * off)
    theory = sp.architectures.looped_mlp(**CASES["tied, no norm"][1] | {"c_x": c_x})
    given = {"quantities": ("residual_variance",), "applications": [3], "tolerance": 0.001}
    true = sp.verify(arch, **given)  # auto: a twin, at this tolerance
    assert true[0]["variance_ratio"] > 1
    plain = sp.verify(arch, theory=theory, **given | {"tolerance": 0.003}, control="none")
    monkeypatch.setattr(
        verifying, "twin_of", lambda arch, rows, required: twin_of(theory, rows, required)
    )
    found = sp.verify(arch, theory=theory, **given, control="twin")
    assert (true.verdict, plain.verdict, found.verdict) == ("confirmed", "rejected", "rejected")
    apart = abs(found[0]["deviation"] - plain[0]["deviation"])
    assert apart <= FAR * np.hypot(found[0]["se"], plain[0]["se"])
    # the companion: without the twin's own mean, the wrong theory finds itself
    monkeypatch.setattr(Beside, "taken_off", lambda self, values: np.split(values, 2, axis=1)[1])
    blind = sp.verify(arch, theory=theory, **given, control="twin")
    assert blind.verdict != "rejected"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"control": "twn"}, "did you mean 'twin'"),
        ({"control": "twin", "quantities": ("ntk",)}, "no row has a form"),
    ],
)
def test_bad_controls(given: dict[str, Any], says: str):
    with pytest.raises(sp.InputError, match=says):
        sp.measure(case("tied, no norm"), samples=8, width=16, **given)
