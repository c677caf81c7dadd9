"""Where laws hold and where none does: sizes of the width, read-outs over norms, rates per
application, refused networks and ladders."""

from __future__ import annotations

import math

import pytest
import sympy
from law_networks import TIED, UNTIED, found

import sigprop as sp
from sigprop.theory.exponents.ladder import end_to_end, logarithms
from sigprop.theory.exponents.laws import ALPHA
from sigprop.theory.recursion.program import Room


def test_sizes_of_the_width() -> None:
    """2304.02034's |g| column in n and M for every s, and what constant rates do to the output:
    SGD n^(1 - s), Adam n^(3/2 - s/2)."""
    arch = sp.architectures.transformer(tokens=2)
    s = sympy.Symbol("s", nonnegative=True)
    rows = {
        (row["quantity"], row["group"], row["variable"]): row
        for row in sp.exponents(arch, ["width", "mlp_ratio"])
    }
    for group in "qkvuwx":
        assert rows["gradient_entry", group, "width"]["exponent"] == str(
            -s / 2 - sympy.Rational(1, 2)
        )
    assert (
        rows["gradient_entry", "w", "mlp_ratio"]["leading"] == -0.5
        and rows["gradient_entry", "x", "mlp_ratio"]["leading"] == 0
    )
    assert rows["gradient_entry", "readout", "width"]["leading"] == 0
    # at s = 1: the read-out's own, n entries of order one
    assert rows["output_change_sgd", None, "width"]["leading"] == 1
    assert rows["output_change_adam", None, "width"]["leading"] == 1
    assert rows["output_change_adam", "q", "width"]["exponent"] == str(sympy.Rational(3, 2) - s / 2)


@pytest.mark.parametrize(
    ("scale", "expected"), [(0.25, 1.99), (0.5, 2.02), (1, 2.14), (2, 2.45), (4, 2.97)]
)
def test_tangent_kernel_over_lambda_squared(scale: float, expected: float) -> None:
    """Factors C of the matrices' own variances (entries of unit variance), hidden groups, L = 4,
    N = 8: lambda^-2 is the leading order only."""
    arch = TIED(depth=4, loops=8, residual_scale=f"{scale}/(N*sqrt(L))")
    rows = {row.get("group"): row["value"] for row in sp.predict(arch, quantities=["ntk"])}
    assert (
        arch.numbers["c_w"] * rows["w"] + arch.numbers["c_x"] * rows["x"]
    ) / scale**2 == pytest.approx(expected, abs=0.006)


def local(build, sizes: tuple[int, int], key=("residual_rms", None)) -> float:
    logs = [logarithms(build(n), Room(4 * sizes[1] + 4)) for n in sizes]
    return end_to_end(sizes, [one[key] for one in logs])


def test_a_normalised_read_out_divides_gradients() -> None:
    """tanh at alpha = 0: the stem's gradient loses the state's square, chi - 1; Adam's hidden
    change keeps 1/2; the read-out's own is flat."""

    def build(n):
        return sp.architectures.transformer(
            block="mlp",
            tokens=1,
            activation="tanh",
            residual_scale=1,
            norm_kind="rms",
            depth=n,
            final_norm=True,
        )

    seen = found(build(4), "depth")
    assert float(seen.laws["gradient"].exponent.subs(seen.at)) == pytest.approx(0.1778, abs=1e-4)
    assert local(build, (256, 512), ("gradient", None)) == pytest.approx(0.1778, abs=5e-3)
    assert seen.laws["adam"].exponent.subs(seen.at) == sympy.Rational(1, 2)
    rows = {
        (row["quantity"], row["group"]): row
        for row in sp.exponents(build(4), ["depth"], numbers=False)
    }
    assert rows["weight_gradient", "readout"]["kind"] == "bounded"


@pytest.mark.parametrize(
    "arch",
    [
        UNTIED(skip_scale=2.0),
        UNTIED(norm="none", skip_scale=0.9),
        UNTIED(norm="none", skip_scale=0.8, residual_scale=0.6, c_x=4),
        sp.architectures.transformer(
            block="mlp",
            gated=True,
            norm="none",
            activation="relu",
            tokens=1,
            residual_scale="1/sqrt(L)",
        ),
        UNTIED(residual_scale="L**0.5"),
        sp.architectures.nag(modulator="learned"),
    ],
)
def test_no_law_where_none_holds(arch) -> None:
    """Skips above 1, skips without norms, squares of the state, scales that grow with size,
    gains that are random numbers."""
    seen = found(arch, "depth")
    assert not seen.laws and seen.why[""].startswith("no law")


