"""Critical scalings: the page's table row by row, the exact recursion at and off them, bad
input."""

from __future__ import annotations

from fractions import Fraction

import pytest
import sympy

import sigprop as sp
from sigprop import SlotClass
from sigprop.theory.exponents.critical_powers import CRITERIA, critical_powers, powers_at

F = Fraction
PATTERNS = {
    "untied": ([("N", "1")], False),
    "tied": ([("1", "N")], False),
    "half tied": ([("N/2", "1"), ("1", "N/2")], False),
    "half tied, per class": ([("1", "N/2"), ("N/2", "1")], True),
    "pairs": ([("N/2", "2")], False),
    "sqrt": ([("sqrt(N)", "sqrt(N)")], False),
}
TABLE = [  # variance: a; + adam: x; + sgd: x; own + adam: (a, x); all three
    ("untied", F(1, 2), F(1, 2), 0, (1, 0), None),
    ("tied", 1, 0, 0, (1, 0), (1, 0)),
    ("half tied", 1, 0, 0, (1, 0), (1, 0)),
    ("half tied, per class", (1, F(1, 2)), (0, F(1, 2)), (0, 0), ((1, 1), (0, 0)), None),
    ("pairs", F(1, 2), F(1, 2), 0, (1, 0), None),
    ("sqrt", F(3, 4), F(1, 4), 0, (1, 0), None),
]


def solve(pattern: str, *criteria: str):
    classes, per_class = PATTERNS[pattern]
    return critical_powers([SlotClass(*entry) for entry in classes], criteria, per_class=per_class)[
        "loops"
    ]


def values(powers: tuple, like: object) -> object:
    found = tuple(Fraction(int(p.p), int(p.q)) for p in powers)
    return found if isinstance(like, tuple) else found[0]


@pytest.mark.parametrize(
    ("pattern", "variance", "adam", "sgd", "own", "every"), TABLE, ids=[row[0] for row in TABLE]
)
def test_table_of_the_page(
    pattern: str, variance: object, adam: object, sgd: object, own: tuple, every: tuple | None
) -> None:
    assert values(solve(pattern, "variance").eps, variance) == variance
    assert values(solve(pattern, "variance", "adam").rate, adam) == adam
    assert values(solve(pattern, "variance", "sgd").rate, sgd) == sgd
    both = solve(pattern, "own_adam", "adam")
    assert (values(both.eps, own[0]), values(both.rate, own[1])) == own
    answer = solve(pattern, "variance", "own_adam", "adam")
    assert (answer.kind == "none") == (every is None)
    if every is not None:
        assert (values(answer.eps, every[0]), values(answer.rate, every[1])) == every


def test_looped_blocks() -> None:
    found = critical_powers([SlotClass("L", "N")], ["variance", "adam"])
    assert (found["loops"].eps, found["loops"].rate) == ((1,), (0,))
    assert (found["depth"].eps, found["depth"].rate) == (
        (sympy.Rational(1, 2),),
        (sympy.Rational(1, 2),),
    )


def test_one_matrix_leaves_a_family_and_says_so() -> None:
    answer = critical_powers([SlotClass("S", "1")], ["own_adam", "adam"], matrices=1)["depth"]
    assert answer.kind == "family" and answer.because[0].startswith("own_adam: empty")
    table = sp.critical(sp.architectures.residual_mlp(matrices=1), ["own_adam", "adam"])
    assert "empty" in table[0]["because"]
    assert (
        sp.critical(sp.architectures.residual_mlp(matrices=2), ["own_adam", "adam"])[0]["eps"]
        == "1"
    )


def test_the_two_published_looped_rules_differ_by_what_they_keep() -> None:
    """eps = 1/(N sqrt L) keeps the variance, 1/(N L) Adam's change at a fixed rate; the other
    one's is off by L^(1/2) each."""
    half, whole = (
        powers_at(
            [SlotClass("L", "N")], {"depth": sympy.Rational(p, 2), "loops": sympy.Integer(1)}
        )["depth"]
        for p in (1, 2)
    )
    assert (half["variance"], half["adam"]) == (0, sympy.Rational(1, 2))
    assert (whole["variance"], whole["adam"]) == (-1, 0)


@pytest.mark.parametrize("power", ["3/4", "1", "1/2"])
def test_recursion_of_slots_used_sqrt_n_times(power: str) -> None:
    """Increments of the state's variance between N = 64 and 256 grow as N^(2 (3/4 - a))."""

    def increment(n: int) -> float:
        root = round(n**0.5)
        a = sp.architectures.looped_mlp(
            depth=root, loops=root, residual_scale=float(n) ** -float(Fraction(power))
        )
        rows = sp.predict(a, quantities=["residual_variance"], applications=[n])
        return rows[0]["value"] - 1

    import math

    slope = math.log(increment(256) / increment(64)) / math.log(4)
    assert slope == pytest.approx(2 * (0.75 - float(Fraction(power))), abs=0.03)


def test_rotations() -> None:
    table = sp.critical(sp.architectures.looped_nag(), ["norm_power", "memory"])
    assert [row["eps"] for row in table] == ["1/2", "1", "1/2"]
    with pytest.raises(sp.InputError, match="keeps no norm apart"):
        sp.critical(sp.architectures.residual_mlp(), ["norm_power"])


def test_bad_input() -> None:
    with pytest.raises(sp.InputError, match="did you mean 'variance'"):
        critical_powers([SlotClass("L", "1")], ["varianc"])
    with pytest.raises(sp.InputError, match="criteria: none"):
        critical_powers([SlotClass("L", "1")], [])
    with pytest.raises(sp.InputError, match="has no power of L"):
        critical_powers([SlotClass("2**L", "1")], ["variance"])
    assert all(criterion.help for criterion in CRITERIA.values())


@pytest.mark.parametrize(
    "arch", [sp.architectures.mlp(), sp.architectures.vanilla(), sp.architectures.deepnorm()]
)
def test_networks_without_eps_are_refused(arch) -> None:
    with pytest.raises(sp.InputError, match="no number multiplies"):
        sp.critical(arch)


def test_gains_that_fall_and_false_classes_are_refused() -> None:
    from dataclasses import replace

    with pytest.raises(sp.InputError, match="fall as l"):
        sp.critical(sp.architectures.nag(), "memory")
    arch = sp.architectures.looped_mlp()
    assert arch.family is not None
    with pytest.raises(sp.InputError, match="classes: "):
        sp.critical(
            replace(
                arch,
                input_gram=arch.stem_parts,
                family=sp.Family(arch.family.build, (SlotClass("S*N", "1"),)),
            )
        )
