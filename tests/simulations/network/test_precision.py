"""Networks in float64: the float32 ones with their rounding removed, beyond 1e38, below 1e-7,
and jax as it was."""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

import sigprop as sp
from sigprop.cli import run
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.simulations.engines.monte_carlo import engine_for, sample

ENGINES = ("dense", "matrix-free")
A = sp.architectures
SMALL = {
    "looped": A.looped_mlp(
        depth=1, loops=3, activation="gelu", tokens=2, token_cosine=0.3, c_b=0.1
    ),
    "transformer": A.transformer(
        depth=1,
        mask="causal",
        head_dim=4,
        mlp_ratio=1,
        positions="rotary",
        softcap=2.0,
        dropout=0.1,
        words=(0, 1, 0),
        vocabulary=64,
    ),
    "skipping": A.nag(depth=2, tokens=2, modulator="learned", mod_rate=0.25, directions=4),
    "orthogonal": A.mlp(depth=2, weights="orthogonal", tokens=2, token_cosine=0.5),
    "bands": A.variable_width(
        depth=4, schedule=(32, 16, 8, 32), reference_width=16, tokens=2, mlp_ratio=1
    ),
}
STATES = ["residual_variance", "state_cosine"]


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("looped", "dense"),
        pytest.param("looped", "matrix-free", marks=pytest.mark.long),
        ("orthogonal", "dense"),
        ("orthogonal", "matrix-free"),
        ("transformer", "dense"),
        pytest.param("skipping", "matrix-free", marks=pytest.mark.long),
        pytest.param("bands", "dense", marks=pytest.mark.long),
    ],
)
def test_networks_of_both_precisions_are_the_same_ones(name: str, engine: str):
    """Row by row and network by network, to the rounding of float32; and not to that of float64,
    which would be float32 twice."""
    rows = select(
        SMALL[name],
        ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"],
    )
    single, double = (
        sample(engine_for(engine, SMALL[name], rows, 64, 1024, dtype=d), 4, 7)
        for d in ("float32", "float64")
    )
    assert np.allclose(double, single, rtol=2e-4, atol=1e-5)
    assert np.abs(double - single).max() > 1e-9 * np.abs(single).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stack_that_leaves_float32_goes_on_in_float64_as_theory_does(engine: str):
    """1e3 times a unit-gain branch an application: q_a = 1e6^a within 1e-6, and n q_a is beyond
    3.4e38 from a = 6 or 7 on."""
    arch = A.residual_mlp(depth=12, norm="none", residual_scale=1e3)
    given = {
        "width": 256,
        "samples": 64,
        "engine": engine,
        "quantities": ["residual_variance"],
        "applications": [3, 7, 12],
    }
    single, double = (sp.measure(arch, **given, dtype=dtype) for dtype in ("float32", "float64"))
    assert [row["value"] is None for row in single] == [False, True, True]
    told = (single.notes or {})["diverged"]
    assert (
        re.search(r"diverged at application [67] \(float32\)", told)
        and "or dtype=float64, which goes on to 1.8e308" in told
    )
    assert not double.notes and double[2]["value"] > 1e70
    for row, limit in zip(double, sp.predict(arch, ["residual_variance"], [3, 7, 12]), strict=True):
        # (1 + 5/n)^a of relu stacks, to within three times that
        bias = 15 * row["application"] / 256
        assert abs(row["value"] / limit["value"] - 1) < 5 * row["se"] / limit["value"] + bias


def test_beyond_float64_it_is_said_so():
    table = sp.measure(
        A.residual_mlp(depth=3, norm="none", residual_scale=1e80),
        width=16,
        samples=4,
        dtype="float64",
        quantities=STATES,
    )
    assert (
        "diverged at application 2 (float64)" in (table.notes or {})["diverged"]
        and "dtype=float64" not in (table.notes or {})["diverged"]
    )
    assert [row["value"] is None for row in table if row["quantity"] == "residual_variance"] == [
        False,
        False,
        True,
        True,
    ]


def test_what_layer_scale_adds_is_measured_in_float64_and_lost_in_float32():
    """24 branches times 1e-5: q_24 = 1 + 2.4e-9. In float64 the change of h has that variance to
    3 % (it is taken from both variances and the cosine), and the ratio of the variances of one
    network, which moves by 2e<h, f> of mean zero, says so within its error. In float32 single
    networks' ratios are off by twenty times as much."""
    arch = A.residual_mlp(depth=24, residual_scale=1e-5)
    rows = select(arch, ["residual_variance"], [0, 24]) + select(arch, ["state_cosine"], [0, 24])
    single, double = (
        sample(engine_for("dense", arch, rows, 64, 1024, dtype=d), 64, 0).T
        for d in ("float32", "float64")
    )
    added, rounded = (
        first + last - 2 * cosine * np.sqrt(first * last)
        for first, last, cosine in (double, single)
    )
    assert added.mean() == pytest.approx(2.4e-9, rel=0.03) and added.std(ddof=1) / 8 < 0.03 * 2.4e-9
    assert abs(rounded.mean() - 2.4e-9) > 2.4e-9
    ratio, moved = double[1] / double[0], single[1] / single[0]
    assert abs(ratio.mean() - 1 - 2.4e-9) < 3 * ratio.std(ddof=1) / 8
    assert (moved - ratio).std() > 20 * 2.4e-9


def test_jax_is_left_as_it_was_and_programs_are_not_confused():
    """One precision after the other, twice: the same numbers each time, and no configuration
    changed."""
    before = dict(jax.config.values)
    arch = SMALL["looped"]
    tables = [
        sp.measure(arch, width=32, samples=4, quantities=STATES, dtype=d)
        for d in ("float64", "float32", "float64", "float32")
    ]
    assert dict(jax.config.values) == before and not jax.config.jax_enable_x64
    values = [[row["value"] for row in table] for table in tables]
    assert values[0] == values[2] and values[1] == values[3] and values[0] != values[1]
    assert [table[0]["dtype"] for table in tables] == ["float64", "float32"] * 2
    rows = select(arch, STATES)
    double, single = (
        engine_for("dense", arch, rows, 32, 1024, dtype=d) for d in ("float64", "float32")
    )
    assert (
        double.static != single.static and double.bytes_per_network == 2 * single.bytes_per_network
    )
    assert sp.measure(arch, width=32, samples=4, quantities=STATES)[0]["dtype"] == "float32"


def test_the_command_takes_a_precision(capfd: pytest.CaptureFixture[str]):
    words = [
        "measure",
        "looped-mlp",
        "--set",
        "loops=2",
        "--width",
        "16",
        "--samples",
        "4",
        "--quantity",
        "residual_variance",
        "--dtype",
    ]
    assert run([*words, "float64"]) == 0
    assert "dtype=float64" in capfd.readouterr().out
    assert run([*words, "float16"]) == 2
    err = capfd.readouterr().err
    assert "float16" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("dtype", ["float16", "double", "", 64])
def test_another_precision_is_refused(dtype: object):
    for call in (sp.measure, sp.verify):
        with pytest.raises(InputError, match="dtype="):
            call(SMALL["looped"], dtype=dtype)
