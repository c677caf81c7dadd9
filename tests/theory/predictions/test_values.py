"""Values that two independent programs computed and finite networks confirmed (docs/theory.md
and the papers' pages)."""

from __future__ import annotations

import math

import pytest

import sigprop as sp

A = sp.architectures


def value(arch, quantity, application=None, **keys):
    rows = sp.predict(arch, [quantity]).filter(**keys) if keys else sp.predict(arch, [quantity])
    return next(
        row["value"] for row in rows if application is None or row["application"] == application
    )


def last(arch):
    return value(arch, "residual_variance", arch.depth)


def test_unit_gain_pre_norm_relu():
    assert last(A.looped_mlp(depth=1, loops=8)) == pytest.approx(1.95090, abs=5e-6)
    assert last(A.looped_mlp(depth=2, loops=4)) == pytest.approx(1.95295, abs=5e-6)


@pytest.mark.parametrize(
    ("alpha", "variance", "gradient"),
    [(0, 3732.7, 6213), (0.5, 57.179, 63.99), (1, 1.9532, 0.5587)],
)
def test_tied_relu_by_residual_exponent(alpha: float, variance: float, gradient: float):
    arch = A.looped_mlp(depth=1, loops=64, matrices=1, c_w=2, residual_scale=64.0**-alpha)
    assert last(arch) == pytest.approx(variance, rel=2e-5)
    assert value(arch, "weight_gradient") == pytest.approx(gradient, rel=1e-4)


def test_one_application_has_the_plain_gradient():
    assert value(
        A.looped_mlp(depth=1, loops=1, matrices=1, c_w=2, residual_scale=1), "weight_gradient"
    ) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("blocks", [1, 12, 48])
def test_factored_scale_is_independent_of_loops_and_blocks(blocks: int):
    assert last(A.looped_mlp(depth=blocks, loops=1)) == pytest.approx(2, abs=1e-12)
    for loops in (2, 5, 16):
        # 1.949-1.964 at the three decimals in which the papers' page gives them
        assert 1.9485 <= last(A.looped_mlp(depth=blocks, loops=loops)) <= 1.9645


def test_linear_stack_without_norm():
    plain = {"activation": "linear", "matrices": 1, "norm": "none", "residual_scale": 32**-0.5}
    assert last(A.looped_mlp(depth=1, loops=32, **plain)) == pytest.approx(4687.5, rel=2e-6)
    assert last(A.residual_mlp(depth=32, **plain)) == pytest.approx((1 + 1 / 32) ** 32, rel=1e-12)
    assert pytest.approx(2.677, abs=5e-4) == (1 + 1 / 32) ** 32


@pytest.mark.parametrize(
    ("activation", "expected", "tolerance"),
    [("relu", 1, 1e-12), ("gelu", 1.3272, 5e-5), ("tanh", 1.9766, 5e-5)],
)
def test_post_norm_stem_gradient(activation: str, expected: float, tolerance: float):
    arch = A.residual_mlp(depth=8, norm="post", residual_scale=1, activation=activation)
    assert value(arch, "gradient_variance", 0) == pytest.approx(expected, abs=tolerance)


def test_post_norm_stem_gradient_tied():
    assert value(
        A.looped_mlp(depth=1, loops=8, norm="post", residual_scale=0.5), "gradient_variance", 0
    ) == pytest.approx(0.629, abs=5e-4)


@pytest.mark.parametrize("loops", [1, 4, 32])
def test_pre_norm_gradient_of_untied_relu(loops: int):
    """(D + 1)/(l + 1) at eps = 1."""
    arch = A.residual_mlp(depth=loops, residual_scale=1)
    for row in sp.predict(arch, ["gradient_variance"]):
        assert row["value"] == pytest.approx((loops + 1) / (row["application"] + 1), rel=1e-12)


def test_ten_thousand_applications_stay_finite():
    arch = A.residual_mlp(depth=10000, norm="none", residual_scale=1)
    table = sp.predict(
        arch, ["residual_variance", "gradient_variance", "state_cosine"], [0, 1, 9999, 10000]
    )
    rows = {(r["quantity"], r["application"], r.get("application_2")): r for r in table}
    assert rows["residual_variance", 10000, None]["value"] is None
    assert rows["residual_variance", 10000, None]["log_value"] == pytest.approx(
        10000 * math.log(2), rel=1e-12
    )
    assert rows["gradient_variance", 0, None]["log_value"] == pytest.approx(
        10000 * math.log(2), rel=1e-12
    )
    assert rows["state_cosine", 9999, 10000]["value"] == pytest.approx(2**-0.5, rel=1e-12)
