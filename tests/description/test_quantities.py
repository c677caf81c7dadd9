"""Quantities: what they are stands in one place; theory and networks have a function for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from engine_rows import engine, rows_of

import sigprop as sp
from sigprop.agreement.against import common_quantities, theory_of
from sigprop.architectures import entries
from sigprop.cli import listing
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import judged, known, select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.observables.rows import MEASURED
from sigprop.theory.predictions.values import PREDICTED


def test_every_quantity_is_predicted_and_measured():
    assert set(MEASURED) == set(QUANTITIES)
    assert set(PREDICTED) == {name for name, quantity in QUANTITIES.items() if quantity.predicted}


@pytest.mark.parametrize("name", sorted(entries()))
def test_rows_are_of_their_quantity_and_each_once(name: str):
    """At the defaults, and at applications that are named."""
    arch = entries()[name].build()
    for applications in (None, [0, arch.depth]):
        for quantity in QUANTITIES:
            rows = select(arch, [quantity], applications)
            assert {row.quantity for row in rows} <= {quantity}
            assert len(set(rows)) == len(rows)


def test_a_quantity_is_one_object_and_two_functions(monkeypatch: pytest.MonkeyPatch):
    """The root mean square of a token's state, added from outside; predicted and measured."""
    import jax.numpy as jnp

    variance = QUANTITIES["residual_variance"]
    monkeypatch.setitem(
        QUANTITIES, "root", type(variance)(variance.shape, "rms of h_a", "value", False)
    )

    def predicted(values: object, row: Row) -> tuple[float, float]:
        value, log = PREDICTED["residual_variance"](values, row)  # type: ignore[arg-type]
        return value**0.5, log / 2

    monkeypatch.setitem(PREDICTED, "root", predicted)
    monkeypatch.setitem(
        MEASURED, "root", lambda *args: jnp.sqrt(MEASURED["residual_variance"](*args))
    )
    arch = sp.architectures.mlp(depth=2)
    rows = sp.predict(arch, ["root", "residual_variance"])
    assert [row["value"] ** 2 for row in rows.filter(quantity="root")] == pytest.approx(
        [row["value"] for row in rows.filter(quantity="residual_variance")], rel=1e-14
    )
    assert sp.verify(arch, tolerance=0.05, quantities=["root"]).verdict == "confirmed"


def test_a_quantity_that_comes_only_when_asked_for(monkeypatch: pytest.MonkeyPatch):
    """Nothing asked without names holds it; by its name everything does, another's theory too."""
    monkeypatch.setitem(QUANTITIES, "q", replace(QUANTITIES["residual_variance"], unasked=False))
    monkeypatch.setitem(PREDICTED, "q", PREDICTED["residual_variance"])
    monkeypatch.setitem(MEASURED, "q", MEASURED["residual_variance"])
    arch = sp.architectures.looped_mlp(depth=1, loops=2)
    theory = theory_of(arch, "residual-mlp")
    for rows in (select(arch), select(arch, known(arch)), judged(arch)):
        assert rows and "q" not in {row.quantity for row in rows}
    assert "q" not in common_quantities(arch, theory)
    assert common_quantities(arch, theory, ["q"]) == ("q",)
    for rows in (select(arch, ["q"]), judged(arch, ["q"])):
        assert rows and {row.quantity for row in rows} == {"q"}
    assert sp.predict(arch, ["q"]).rows == [
        row | {"quantity": "q"} for row in sp.predict(arch, ["residual_variance"])
    ]
    with pytest.raises(InputError, match="token_covariance has no row.*accepted:.* q$"):
        sp.measure(arch, width=8, samples=2, quantities=["token_covariance"])
    assert "(only when asked for)" in listing.as_text()


def test_token_cosine_is_the_covariance_over_the_two_variances():
    """Predicted, approximated, and in each of two networks."""
    arch = sp.architectures.transformer(
        depth=1, input_gram=[[1.0, 0.3, 0.5], [0.3, 4.0, -0.7], [0.5, -0.7, 9.0]]
    )
    names = ["token_cosine", "token_covariance", "residual_variance"]
    rows = select(arch, names)

    def off(values: Sequence[float]) -> float:
        """The largest deviation from the ratio."""
        value = dict(zip(rows, values, strict=True))
        cosines = [row for row in rows if row.quantity == "token_cosine"]
        assert len(cosines) == 3 * (arch.depth + 1)
        apart = []
        for row in cosines:
            product = math.prod(
                value[Row("residual_variance", row.application, token=token)]
                for token in (row.token, row.token_2)
            )
            ratio = value[replace(row, quantity="token_covariance")] / math.sqrt(product)
            apart.append(abs(value[row] - ratio))
        return max(apart)

    # the first is a mean over sampled heads: of ratios, which is no ratio of means
    for approximation, allowed in ((None, 1e-4), ("annealed", 1e-14)):
        table = sp.predict(arch, names, approximation=approximation)
        assert off([row["value"] for row in table]) < allowed
    for network in rows_of(engine(arch, width=32, rows=rows), samples=2, size=2):
        assert off(network) < 1e-6


def test_token_cosine_agrees_and_where_branches_are_rounding_says_nothing():
    build, asked = sp.architectures.residual_mlp, ["token_cosine"]
    inputs = {"depth": 2, "tokens": 2, "token_cosine": 0.3}
    assert sp.verify(build(**inputs), tolerance=0.05, quantities=asked).verdict == "confirmed"
    still = sp.verify(build(residual_scale=1e-5, **inputs), tolerance=0.05, quantities=asked)
    assert {row["verdict"] for row in still} == {"identity"}


def test_rms_is_the_root_of_the_second_moment():
    """Also where the second moment itself is beyond floats; an identity where branches do
    nothing."""
    far = sp.architectures.residual_mlp(depth=1200, norm="none", residual_scale=1)
    root, moment = sp.predict(far, ["rms", "residual_variance"], [1200])
    assert moment["value"] is None and root["value"] is not None
    assert np.log(root["value"]) == pytest.approx(moment["log_value"] / 2)
    arch = sp.architectures.looped_mlp(loops=2, depth=1)
    assert not sp.predict(arch).filter(quantity="rms").rows
    assert sp.verify(arch, tolerance=0.05, quantities=["rms"]).verdict == "confirmed"
    still = sp.architectures.residual_mlp(depth=2, residual_scale=1e-5)
    table = sp.verify(still, tolerance=0.05, quantities=["rms"])
    assert {row["verdict"] for row in table} == {"identity"}
