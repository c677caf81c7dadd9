"""A number that is not there has a status that says why; what is beyond 1e300 keeps its
logarithm."""

from __future__ import annotations

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.cli import run
from sigprop.errors import InputError
from sigprop.language.activation import Activation
from sigprop.language.expression import Activate, Linear, Read, State, Write
from sigprop.language.scalar import Number

A = sp.architectures
FEW = ["residual_variance", "gradient_variance"]


def statuses(table: sp.Table) -> set[str]:
    return {row["status"] for row in table if row["value"] is None and row["log_value"] is None}


def plain(activation: Activation, depth: int = 3, c_w: float = 2.0) -> sp.Architecture:
    """W phi(h), written by hand."""
    block = sp.SubBlock(
        State(0), Linear("w", Activate(activation, Read()), Number("c_w", "C")), (Write(),)
    )
    return sp.Architecture("by hand", (block,), range(depth), numbers={"c_w": c_w})


@pytest.mark.parametrize(
    ("arch", "at"),
    [
        (A.looped_mlp(c_w=1e308), 1),
        (A.residual_mlp(depth=3, norm="none", activation="gelu", c_w=1e308), 1),
        (A.residual_mlp(depth=3, norm="post", c_w=1.0, skip_scale=1e200), 1),
        (A.transformer(depth=1, c_w=1e308), 2),
    ],
    ids=["looped", "residual", "post-norm", "transformer"],
)
def test_a_state_beyond_floats_diverges(arch: sp.Architecture, at: int):
    table = sp.predict(arch, ["residual_variance"])
    assert statuses(table) == {"diverged"}
    assert table.notes == {"remarks": [f"diverged at application {at}"]}
    lost = [row["application"] for row in table if row["status"] == "diverged"]
    assert min(lost) == at and f"diverged at application {at}" in str(table)


@pytest.mark.parametrize("skip", [1e100, 1e160, 1e200])
def test_skips_beyond_floats_have_logarithms(skip: float):
    """Each of N skips multiplies the variance by its square; there is nothing that diverges."""
    table = sp.predict(A.looped_mlp(depth=1, loops=4, skip_scale=skip), [*FEW, "weight_gradient"])
    assert table.notes is None and statuses(table) == set()
    assert table.filter(quantity="residual_variance", application=4)[0][
        "log_value"
    ] == pytest.approx(8 * math.log(skip), rel=1e-12)
    assert table.filter(quantity="gradient_variance", application=0)[0][
        "log_value"
    ] == pytest.approx(8 * math.log(skip), rel=1e-12)
    # the first update's gradient passes three skips, its read is normalised
    assert table.filter(group="x")[0]["log_value"] == pytest.approx(6 * math.log(skip), rel=2e-2)


def test_stacks_that_halve_keep_the_last_gradient():
    """Variances of 2^-1100 are beyond floats; the gradient at the last state is 1 and halves
    from there."""
    table = sp.predict(
        A.mlp(depth=1100, c_w=1), ["gradient_variance", "gradient_exponent"], [0, 1099, 1100]
    )
    assert [row["log_value"] for row in table][:3] == pytest.approx(
        [-1100 * math.log(2), -math.log(2), 0], abs=1e-9
    )
    assert table[3]["value"] == pytest.approx(-math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("activation", "shown"),
    [
        (Activation("bad", lambda x: x * jnp.nan), "activation bad returned NaN at x = "),
        (
            Activation("high", lambda x: jnp.where(x > 3, jnp.nan, x)),
            "activation high returned NaN at x = 3.",
        ),
        (
            Activation("pole", lambda x: jnp.where(x < -5, jnp.inf, x)),
            "activation pole returned inf at x = -5.",
        ),
        (
            Activation("root", lambda x: jnp.sqrt(jnp.abs(x) - x) * 0 + x),
            "the derivative of activation root returned NaN at x = ",
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_activations_that_return_no_number(activation: Activation, shown: str):
    table = sp.predict(plain(activation), FEW)
    assert statuses(table) == {"undefined"}
    (remark,) = table.notes["remarks"]  # type: ignore[index]
    assert remark.startswith(shown), remark


def test_zero_over_zero_is_undefined():
    table = sp.predict(A.looped_mlp(c_w=0))
    lost = {row["quantity"] for row in table if row["status"] == "undefined"}
    assert lost == {"write_cosine"} and "write_cosine is undefined" in table.notes["remarks"][0]  # type: ignore[index]


def test_what_has_values_says_nothing():
    """Companion: usual statuses, no remarks."""
    table = sp.predict(A.mlp(), FEW)
    assert table.notes is None and {row["status"] for row in table} == {"exact"}


def test_verify_and_exponents_refuse():
    with pytest.raises(InputError, match=r"no value: activation high returned NaN"):
        sp.verify(
            plain(Activation("high", lambda x: jnp.where(x > 3, jnp.nan, x))), width=32, samples=32
        )


@pytest.mark.parametrize("quantities", [[], (), "ntk"])
def test_empty_quantities_are_refused(quantities: object):
    with pytest.raises(InputError, match="accepted: None for all"):
        sp.predict(A.mlp(), quantities)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        (A.mlp(), "band_variance"),
        (A.mlp(), "token_covariance"),
        (A.residual_mlp(), "log_norm"),
        (A.transformer(), "cross_entropy"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_quantity_without_rows_is_refused(arch: sp.Architecture, name: str):
    for ask in (sp.predict, sp.verify, sp.measure):
        with pytest.raises(
            InputError,
            match=rf"quantity={name} has no row in {arch.name}; accepted: residual_variance",
        ):
            ask(arch, quantities=[name])


def test_empty_applications_are_refused():
    with pytest.raises(InputError, match="accepted: None for all"):
        sp.predict(A.mlp(), FEW, [])


def test_the_command_says_why(capfd: pytest.CaptureFixture[str]):
    asked = [
        "predict",
        "looped-mlp",
        "--set",
        "c_w=1e308",
        "--set",
        "loops=2",
        "--quantity",
        "residual_variance",
        "--json",
    ]
    assert run(asked) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert [row["status"] for row in document["rows"]] == ["exact", "diverged", "diverged"]
    assert (
        document["remarks"] == ["diverged at application 1"]
        and err == "diverged at application 1\n"
    )


def test_nothing_left_is_bad_input(capfd: pytest.CaptureFixture[str]):
    asked = [
        "predict",
        "looped-mlp",
        "--set",
        "c_w=1e308",
        "--set",
        "loops=2",
        "--quantity",
        "residual_variance",
        "--applications",
        "2",
    ]
    assert run(asked) == 2
    out, err = capfd.readouterr()
    assert (
        out == ""
        and err
        == "sigprop: looped-mlp has no value: diverged at application 1; accepted: parameters at "
        "which a value is finite\n"
    )


def test_values_are_finite_or_absent():
    for arch in (
        A.looped_mlp(c_w=1e308),
        A.looped_mlp(skip_scale=1e300),
        A.residual_mlp(depth=2, residual_scale=1e200),
    ):
        for row in sp.predict(arch):
            assert all(
                row[key] is None or np.isfinite(row[key]) for key in ("value", "log_value", "error")
            )
