"""Exponents: symbolic laws against the exact recursion, closed forms and the page's numbers;
free exponents replaced; what has none says why."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import sympy
from law_networks import TIED, UNTIED, found
from scipy import special

import sigprop as sp
from sigprop.theory.exponents.ladder import end_to_end, logarithms
from sigprop.theory.exponents.laws import ALPHA, CHI, GAMMA
from sigprop.theory.recursion.program import Room


def rms(q: float) -> float:
    return math.log(q) / 2


@pytest.mark.parametrize("alpha", ["0", "0.3", "1/2", "0.8", "1", "1.2"])
def test_states_behind_norms(alpha: str) -> None:
    """Untied N^Max(0, 1/2 - alpha), tied N^Max(0, 1 - alpha), as the same sympy expression for
    every alpha, printed as it is."""
    for arch, variable, critical in (
        (UNTIED(residual_scale=f"1/L**({alpha})"), "depth", sympy.Rational(1, 2)),
        (TIED(residual_scale=f"1/N**({alpha})"), "loops", 1),
    ):
        law = found(arch, variable).laws["residual_rms"]
        assert law.exponent == sympy.Max(0, critical - ALPHA)
        row = next(
            row
            for row in sp.exponents(arch, [variable], numbers=False)
            if row["quantity"] == "residual_rms"
        )
        assert row["exponent"] == str(law.exponent)
        assert row["leading"] == pytest.approx(
            max(0.0, float(critical) - float(sympy.Rational(alpha)))
        )
        assert row["kind"] == ("bounded" if row["leading"] == 0 else "power")


@pytest.mark.parametrize(("activation", "chi"), [("relu", 1.0), ("gelu", 1.0720), ("tanh", 1.1778)])
def test_untied_gradients(activation: str, chi: float) -> None:
    """Stem gradient chi (1 - 2 alpha): 1, 1.0720, 1.1778 at alpha = 0; the recursion's product
    (1 + chi/(1 + l)) has it between 512 and 1024."""
    laws = found(UNTIED(activation=activation, residual_scale=1), "depth")
    assert laws.laws["gradient"].exponent == CHI * sympy.Max(0, 1 - 2 * ALPHA)
    assert float(laws.laws["gradient"].exponent.subs(laws.at)) == pytest.approx(chi, abs=5e-5)
    room = Room(1030)
    logs = [
        logarithms(UNTIED(activation=activation, residual_scale=1, depth=n), room)
        for n in (512, 1024)
    ]
    assert end_to_end((512, 1024), [one["gradient", None] for one in logs]) == pytest.approx(
        chi, abs=2e-3
    )
    # prod (1 + l + chi)/(1 + l)
    exact = [
        special.loggamma(n + 1 + chi) - special.loggamma(n + 1) - special.loggamma(1 + chi)
        for n in (512, 1024)
    ]
    assert logs[1]["gradient", None] - logs[0]["gradient", None] == pytest.approx(
        exact[1] - exact[0], abs=1e-4
    )


@pytest.mark.parametrize(("alpha", "expected"), [("0", 2.2668), ("1/2", 1.1666), ("1", 0.0267)])
def test_effective_weight_gradients_of_one_matrix(alpha: str, expected: float) -> None:
    """ln(w_64/w_1)/ln 64 of the tied relu branch W phi(r), beside its limits 2, 1, 0 with one
    logarithm below alpha = 1."""
    logs = [
        logarithms(TIED(matrices=1, loops=n, residual_scale=f"1/N**({alpha})"), Room(70, 70))[
            "weight_gradient", "w"
        ]
        for n in (1, 64)
    ]
    assert end_to_end((1, 64), logs) == pytest.approx(expected, abs=5e-5)
    laws = found(TIED(matrices=1, residual_scale=f"1/N**({alpha})"), "loops")
    law = laws.laws["weight_gradient"]
    assert law.exponent.subs(laws.at) == 2 * (1 - sympy.Rational(alpha))
    assert law.log_exponent.subs(laws.at) == (0 if alpha == "1" else 1)


@pytest.mark.parametrize("alpha", ["0", "0.3"])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_tied_gradients_approach_two_gamma(activation: str, alpha: str) -> None:
    """The recursion's local exponent of the stem's gradient between N = 128 and 256 is within
    0.06 of 2 gamma (1 - alpha); its limit: the test below."""
    laws = found(TIED(activation=activation, residual_scale=f"1/N**({alpha})"), "loops")
    assert laws.laws["gradient"].exponent == 2 * GAMMA * sympy.Max(0, 1 - ALPHA)
    limit = float(laws.laws["gradient"].exponent.subs(laws.at))
    logs = [
        logarithms(
            TIED(activation=activation, loops=n, residual_scale=f"1/N**({alpha})"), Room(260, 260)
        )["gradient", None]
        for n in (128, 256)
    ]
    assert (logs[1] - logs[0]) / math.log(2) == pytest.approx(limit, abs=0.06)


@pytest.mark.parametrize(("activation", "expected"), [("tanh", 2.1255), ("gelu", 2.0465)])
def test_gamma_by_marching_on_a_logarithmic_grid(activation: str, expected: float) -> None:
    """Lambda(x, y) of d_x d_y Lambda = K'(c(x - y))/A Lambda, from 1 on both edges, marched in x
    = ln s, y = ln t to 60: its slope there is 2 gamma."""
    from sigprop.theory.exponents.branch_map import branch_map
    from sigprop.theory.exponents.tied_limit import _orbit, _plateau, tied_limit

    branch = branch_map(TIED(activation=activation), [1.0])
    kernel, slope, above = branch.smooth()
    amplitude, step, steps = tied_limit(branch).amplitude, 0.05, 1200

    def at(step: float, steps: int) -> float:
        apart = np.abs(np.arange(-steps, steps + 1)) * step
        theta = _orbit(
            above, amplitude, _plateau(kernel, above), np.maximum(np.arange(steps + 1) * step, 1e-6)
        )
        # by difference, from -steps on
        potential = (slope(theta) / amplitude)[np.round(apart / step).astype(int)]
        before, last, scale = np.ones(1), np.ones(2), 0.0  # the diagonals i + j = 0 and 1
        marks = []
        for d in range(2, 2 * steps + 1):
            i = np.arange(1, d)
            new = np.empty(d + 1)
            # the mean over a cell's corners, implicit in the new one
            u = step**2 / 4 * potential[steps + np.clip(2 * i - d, -steps, steps)]
            new[1:-1] = (last[1:] + last[:-1] - before + u * (last[1:] + last[:-1] + before)) / (
                1 - u
            )
            new[0] = new[-1] = math.exp(-scale)
            before, last = last, new
            if d % 2 == 0:
                marks.append(scale + math.log(new[d // 2]))
            if last.max() > 1e200:
                scale += math.log(1e200)
                before, last = before / 1e200, last / 1e200
        return (marks[-1] - marks[-1 - steps // 4]) / (steps // 4 * step)

    assert at(step, steps) == pytest.approx(expected, abs=4e-3)


@pytest.mark.parametrize(
    ("activation", "amplitude"), [("relu", 1.0), ("gelu", 0.9966), ("tanh", 0.9626)]
)
def test_amplitude(activation: str, amplitude: float) -> None:
    """R^2/(eps N)^2 at N = 256 is below A and rising to it; A itself from the laws' limit."""
    assert found(
        TIED(activation=activation, residual_scale=1), "loops"
    ).limit.amplitude == pytest.approx(amplitude, abs=5e-5)  # type: ignore[union-attr]
    ratios = [
        math.exp(
            2
            * logarithms(TIED(activation=activation, loops=n, residual_scale=1), Room(260, 260))[
                "residual_rms", None
            ]
        )
        / n**2
        for n in (64, 256)
    ]
    assert ratios[0] < ratios[1] < amplitude
    assert ratios[1] > 0.85 * amplitude


