"""Finite norm-agnostic networks: identities that hold in every one of them, and what a learned
modulator makes of their spread."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.monte_carlo import engine_for, sample

A = sp.architectures
ARCHITECTURES = {
    "untied": A.nag(depth=4, tokens=2),
    "looped": A.looped_nag(depth=2, loops=2, tokens=2, activation="tanh"),
    "learned": A.nag(depth=4, tokens=2, modulator="learned", directions=2, beta=2),
    "blocks": A.nag(depth=1, block="transformer", tokens=2, head_dim=4, mlp_ratio=1),
}


def networks(
    arch: sp.Architecture,
    quantities: list[str],
    applications: list[int] | None = None,
    engine: str = "auto",
    count: int = 16,
    width: int = 64,
):
    rows = select(arch, quantities, applications)
    return rows, sample(engine_for(engine, arch, rows, width, 1024), count, 0)


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_update_is_a_rotation_by_its_gain(name: str, engine: str):
    """<R_{l+1} - R_l, R_l> = 0 is cos(h_l, h_{l+1}) e^{s_{l+1} - s_l} = 1, and the gain is
    sqrt(1 + a_l^2)."""
    arch = ARCHITECTURES[name]
    every = list(range(arch.depth + 1))
    rows, found = networks(
        arch, ["state_cosine", "log_norm", "modulator", "residual_variance"], every, engine
    )
    at = {
        (row.quantity, row.application, row.application_2, row.token): found[:, i]
        for i, row in enumerate(rows)
    }
    for a in range(arch.depth):
        for t in range(arch.tokens):
            m = at.get(("modulator", a, None, t), arch.numbers.get("modulator"))
            gain = np.exp(at["log_norm", a + 1, None, t] - at["log_norm", a, None, t])
            np.testing.assert_allclose(at["residual_variance", a + 1, None, t], 1, rtol=2e-6)
            np.testing.assert_allclose(
                gain, np.sqrt(1 + (arch.numbers["alpha"][a] * m) ** 2), rtol=3e-6
            )
            np.testing.assert_allclose(at["state_cosine", a, a + 1, t] * gain, 1, rtol=3e-6)


def test_scaling_the_input_changes_the_norm_lane_alone():
    quantities = ["state_cosine", "token_covariance", "gradient_variance", "log_norm"]
    gram = np.array([[1, 0.3], [0.3, 2]])
    (rows, small), (_, large) = (
        networks(A.nag(depth=3, input_gram=scale * gram), quantities) for scale in (1.0, 1e6)
    )
    shift = np.array([np.log(1e3) if row.quantity == "log_norm" else 0.0 for row in rows])
    np.testing.assert_allclose(large, small + shift, rtol=2e-5, atol=2e-5)


def test_zero_output_matrices_are_legal():
    rows, found = networks(
        A.nag(depth=2, tokens=1, c_x=0), ["state_cosine", "log_norm", "gradient_variance"]
    )
    expected = np.array([0.0 if row.quantity == "log_norm" else 1.0 for row in rows])
    kept = np.array(
        [row.quantity == "state_cosine" or (row.quantity == "log_norm") for row in rows]
    )
    start = found[
        :, [i for i, row in enumerate(rows) if row.quantity == "log_norm" and row.application == 0]
    ]
    shown = found - np.where([row.quantity == "log_norm" for row in rows], start, 0.0)
    np.testing.assert_allclose(
        shown[:, kept], np.broadcast_to(expected[kept], shown[:, kept].shape), atol=1e-6
    )
    assert np.isfinite(found).all()


def test_engines_agree_in_law_with_a_learned_modulator():
    """Every row's distribution at n = 8: false-alarm rate 1e-5 a row."""
    arch = A.looped_nag(depth=1, loops=3, tokens=2, modulator="learned", directions=1, alpha_0=1)
    quantities = ["state_cosine", "modulator", "gradient_variance"]
    (rows, dense), (_, free) = (
        networks(arch, quantities, None, engine, 2000, 8) for engine in ("dense", "matrix-free")
    )
    for i, row in enumerate(rows):
        if dense[:, i].std() > 1e-5:
            assert stats.ks_2samp(dense[:, i], free[:, i]).pvalue > 1e-5, row


def test_mean_and_spread_of_a_learned_modulator():
    """At n = 512, where the 1/n term is below the error of 2,000 networks; five standard errors:
    false-alarm rate 1e-5 with these rows."""
    arch = A.looped_nag(depth=1, loops=4, tokens=2, modulator="learned", directions=1, alpha_0=0.7)
    predicted = sp.predict(arch, ["state_cosine"])
    frozen = sp.predict(
        A.looped_nag(depth=1, loops=4, tokens=2, modulator=0.5, alpha_0=0.7), ["state_cosine"]
    )
    _, found = networks(arch, ["state_cosine"], None, "auto", 2000, 512)
    mean, sd = found.mean(axis=0), found.std(axis=0)
    error = sd / 2000**0.5
    for i, row in enumerate(predicted):
        assert abs(mean[i] - row["value"]) < 5 * error[i] + row["error"] + 0.002, row
        assert sd[i] == pytest.approx(row["sd"], rel=0.1)
    # what a frozen modulator says is seen to be wrong
    assert any(abs(mean[i] - row["value"]) > 10 * error[i] for i, row in enumerate(frozen))


def test_logits_are_scaled_by_the_norm():
    """In every network: <o, o> e^(2 s), s the last log_norm and o the last state (unit),
    modulators learned."""
    arch = A.nag(depth=3, tokens=2, modulator="learned", directions=1)
    rows, found = networks(arch, ["logit_variance", "log_norm"], [3])
    values = {(row.quantity, row.token): found[:, i] for i, row in enumerate(rows)}
    for t in range(2):
        np.testing.assert_allclose(
            values["logit_variance", t], np.exp(2 * values["log_norm", t]), rtol=1e-5
        )
