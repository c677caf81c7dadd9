"""What networks cost: the released solver's table of the variable-width paper, and what skipping
saves."""

from __future__ import annotations

import pytest

import sigprop as sp
from sigprop.paper_figures._released import SOLVER

A = sp.architectures


def costs(arch: sp.Architecture, **given: int) -> dict[str, dict[str, float]]:
    return {row["quantity"]: row for row in sp.costs(arch, **given)}


@pytest.mark.parametrize("size", SOLVER)
def test_savings_of_the_released_solver(size: tuple[int, int]):
    width, depth = size
    arch = A.variable_width(depth=depth, reference_width=width, round_to=32, heads=16)
    found = costs(arch, width=width, sequence=4096, vocabulary=100263)
    shown = (
        found["parameters"]["reference"] / 1e6,
        found["parameters"]["value"] / 1e6,
        *(-100 * found[name]["saving"] for name in ("flops", "kv_cache")),
    )
    assert [
        round(value, digits) for value, digits in zip(shown, (1, 1, 2, 2), strict=True)
    ] == pytest.approx(SOLVER[size], abs=1e-9)


def test_a_plain_transformer_by_hand():
    """Per block 4 n^2 of attention and 2 x 4 n^2 of the MLP; 2 operations an entry and token, 4
    s^2 n of attention; keys and values."""
    n, s, depth = 64, 10, 3
    found = costs(A.transformer(depth=depth), width=n, sequence=s, vocabulary=7)
    assert found["parameters"]["value"] == depth * 12 * n * n + 2 * 7 * n
    assert (
        found["flops"]["value"]
        == 2 * s * depth * 12 * n * n + depth * 4 * s * s * n + s * 2 * 7 * n
    )
    assert found["kv_cache"]["value"] == depth * 2 * n
    assert all(row["saving"] == 0 and row["at_equal_cost"] == 1 for row in found.values())


def test_loops_share_parameters_but_not_operations():
    once, twice = (costs(A.looped_transformer(depth=2, loops=loops)) for loops in (1, 2))
    assert once["parameters"]["value"] == twice["parameters"]["value"]
    assert 2 * once["flops"]["value"] == twice["flops"]["value"]


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_skipping_saves_the_share_that_is_skipped(rate: float):
    """All of an MLP but the modulator's scores; of attention not the keys and values."""
    given = {
        "depth": 32,
        "modulator": "learned",
        "directions": 1,
        "mod_rate": rate,
        "mod_threshold": "layer",
    }
    mlp = costs(A.nag(**given), width=4096)
    assert mlp["flops"]["saving"] == pytest.approx(rate, rel=1e-3)
    attention = costs(A.nag(**given, block="attention"), width=4096, sequence=1)
    assert attention["flops"]["saving"] == pytest.approx(rate / 2, rel=1e-2)
    assert mlp["flops"]["at_equal_cost"] == pytest.approx(1 / (1 - rate), rel=1e-3)
    assert mlp["parameters"]["saving"] == 0


@pytest.mark.parametrize(("name", "value"), [("width", 0), ("sequence", 1.5), ("vocabulary", -1)])
def test_sizes_that_are_refused(name: str, value: float):
    with pytest.raises(sp.InputError, match=f"{name}={value}; accepted"):
        sp.costs(A.mlp(), **{name: value})
