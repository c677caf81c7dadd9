"""Every row of every registered architecture ends with a law, a numerical limit with its interval,
or a reason; in depth and loops, at the defaults and elsewhere, and in width."""

from __future__ import annotations

import math
from typing import Any

import pytest
from long_cases import apart

import sigprop as sp
from sigprop.architectures import entries, entry
from sigprop.theory.exponents import table as exponents_table
from sigprop.theory.exponents.numerical.limit import NUMERICAL
from sigprop.theory.exponents.width import entering

ELSEWHERE: dict[str, dict[str, Any]] = {
    "mlp": {"activation": "tanh", "c_b": 0.3, "depth": 3},
    "residual-mlp": {"activation": "tanh", "norm": "none"},
    "looped-mlp": {"activation": "gelu", "norm": "none", "depth": 2},
    "transformer": {"mask": "causal", "residual_scale": "1/l", "activation": "tanh"},
    "completep": {"tokens": 2, "activation": "relu"},
    "deepnorm": {"tokens": 2, "activation": "relu"},
    "deeploop": {"tokens": 2, "depth": 1},
    "deepscalelm": {"tokens": 2, "activation": "relu"},
    "vanilla": {"tokens": 2, "mask": "none"},
    "e-spa": {"tokens": 4},
    "u-spa": {"tokens": 4},
    "nag": {"alpha_0": 0.6, "alpha_exponent": 0.75},
    "looped-nag": {"tokens": 1, "depth": 2, "modulator": "learned"},
    "looped-transformer": {"residual_scale": "1/N", "tokens": 2},
    "parallel-transformer": {"tokens": 2, "activation": "relu"},
    "sandwich-transformer": {"tokens": 1, "residual_scale": "1/l"},
    "value-skipinit": {"tokens": 2},
    "shaped-attention": {"tokens": 2},
    "variable-width": {"bottleneck": 0.5, "tokens": 1},
}


def ended(row: dict[str, Any]) -> bool:
    """Whether a row says how its growth goes on, in one of the three ways."""
    if row["exponent"] is not None:
        return row["kind"] is not None and row["leading"] is not None
    if row["method"] == NUMERICAL and row["kind"] == "power":
        return row["limit"] is not None and 0 < row["limit_error"] <= 0.5
    if row["method"] == NUMERICAL:
        rate = row["kind"] == "stretched" or math.isfinite(row["rate_value"])
        return row["kind"] in ("stretched", "exponential") and row["limit"] is None and rate
    return row["kind"] is row["limit"] is None and len(row["method"]) > len("none: ") + 10


def test_what_does_not_end_is_found() -> None:
    """The companion: a row as it was, without a law and without a word."""
    blank = {"exponent": None, "kind": None, "leading": None, "limit": None, "method": ""}
    assert not ended(blank) and not ended(blank | {"method": NUMERICAL, "kind": "power"})
    assert ended(blank | {"method": "none: slopes 1, 2, 4 up to 16"})


@pytest.mark.parametrize("name", entries())
@pytest.mark.parametrize("at", ["defaults", "elsewhere"])
def test_every_row_ends(name: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With numbers in place of the recursion's, a kind of growth for each quantity in turn: a
    power, an exponential, what vanishes at 64, what is wild."""
    kinds = (
        lambda n: 0.7 * math.log(n),
        lambda n: 0.3 * n,
        lambda n: None if n >= 64 else -math.log(n),
        lambda n: math.sin(3 * n) * math.log(n),
    )

    def numbers(arch: sp.Architecture, *given: Any) -> dict[Any, dict[int, float]]:
        keys = exponents_table._expected(arch)
        every = {key: {n: kinds[k % 4](n) for n in given[2]} for k, key in enumerate(keys)}
        return {
            key: {n: value for n, value in found.items() if value is not None}
            for key, found in every.items()
        }

    monkeypatch.setattr(exponents_table, "_logs", numbers)
    arch = entry(name).build(**(ELSEWHERE[name] if at == "elsewhere" else {}))
    table = sp.exponents(arch)
    expected = exponents_table._expected(arch)
    variables = {row["variable"] for row in table}
    assert variables == ({"depth", "loops"} if "loops" in arch.parameters else {"depth"})
    assert {(row["quantity"], row["group"]) for row in table} >= set(expected[:2])
    assert all(ended(row) for row in table), [row for row in table if not ended(row)]
    for variable in variables:
        without = [row for row in table if row["exponent"] is None and row["variable"] == variable]
        assert not without or dict(table.notes or {})["why"][variable]


@pytest.mark.parametrize("name", entries())
def test_width_has_laws(name: str) -> None:
    """Every group's gradient entry and what both optimizers do to the output, in every size that
    enters."""
    arch = entry(name).build(**ELSEWHERE[name])
    sizes = list(entering(arch))
    table = sp.exponents(arch, sizes, numbers=False)
    assert "width" in sizes and all(row["exponent"] is not None for row in table)
    for quantity in ("gradient_entry", "output_change_sgd", "output_change_adam"):
        rows = table.filter(quantity=quantity, variable="width")
        assert {row["group"] for row in rows} >= set(arch.groups)


FEW = ("vanilla",)


@pytest.mark.parametrize("name", apart(entries(), lambda name: name not in FEW))
def test_every_row_of_the_recursion_ends(name: str) -> None:
    """The same with the recursion's own numbers, at parameters that are not the defaults."""
    table = sp.exponents(entry(name).build(**ELSEWHERE[name]), sizes=(2, 4, 8))
    assert all(ended(row) for row in table), [row for row in table if not ended(row)]
