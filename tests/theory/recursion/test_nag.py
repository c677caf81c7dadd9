"""Norm-agnostic residual networks: the paper's identities, values of two independent programs,
the field of a learned modulator."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy
from scipy.special import gammaln

import sigprop as sp
from sigprop.errors import InputError

A = sp.architectures


def value(arch, quantity, application, application_2=None, key="value"):
    at = [application] if application_2 is None else [application, application_2]
    return next(
        row[key] for row in sp.predict(arch, [quantity], at) if row["application"] == application
    )


@pytest.mark.parametrize(("p", "m"), [(0.5, 1.0), (0.5, 0.5), (0.25, 1.0), (0.75, 1.0)])
def test_norm_is_the_product_of_gains(p: float, m: float):
    arch = A.nag(depth=64, tokens=1, alpha_exponent=p, modulator=m)
    expected = 0.5 * sum(math.log1p((m * l**-p) ** 2) for l in range(1, 65))  # noqa: E741
    assert value(arch, "log_norm", 64) == pytest.approx(expected, rel=1e-12)
    if p == 0.5:
        assert expected == pytest.approx(
            0.5 * (gammaln(65 + m * m) - gammaln(65) - gammaln(1 + m * m)), rel=1e-12
        )
    assert value(arch, "state_cosine", 16, 64) == pytest.approx(
        math.exp(value(arch, "log_norm", 16) - expected), rel=1e-12
    )


@pytest.mark.parametrize(
    ("p", "m", "norm"), [(0.5, 1.0, 8.062), (0.5, 0.5, 1.769), (0.25, 1.0, 591.8)]
)
def test_norms_of_the_papers_page(p: float, m: float, norm: float):
    assert math.exp(
        value(A.nag(depth=64, tokens=1, alpha_exponent=p, modulator=m), "log_norm", 64)
    ) == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize(("m", "degrees"), [(1.0, 801.42), (0.5, 413.1)])
def test_cumulative_rotation(m: float, degrees: float):
    arch = A.nag(depth=64, tokens=1, modulator=m)
    assert value(arch, "rotation", 64) == pytest.approx(
        sum(math.degrees(math.atan(m * block**-0.5)) for block in range(1, 65)), rel=1e-12
    )
    assert value(arch, "rotation", 64) == pytest.approx(degrees, abs=0.05)


@pytest.mark.parametrize(
    ("activation", "expected"), [("relu", (1, 1, 1)), ("tanh", (1.9325, 1.2636, 1.1264))]
)
def test_scale_free_gradients(activation: str, expected: tuple[float, ...]):
    found = [
        row["value"]
        for row in sp.predict(
            A.nag(depth=64, tokens=1, activation=activation), ["gradient_variance"], [0, 16, 32, 64]
        )
    ]
    assert found[:3] == pytest.approx([x * found[3] for x in expected], abs=6e-5)


def test_tied_values():
    forgets = A.looped_nag(loops=8, tokens=1, alpha_0=1, alpha_exponent=0.5)
    assert value(forgets, "state_cosine", 4, 8) == pytest.approx(0.6425, abs=5e-5)
    assert value(forgets, "state_cosine", 0, 8) == pytest.approx(1.7e-6, abs=5e-8)
    remembers = A.looped_nag(loops=8, tokens=1)
    assert value(remembers, "state_cosine", 0, 8) == pytest.approx(0.5840, abs=5e-5)
    assert value(remembers, "state_cosine", 4, 8) == pytest.approx(0.8822, abs=5e-5)
    for activation, stem, middle in (("relu", 0.9189, 0.6475), ("tanh", 1.1261, 0.7091)):
        arch = A.looped_nag(loops=8, tokens=1, activation=activation)
        assert [value(arch, "gradient_variance", a) for a in (0, 4)] == pytest.approx(
            [stem, middle], abs=5e-5
        )


def test_memory_of_the_input_has_a_limit_at_gains_of_one_over_loops():
    found = [value(A.looped_nag(loops=n, tokens=1), "state_cosine", 0, n) for n in (64, 128)]
    assert 2 * found[1] - found[0] == pytest.approx(0.5811, abs=2e-4)


def test_untied_is_looped_once():
    untied, looped = (
        A.nag(depth=3, tokens=2),
        A.looped_nag(depth=3, loops=1, tokens=2, alpha_0=1, alpha_exponent=0.5),
    )
    assert [r["value"] for r in sp.predict(untied)] == [r["value"] for r in sp.predict(looped)]


def test_scale_of_the_input_is_in_the_norm_lane_alone():
    quantities = [
        "residual_variance",
        "token_covariance",
        "state_cosine",
        "log_norm",
        "gradient_variance",
    ]
    small, large = (
        sp.predict(A.nag(depth=3, input_gram=scale * np.array([[1, 0.3], [0.3, 2]])), quantities)
        for scale in (1.0, 1e6)
    )
    for one, other in zip(small, large, strict=True):
        shift = math.log(1e3) if one["quantity"] == "log_norm" else 0.0
        assert other["value"] == pytest.approx(one["value"] + shift, rel=1e-9, abs=1e-9)


def test_zero_output_matrices_leave_the_direction_alone():
    table = sp.predict(
        A.nag(depth=3, tokens=1, c_x=0), ["state_cosine", "log_norm", "gradient_variance"]
    )
    assert [row["value"] for row in table] == pytest.approx(
        [1.0] * 3 + [0.0] * 4 + [1.0] * 4, abs=1e-12
    )


def test_derived_recursion_is_the_papers():
    derivation = sp.derive(A.nag(depth=4, tokens=1))
    (a,), (m, alpha, s) = (
        sympy.symbols("a,", integer=True, nonnegative=True),
        (sympy.Symbol("modulator", positive=True), *map(sympy.Function, ("alpha", "s"))),
    )
    assert derivation["log_norm"] == sympy.Eq(
        s(a + 1), s(a) + sympy.log(sympy.sqrt(1 + alpha(a) ** 2 * m**2))
    )
    b = sympy.Symbol("b", integer=True, nonnegative=True)
    g, x, gamma = map(sympy.Function, ("G", "X", "Gamma"))
    perp = sympy.sqrt(gamma(a + 1, a + 1) - x(a + 1, a) ** 2)  # |f_perp|
    turned = (g(a, b) + alpha(a) * m * (x(a + 1, b) - x(a + 1, a) * g(a, b)) / perp) / sympy.sqrt(
        1 + alpha(a) ** 2 * m**2
    )
    assert sympy.simplify(derivation["state"].rhs - turned) == 0


def test_learned_modulator_of_one_direction():
    arch = A.nag(depth=8, tokens=1, modulator="learned", directions=1)
    assert value(arch, "state_cosine", 0, 8) == pytest.approx(0.7024, abs=5e-4)
    assert value(arch, "state_cosine", 0, 8, key="sd") == pytest.approx(0.073, abs=5e-4)
    assert value(arch, "gradient_variance", 0) == pytest.approx(1.10, abs=0.01)
    frozen = A.nag(depth=8, tokens=1, modulator=0.5)
    assert value(frozen, "state_cosine", 0, 8) == pytest.approx(0.7272, abs=5e-5)
    assert value(frozen, "gradient_variance", 0) == pytest.approx(1.0, abs=1e-12)


def test_derived_way_back_through_a_modulator():
    derivation = sp.derive(A.nag(depth=4, tokens=1, modulator="learned"))
    a = sympy.Symbol("a", integer=True, nonnegative=True)
    alpha, m, mu, h, y = map(sympy.Function, ("alpha", "m", "mu", "H", "Y"))
    own = derivation["backward_write"].rhs.coeff(mu(a))
    b = sympy.Symbol("b", integer=True, nonnegative=True)
    assert (
        sympy.simplify(
            own / (sympy.KroneckerDelta(a, b) * h(a + 1, a + 1))
            - alpha(a) ** 2 / (1 + alpha(a) ** 2 * m(a) ** 2) ** 2
        )
        == 0
    )
    assert y(a, b) == derivation["backward_write"].lhs


@pytest.mark.parametrize(
    "arch",
    [A.looped_nag(modulator="learned"), A.nag(depth=1, block="attention", modulator="learned")],
    ids=lambda arch: arch.name,
)
def test_gradients_without_a_rule_are_refused(arch: sp.Architecture):
    with pytest.raises(InputError, match="modulator=learned: its own Jacobian has no rule"):
        sp.predict(arch, ["gradient_variance"])
    assert not any(
        row.startswith("gradient")
        for row in {r["quantity"] for r in sp.predict(arch, applications=[0, 1])}
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha_0": -1}, "alpha_0=-1.0: -1.0 at these sizes; accepted: a gain >= 0"),
        (
            {"mod_rate": 1, "modulator": "learned"},
            "mod_rate=1; accepted: a number from 0 to below 1",
        ),
        (
            {"mod_rate": 0.2},
            "mod_rate=0.2 at modulator=1: every token has the same; accepted: modulator=learned",
        ),
        ({"alpha_0": 0, "mod_rate": 0.2, "modulator": "learned"}, "alpha_0=0 with mod_by=gain"),
    ],
)
def test_bad_input(given: dict, message: str):
    with pytest.raises(InputError, match=message):
        A.nag(**given)


def test_logits_have_the_norm_as_inverse_temperature():
    """p = 1/2, m = 1: rho_L^2 = L + 1 times the input's second moment; the cross-entropy is that
    of such logits."""
    from sigprop.theory.predictions.logits import cross_entropy

    given = {"depth": 8, "tokens": 2, "input_gram": [[4.0, 1.0], [1.0, 1.0]], "vocabulary": 50}
    rows = sp.predict(A.nag(**given), ["logit_variance", "cross_entropy"])
    values = [row["value"] for row in rows]
    assert values[:2] == pytest.approx([36.0, 9.0], rel=1e-12)
    assert values[2:] == pytest.approx([cross_entropy(36.0, 50), cross_entropy(9.0, 50)], rel=1e-9)