def test_multiplied_states() -> None:
    """Tied relu without a norm: ln R^2 ~ 2 sqrt(g) N^(1 - alpha); at alpha = 0 2 ln(1 + sqrt g)
    a loop, g = 1/2: 1.0696; untied ln(1 + g)."""
    half = {"norm": "none", "matrices": 1, "c_w": 1.0}  # g = sigma^2/2
    laws = found(TIED(residual_scale=1, **half), "loops")
    law = laws.laws["residual_rms"]
    assert law.kind == "exponential" and float(2 * law.rate.subs(laws.at)) == pytest.approx(
        1.0696, abs=5e-5
    )
    logs = [
        logarithms(TIED(residual_scale=1, loops=n, **half), Room(140, 140))["residual_rms", None]
        for n in (64, 128)
    ]
    assert 2 * (logs[1] - logs[0]) / 64 == pytest.approx(1.0696, abs=2e-3)
    laws = found(TIED(residual_scale="1/N**0.5", **half), "loops")
    law = laws.laws["residual_rms"]
    assert law.kind == "stretched" and law.exponent == 1 - ALPHA
    logs = [
        logarithms(TIED(residual_scale="1/N**0.5", loops=n, **half), Room(260, 260))[
            "residual_rms", None
        ]
        for n in (128, 256)
    ]
    slope = (logs[1] - logs[0]) / (256**0.5 - 128**0.5)
    assert slope == pytest.approx(float(law.rate.subs(laws.at)), rel=0.03)
    laws = found(UNTIED(residual_scale=1, **half), "depth")
    logs = [
        logarithms(UNTIED(residual_scale=1, depth=n, **half))["residual_rms", None]
        for n in (16, 32)
    ]
    assert (logs[1] - logs[0]) / 16 == pytest.approx(
        float(laws.laws["residual_rms"].rate.subs(laws.at)), rel=1e-9
    )


