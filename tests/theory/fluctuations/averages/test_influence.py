"""What one unit moves rows by, from derivatives, is what tracing it shows."""

from __future__ import annotations

from typing import Any

import jax
import long_cases
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import select, token_means
from sigprop.theory.attention.draws import Amount, head_draws
from sigprop.theory.fluctuations import fluctuations, units
from sigprop.theory.fluctuations.averages import derivatives, influence
from sigprop.theory.fluctuations.forms import having_forms
from sigprop.theory.predictions.evaluate import unscaled
from sigprop.theory.predictions.values import Values
from sigprop.theory.recursion.passes import FORWARD, GRADIENTS
from sigprop.theory.recursion.program import shared_program

UNITS = 64
CASES = {
    "two matrices, two tokens": lambda: hidden(3, residual_scale=0.7),
    "tied": lambda: sp.architectures.looped_mlp(loops=3, activation="tanh"),
    "without a skip": lambda: sp.architectures.mlp(depth=3, c_b=0.1),
    "two lanes": lambda: sp.architectures.nag(depth=2, block="mlp"),
    "heads": lambda: sp.architectures.transformer(block="attention", tokens=2),
    "norms on writes, heads": lambda: sp.architectures.sandwich_transformer(depth=1, mask="causal"),
    "tied, heads": lambda: sp.architectures.looped_transformer(loops=2, norm_kind="layer"),
}
LONG = ("norms on writes, heads", "tied, heads")
BACK = {name: CASES[name] for name in ("two matrices, two tokens", "heads", "without a skip")} | {
    "tied": lambda: sp.architectures.looped_mlp(loops=2, activation="tanh"),
    "two lanes": CASES["two lanes"],
    "tied, heads": lambda: sp.architectures.looped_transformer(loops=2, block="attention"),
}
LONG_BACK = ("heads", "without a skip", "two lanes", "tied, heads")
MEMBERS = 64  # for whom a difference is off by STEP squared times what a unit does to them
SEED = 3


def hidden(depth: int, **given: float) -> sp.Architecture:
    """An MLP whose hidden units are more than its stream's."""
    return sp.architectures.transformer(
        block="mlp", depth=depth, tokens=2, activation="gelu", mlp_ratio=2.5, **given
    )


def forward(arch: sp.Architecture) -> list[str]:
    return [name for name in having_forms(arch) if not QUANTITIES[name].backward]


def backward(arch: sp.Architecture) -> list[str]:
    return [name for name in having_forms(arch) if QUANTITIES[name].backward]


def both(
    arch: sp.Architecture, names: list[str], reach: int = FORWARD
) -> tuple[np.ndarray, np.ndarray]:
    """Each unit's dK/dt about their mean [units, R]: from derivatives, and from tracing it."""
    rows = select(arch, names)
    assert influence.has_influence(arch, rows)
    found = influence.influences(arch, rows, None, UNITS, [SEED])[0]
    more, less, _ = (
        np.array([[unscaled(*Values(arch, k).value(row)) for row in rows] for k in kernels])
        for kernels in units.traced(arch, 2 * UNITS, SEED, reach, MEMBERS)
    )
    traced = ((more - less) / (2 * units.STEP))[:UNITS]
    return found, traced - traced.mean(axis=0)