def test_read_out_of_a_stretched_state_doubles_the_rate() -> None:
    rows = {
        (row["quantity"], row["group"]): row
        for row in sp.exponents(
            UNTIED(norm="none", residual_scale="1/L**0.25"), ["depth"], numbers=False
        )
    }
    assert rows["residual_rms", None]["rate"] == "g/2"
    table = sp.exponents(
        UNTIED(norm="none", residual_scale="1/L**0.25"), ["depth"], sizes=(2, 4, 8)
    )
    row = table.filter(quantity="weight_gradient", group="readout")[0]
    assert (row["kind"], row["exponent"], row["rate"]) == ("stretched", "1 - 2*alpha", "g")
    assert table.laws["residual_rms", None, "depth"].exponent == 1 - 2 * ALPHA


@pytest.mark.parametrize(
    ("build", "variable", "sizes"),
    [
        (
            lambda n: sp.architectures.nag(
                block="transformer", alpha_0=0.5, alpha_exponent=0, depth=n, tokens=1
            ),
            "depth",
            (16, 32),
        ),
        (
            lambda n: sp.architectures.looped_nag(
                depth=4, loops=n, alpha_0=0.5, alpha_exponent=0, tokens=1
            ),
            "loops",
            (8, 16),
        ),
    ],
)
def test_rotation_rates_count_applications(build, variable: str, sizes: tuple[int, int]) -> None:
    seen = found(build(8), variable)
    law = seen.laws["residual_rms"]
    low, high = (logarithms(build(n), Room(100, 20))["residual_rms", None] for n in sizes)
    assert law.kind == "exponential" and (high - low) / (sizes[1] - sizes[0]) == pytest.approx(
        float(law.rate.subs(seen.at)), rel=1e-9
    )


def test_rotation_gain_that_falls_with_size() -> None:
    """alpha_0 = L^(-1/4): ln rho ~ L^(1/2)/2, whatever L is looked at."""

    def build(n):
        return sp.architectures.nag(alpha_0="1/L**0.25", alpha_exponent=0, depth=n, tokens=1)

    seen = found(build(16), "depth")
    law = seen.laws["residual_rms"]
    assert law.kind == "stretched" and float(law.rate.subs(seen.at)) == pytest.approx(0.5)
    low, high = (logarithms(build(n), Room(1030))["residual_rms", None] for n in (256, 1024))
    assert (high - low) / (32 - 16) == pytest.approx(0.5, rel=0.05)


def test_several_blocks_without_a_norm_have_no_closed_rate() -> None:
    law = found(TIED(norm="none", residual_scale=1, depth=4), "loops").laws["residual_rms"]
    assert law.kind == "exponential" and law.rate is None


@pytest.mark.parametrize("sizes", [(4,), (4, 4, 4), (8, 4, 2), (2.0, 4, 8)])
def test_ladders_are_checked(sizes: tuple) -> None:
    with pytest.raises(sp.InputError, match="three sizes or more"):
        sp.exponents(UNTIED(), sizes=sizes)


def test_ladders_beyond_memory_are_refused() -> None:
    with pytest.raises(sp.InputError, match="tied applications"):
        sp.exponents(TIED(), ["loops"], sizes=(2, 4, 60000))


def test_nothing_written() -> None:
    with pytest.raises(sp.InputError, match="residual_scale=0"):
        sp.exponents(UNTIED(residual_scale=0), numbers=False)


@pytest.mark.parametrize("alpha", ["0", "0.3", "0.8", "1.2"])
def test_laws_against_the_recursion(alpha: str) -> None:
    """Untied relu, local slopes between 512 and 1024 of every law, logarithms included: within
    0.06 (0.02 where there is none)."""

    def build(n):
        return UNTIED(residual_scale=f"1/L**({alpha})", depth=n)

    seen = found(build(8), "depth")
    sizes = (512, 1024)
    logs = [logarithms(build(n), Room(1030)) for n in sizes]
    for key, name in (
        (("residual_rms", None), "residual_rms"),
        (("update", None), "update"),
        (("gradient", None), "gradient"),
        (("weight_gradient", "x"), "weight_gradient"),
    ):
        law = seen.laws[name]
        log = (
            float(law.log_exponent.subs(seen.at))
            * (math.log(math.log(1024)) - math.log(math.log(512)))
            / math.log(2)
        )
        slope = end_to_end(sizes, [one[key] for one in logs])
        assert slope == pytest.approx(
            float(law.exponent.subs(seen.at)) + log, abs=0.06 if log else 0.04
        ), (name, slope)