@pytest.mark.parametrize("gain", [1.0, 0.6])
def test_rotations(gain: float) -> None:
    """rho_L ~ L^(alpha_0^2 m^2/2) at p = 1/2: rho_L^2 = Gamma(L + 1 + m^2)/(Gamma(L + 1) Gamma(1
    + m^2)); stretched below, bounded above."""
    arch = sp.architectures.nag(alpha_0=gain, modulator=0.8)
    laws = found(arch, "depth")
    exponent = float(laws.laws["residual_rms"].exponent.subs(laws.at))
    assert exponent == pytest.approx((0.8 * gain) ** 2 / 2)
    logs = [
        logarithms(sp.architectures.nag(alpha_0=gain, modulator=0.8, depth=n, tokens=1))[
            "residual_rms", None
        ]
        for n in (8, 64)
    ]
    square = (0.8 * gain) ** 2
    exact = [
        (special.loggamma(n + 1 + square) - special.loggamma(n + 1) - special.loggamma(1 + square))
        / 2
        for n in (8, 64)
    ]
    assert logs == pytest.approx(exact, abs=1e-10)
    assert end_to_end((8, 64), logs) == pytest.approx(exponent, abs=0.03)
    assert (
        found(sp.architectures.nag(alpha_exponent=0.25), "depth").laws["residual_rms"].kind
        == "stretched"
    )
    assert (
        found(sp.architectures.nag(alpha_exponent=0.75), "depth").laws["residual_rms"].kind
        == "bounded"
    )
    assert (
        found(sp.architectures.nag(alpha_exponent=0), "depth").laws["residual_rms"].kind
        == "exponential"
    )


def test_damped_states() -> None:
    """lambda^2 + beta^2 = 1 stays at unit variance untied; tied with beta^2 = 2/D it grows as D
    in variance: 11, 46, 189 at D = 16, 64, 256."""
    assert found(sp.architectures.deepscalelm(), "depth").laws["residual_rms"].kind == "bounded"

    def tied(n):
        return TIED(loops=n, skip_scale="sqrt(1-2/N)", residual_scale="sqrt(2/N)")

    laws = found(tied(8), "loops")
    assert laws.laws["residual_rms"].exponent.subs(laws.at) == sympy.Rational(1, 2)
    values = [
        math.exp(2 * logarithms(tied(n), Room(260, 260))["residual_rms", None])
        for n in (16, 64, 256)
    ]
    assert values == pytest.approx([11, 46, 189], rel=0.05)


def test_one_adam_step_counts_applications() -> None:
    laws = found(UNTIED(residual_scale="1/L"), "depth")
    assert laws.laws["adam"].exponent == sympy.Max(0, 1 - ALPHA)


@pytest.mark.parametrize(
    ("arch", "why"),
    [
        (sp.architectures.vanilla(), "neither h [+] eps f nor a rotation"),
        (sp.architectures.looped_mlp(activation="tanh", norm="none"), "by no power"),
        (sp.architectures.transformer(), "several tokens"),
    ],
)
def test_what_has_no_law_says_why(arch, why: str) -> None:
    notes = dict(sp.exponents(arch, ["depth"], numbers=False).notes or {})
    assert re.search(why, notes["why"]["depth"])


def test_families_of_ones_own() -> None:
    """Half-tied slots, as a family; a bare table has none; classes that are not what is built
    are refused."""
    from dataclasses import replace

    def half(depth: int, loops: int):
        base = UNTIED(depth=depth, residual_scale=1)
        slots = [0 if a % 2 else 1 + a for a in range(depth)]
        return replace(base, slots=slots, family=None, parameters={})

    classes = (sp.SlotClass("L/2", "1"), sp.SlotClass("1", "L/2"))
    family = sp.Family(half, classes, {"residual_scale": 1})
    table = sp.exponents(half(8, 1), ["depth"], family=family, sizes=(4, 8, 16))
    row = table.filter(quantity="residual_rms", variable="depth")[0]
    assert row["exponent"] == "Max(0, 1 - alpha)" and row["effective"] > 0.6
    with pytest.raises(sp.InputError, match="numbers and no exponents"):
        sp.exponents(half(8, 1))
    with pytest.raises(sp.InputError, match="classes: "):
        sp.Family(half, (sp.SlotClass("L", "1"),)).checked(loops=False)
    with pytest.raises(sp.InputError, match="is not what is built"):
        sp.Family(half, classes, {"residual_scale": "1/L"}).checked(loops=False)
    with pytest.raises(sp.InputError, match="accepted: depth"):
        sp.exponents(UNTIED(), ["loops"])