def same_heads(arch: sp.Architecture, sampled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let others' heads be the same sample on both ways."""
    amount = Amount(2 if shared_program(arch).coupled else 1)
    monkeypatch.setattr(derivatives, "HEADS", sampled)
    monkeypatch.setattr(
        derivatives, "head_draws", lambda law, tokens, _: head_draws(law, tokens, SEED, amount)
    )


@pytest.mark.parametrize("case", long_cases.apart(CASES, LONG))
def test_derivatives_say_what_a_traced_unit_moves(case: str, monkeypatch: pytest.MonkeyPatch):
    """To what differences leave: 1e-8 of STEP squared, rounding over STEP."""
    arch = CASES[case]()
    same_heads(arch, units.HEADS, monkeypatch)
    found, traced = both(arch, forward(arch))
    scatter = traced.std(axis=0)
    assert (scatter > 1e-3).mean() > 0.5
    assert np.abs(found - traced).max() < 3e-6 * scatter.max()


@pytest.mark.parametrize("case", long_cases.apart(BACK, LONG_BACK))
def test_derivatives_say_what_it_moves_on_the_way_back(case: str, monkeypatch: pytest.MonkeyPatch):
    """Of every group too; differences leave what a unit does to others, squared, as well."""
    arch = BACK[case]()
    same_heads(arch, units.OF_PAIRS if shared_program(arch).coupled else units.HEADS, monkeypatch)
    monkeypatch.setattr(units, "STEP", 3e-5)  # whose square is what differences are off by
    found, traced = both(arch, backward(arch), GRADIENTS)
    scatter = traced.std(axis=0)
    assert (scatter > 1e-3).mean() > 0.5
    assert np.abs(found - traced).max() < 1e-5 * scatter.max()


def test_cotangents_that_nothing_follows_are_found_out(monkeypatch: pytest.MonkeyPatch):
    """Companion: what comes back to matrices and biases left out."""
    real = influence.returned

    def without(*given: Any) -> Any:
        found = real(*given)
        return found._replace(cotangents=jax.tree.map(lambda d: 0 * d, found.cotangents))

    monkeypatch.setattr(influence, "returned", without)
    arch, programs = BACK["tied"](), influence.run_influences.programs
    programs.clear()
    found, traced = both(arch, backward(arch), GRADIENTS)
    programs.clear()
    assert np.abs(found - traced).max() > 0.05 * traced.std(axis=0).max()


def test_a_population_that_is_not_counted_is_found_out(monkeypatch: pytest.MonkeyPatch):
    """Companion: hidden units taken for as many as the stream has."""
    monkeypatch.setattr(influence, "share", lambda of, size: 1.0)
    found, traced = both(hidden(2), forward(hidden(2)))
    assert np.abs(found - traced).max() > 0.05 * traced.std(axis=0).max()


def test_variances_without_shifts_are_those_with():
    arch = hidden(2)
    names = ["residual_variance", "token_cosine"]
    whole = sp.fluctuations(arch, names, units=512)
    alone = sp.fluctuations(arch, names, units=512, shift=False)
    assert not any("shift" in name for row in alone for name in row)
    for one, other in zip(whole, alone, strict=True):
        error = np.hypot(one["n_variance_error"], other["n_variance_error"])
        assert abs(one["n_variance"] - other["n_variance"]) <= error + 1e-12, one
        assert one["value"] == other["value"]


def test_means_over_tokens_are_rows_of_their_own():
    """Of influences, hence of tokens that go together nearly one row's variance; on both ways."""
    arch = sp.architectures.residual_mlp(depth=2, tokens=3, activation="gelu")
    rows = select(arch, ("residual_variance", "token_cosine"), [2])
    named, weights = token_means(rows)
    assert [str(row) for row in named] == [
        "residual_variance[application=2]",
        "token_cosine[application=2]",
    ]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    single = influence.influences(arch, rows, None, UNITS, [0])
    means = influence.influences(arch, rows, weights, UNITS, [0])
    np.testing.assert_allclose(means, single @ weights.T, atol=1e-9)
    given = {"applications": [2], "units": 256, "over_tokens": True}
    whole, alone = (
        sp.fluctuations(arch, ["residual_variance", "token_cosine"], shift=shift, **given)
        for shift in (True, False)
    )
    each = sp.fluctuations(arch, ["residual_variance"], [2], units=256, shift=False)
    for one, other in zip(whole, alone, strict=True):
        error = np.hypot(one["n_variance_error"], other["n_variance_error"])
        assert abs(one["n_variance"] - other["n_variance"]) <= error
        assert "token" not in other
    assert alone[0]["value"] == pytest.approx(np.mean([row["value"] for row in each]))
    assert alone[0]["n_variance"] < np.mean([row["n_variance"] for row in each])


@pytest.mark.long
def test_scatter_of_gradients_needs_no_other_units(monkeypatch: pytest.MonkeyPatch):
    """What a unit's gradients do to others is of second order: n Var is the same to 1e-3, some STEP
    times n shift. Of units that are traced, as where rows have no derivatives."""
    arch = sp.architectures.looped_mlp(loops=2, activation="tanh")
    monkeypatch.setattr(fluctuations, "has_influence", lambda *_: False)
    names = ["gradient_variance", "weight_gradient"]
    whole = sp.fluctuations(arch, names, units=64)
    alone = sp.fluctuations(arch, names, units=64, shift=False)
    for one, other in zip(whole, alone, strict=True):
        assert other["n_variance"] == pytest.approx(one["n_variance"], rel=1e-3), one
        assert "n_shift" in one and "n_shift" not in other


def stem_and_write(fixed: bool) -> list[dict[str, Any]]:
    arch = sp.architectures.residual_mlp(depth=1, activation="gelu", residual_scale=0.8)
    given = {"units": 1024, "shift": False, "fixed_stem": fixed}
    return list(sp.fluctuations(arch, ["residual_variance", "write_variance"], **given))


def test_a_stem_of_data_does_not_fluctuate():
    """h = s + eps w: what is left of <h, h> is 4 eps^2 <s, s> <w, w> and eps^4 n Var <w, w>; with a
    stem that is drawn it has 2 <s, s>^2 more, the stem's own. Behind a norm, w has the same n
    Var."""
    (stem, state, write), (drawn, whole, again) = stem_and_write(True), stem_and_write(False)
    assert stem["n_variance"] == 0.0
    error = state["n_variance_error"] + whole["n_variance_error"]
    assert error < 0.2 * state["n_variance"]
    assert abs(whole["n_variance"] - state["n_variance"] - drawn["n_variance"]) <= error
    error = write["n_variance_error"] + again["n_variance_error"]
    assert abs(write["n_variance"] - again["n_variance"]) <= error


def test_pairs_at_one_place_of_two_scrambles_average_little(monkeypatch: pytest.MonkeyPatch):
    """Companion: they say so in their error, which is several times as large."""
    right = stem_and_write(True)[1]["n_variance_error"]
    monkeypatch.setattr(influence, "_apart", lambda draws, _: draws)
    assert stem_and_write(True)[1]["n_variance_error"] > 3 * right


def test_a_fixed_stem_is_refused_where_it_has_no_form():
    arch = sp.architectures.residual_mlp(depth=1)
    with pytest.raises(sp.InputError, match="fixed_stem=True: shifts have no form"):
        sp.fluctuations(arch, ["residual_variance"], fixed_stem=True)
    bands = sp.architectures.variable_width(depth=1, block="mlp")
    with pytest.raises(sp.InputError, match="fixed_stem=True: has no form here"):
        sp.fluctuations(bands, ["write_variance"], shift=False, fixed_stem=True)
