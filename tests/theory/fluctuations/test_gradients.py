"""Scatter and shift of gradients: tables of an own derivation that was checked on explicit
networks, closed forms, and what happens without overlaps.

Errors are half-widths of 99 % intervals of eight sets of units; a row is further off than ``FAR``
of them with probability 1e-4.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from long_cases import apart
from skip_networks import FAR, TIED, agrees, network

import sigprop as sp
from sigprop.theory.gaussian import field
from sigprop.theory.recursion.units import overlaps

QUANTITIES = ("gradient_variance", "weight_gradient")
UNITS = 1024


def rows_of(arch: sp.Architecture, units: int = UNITS) -> dict[Any, dict[str, Any]]:
    """Rows of gradients, by group ('' of states) and application, at the first token."""
    table = sp.fluctuations(arch, QUANTITIES, [0, 1], units=units)
    return {
        (row.get("group", ""), row["application"]): row for row in table if not row.get("token")
    }


NETS: dict[str, tuple[dict[str, Any], dict[Any, tuple[float, float]]]] = {
    "gelu, RMS, two tokens": (
        {"activation": "gelu", "tokens": 2, "rows": Fraction(2), "norm": "rms"},
        {
            ("", 0): (33.813, 2.581),
            ("", 1): (11.300, 1.043),
            ("w2", 0): (1.741, 0.190),
            ("w1", 0): (1.882, 0.317),
        },
    ),
    "tanh, post-norm, two tokens": (
        {"activation": "tanh", "tokens": 2, "matrices": 1, "norm": "post", "c2": 1.5},
        {("", 0): (11.988, 2.374), ("", 1): (6.592, -0.133), ("w2", 0): (0.374, 0.383)},
    ),
}
"""Arguments, then (n_variance, n_shift) by group and application."""
MORE: dict[str, tuple[dict[str, Any], dict[Any, tuple[float, float]]]] = {
    "tanh, two blocks, looped twice": (
        {
            "activation": "tanh",
            "depth": 4,
            "rows": Fraction(1, 2),
            "norm": "rms",
            "slots": [0, 1, 0, 1],
            "c2": 1.5,
        },
        {
            ("", 0): (128.3, 3.654),
            ("", 1): (30.63, 1.080),
            ("w2", 0): (5.571, -0.109),
            ("w1", 0): (152.1, 0.640),
        },
    ),
    "tanh, one matrix": (
        {"activation": "tanh", "matrices": 1, "c2": 1.5},
        {("", 0): (26.618, -0.006), ("", 1): (11.438, 0.116), ("w2", 0): (0.450, -0.043)},
    ),
    "the same, tied": (
        {"activation": "tanh", "matrices": 1, "c2": 1.5, "slots": TIED},
        {("", 0): (142.805, 0.447), ("", 1): (23.505, -0.467), ("w2", 0): (15.747, -0.762)},
    ),
    "gelu, RMS, tied": (
        {"activation": "gelu", "rows": Fraction(2), "norm": "rms", "slots": TIED},
        {
            ("", 0): (174.7, 2.553),
            ("", 1): (21.14, 0.262),
            ("w2", 0): (21.19, -1.245),
            ("w1", 0): (25.30, -1.075),
        },
    ),
    "tanh, tied, feed-forward": (
        {
            "activation": "tanh",
            "matrices": 1,
            "c2": 1.5,
            "slots": TIED,
            "skip": 0.0,
            "strength": 1.0,
        },
        {("", 0): (3.671, 0.082), ("", 1): (4.978, 0.145), ("w2", 0): (2.577, -0.184)},
    ),
}


def judge(given: dict[str, Any], expected: dict[Any, tuple[float, float]]) -> bool:
    rows = rows_of(network(**given))
    return all(agrees(rows[key], *numbers) for key, numbers in expected.items())


@pytest.mark.parametrize("name", apart(NETS, ["gelu, RMS, two tokens"]))
def test_networks_of_the_derivation(name: str):
    assert judge(*NETS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", MORE)
def test_more_networks_of_the_derivation(name: str):
    assert judge(*MORE[name])


def test_without_overlaps_the_shift_is_another(monkeypatch: pytest.MonkeyPatch):
    """The companion: scatter does not need them, the shift does. (The activation is one of its own,
    so that nobody else is given the program without them.)"""
    monkeypatch.setattr(
        overlaps, "_rest", lambda node, unit, asked, env: 0 * unit.rests[overlaps.Cotangent()]
    )
    given, expected = MORE["gelu, RMS, tied"]
    own = sp.Activation("gelu_once_more", lambda x: jax.nn.gelu(x, approximate=False))
    row = rows_of(network(**given | {"activation": own}))["", 0]
    variance, shift = expected["", 0]
    assert agrees(row, variance, row["n_shift"])
    assert not agrees(row, variance, shift)


def test_tied_linear():
    """W^T has W's law: the stem's gradient fluctuates as the last state does, whose closed form is
    in tests/theory/derivations/test_finite_width.py: s^2 = 0.735, three applications."""
    given = {"activation": "linear", "matrices": 1, "slots": TIED, "c2": 0.735 / 0.49}
    row = rows_of(network(**given), 4096)["", 0]
    assert row["value"] == pytest.approx(12.874090, abs=1e-6)
    assert agrees(row, 1318.020, 10.8927)
    assert abs(row["n_shift"] - 10.8927) < FAR * row["n_shift_error"]
    assert row["n_shift_error"] < 10.8927  # else the line above says nothing


@pytest.mark.long
def test_attention():
    """Two sub-blocks without a mask, two tokens, heads of four coordinates."""
    q, k = (sp.Linear(name, sp.Read(), 2.0) for name in "qk")
    heads = sp.Attend(q, k, sp.Linear("v", sp.Read(), 1.0), sp.Scores(head_dim=4))
    block = sp.SubBlock(
        sp.Normalise(sp.State()), sp.Linear("u", heads, 1.0), sp.State() + 1.0 * sp.Write()
    )
    gram = np.array([[1, 0.3], [0.3, 1]])
    slots = dict.fromkeys("qkvu", [0, 1])
    rows = rows_of(sp.Architecture("a", (block,), slots, {}, kinds=[0, 0], input_gram=gram), 2048)
    assert agrees(rows["", 0], 84.1, 5.6, slack=0.03)
    assert agrees(rows["", 1], 8.81, 1.46, slack=0.03)


def test_a_root_that_is_singular():
    """Rows that depend on those before are left out of the solution."""
    rng = np.random.default_rng(0)
    half = rng.standard_normal((4, 2))
    gram = jnp.asarray(half @ half.T)
    right = gram @ jnp.asarray(rng.standard_normal((4, 3)))
    solution = overlaps.solved(field.cholesky(gram), right)
    np.testing.assert_allclose(gram @ solution, right, atol=1e-9)
    assert np.count_nonzero(np.abs(solution).sum(axis=1)) == 2
