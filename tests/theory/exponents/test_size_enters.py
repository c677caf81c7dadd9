"""How size enters is read once: every law is the limit of the recursion's own slopes, at parameters
that are not the defaults.

A limit is taken from a ladder n .. 16n of doublings: local slopes, less what the law's logarithm
adds there, extrapolated as a + b r^k (Aitken) from the last three and from the three before. Its
error is how far these are apart, and what a constant inside a logarithm leaves open; it must be
below 0.02, and the law must lie within it (and 10^-3). An exponent that is off by 1/2 fails (the
companion).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import sympy
from long_cases import apart
from sympy.core.function import AppliedUndef

import sigprop as sp
from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.language.expression import Dropout, Linear, Normalise, Read
from sigprop.language.formula import formula
from sigprop.language.nodes import Centre, Project, Truncate
from sigprop.language.scalar import Number
from sigprop.prescriptions.prescribe import prescribe_from
from sigprop.scaling.sizes import N
from sigprop.scaling.writes import Sizes
from sigprop.theory.exponents.ladder import logarithms
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW, Law
from sigprop.theory.exponents.laws_of import FamilyLaws, laws_of
from sigprop.theory.exponents.table import law_of, room_of, sized

A = sp.architectures
ENOUGH = 0.02
OPTIONS = {"s": 1, "decay": "papers", "parametrisation": "standard"}
ONE: dict[str, Any] = {"tokens": 1, "mlp_ratio": 2}


class Case(NamedTuple):
    """parameters that are not the defaults; variable; n, of the ladder n .. 16n."""

    name: str
    parameters: dict[str, Any]
    variable: str
    first: int


CASES = [
    Case("residual-mlp", {"residual_scale": 1, "c_x": "2/L"}, "depth", 64),
    Case(
        "residual-mlp",
        {"residual_scale": "2/l", "activation": "tanh", "c_b": 0.1, "norm_eps": 1e-3},
        "depth",
        64,
    ),
    Case(
        "residual-mlp", {"residual_scale": "1/sqrt(l)", "c_x": "3/L", "c_w": "1+1/L"}, "depth", 256
    ),
    Case(
        "looped-mlp",
        {"residual_scale": "1/N", "c_x": "1/l**2", "depth": 3, "loops": 2},
        "depth",
        64,
    ),
    Case(
        "looped-mlp",
        {"residual_scale": "2/(N*L)", "activation": "erf", "depth": 2, "c_b": 0.2},
        "loops",
        8,
    ),
    Case("looped-mlp", {"residual_scale": 1, "c_x": "1/N**3", "activation": "relu"}, "loops", 8),
    Case("transformer", {**ONE, "init": "gpt2"}, "depth", 64),
    Case(
        "transformer",
        {**ONE, "gated": True, "activation": "silu", "c_x": 2, "c_u": "1/L**2"},
        "depth",
        16,
    ),
    Case("transformer", {**ONE, "c_u": "0.5/l**2", "c_x": "2/L", "final_norm": True}, "depth", 64),
    Case(
        "looped-transformer",
        {**ONE, "depth": 2, "residual_scale": "1/sqrt(N)", "c_u": "1/N", "c_x": "2/N"},
        "loops",
        8,
    ),
    Case("completep", {**ONE, "c_v": "L"}, "depth", 64),
    Case(
        "parallel-transformer",
        {**ONE, "c_u": "1/l**2", "residual_scale": "1/sqrt(L)", "activation": "relu"},
        "depth",
        64,
    ),
    Case(
        "sandwich-transformer",
        {**ONE, "residual_scale": "1/l", "c_x": "1/L", "score_scale": "zero_query"},
        "depth",
        64,
    ),
    Case("nag", {**ONE, "alpha_0": 0.6, "modulator": 0.8, "activation": "tanh"}, "depth", 256),
    Case("looped-nag", {**ONE, "alpha_0": "2/(N*L)", "depth": 2}, "loops", 8),
    Case("deepscalelm", {**ONE, "activation": "relu", "c_g": 1.0}, "depth", 64),
]
NO_LAW = (
    "mlp",
    "deepnorm",
    "deeploop",
    "vanilla",
    "u-spa",
    "e-spa",
    "value-skipinit",
    "shaped-attention",
    "variable-width",
)


def built(case: Case) -> tuple[Architecture, FamilyLaws]:
    arch = entry(case.name).build(**case.parameters)
    assert arch.family is not None
    arch.family.checked("loops" in arch.parameters, arch)
    return arch, laws_of(arch, arch.family, case.variable)


SIZES = (1, 2, 4, 8, 16)


def ladder(arch: Architecture, case: Case) -> dict[Any, list[float]]:
    """ln of every quantity at n .. 16n, from one compiled program."""
    assert arch.family is not None
    members = [sized(arch, arch.family, case.variable, case.first * k) for k in SIZES]
    room = room_of(members)
    logs = [logarithms(member, room) for member in members]
    return {key: [one[key] for one in logs] for key in logs[0] if all(key in one for one in logs)}


def limit(logs: list[float], first: int, log_exponent: float) -> tuple[float, float]:
    """(the exponent, its error) from five sizes."""
    at = [math.log(math.log(first * k)) if log_exponent else 0.0 for k in SIZES]
    slopes = [
        (logs[k + 1] - logs[k] - log_exponent * (at[k + 1] - at[k])) / math.log(2) for k in range(4)
    ]
    early, late = aitken(*slopes[:3]), aitken(*slopes[1:])
    return late, abs(late - early) + abs(log_exponent) / math.log(16 * first) ** 2


def aitken(a: float, b: float, c: float) -> float:
    """The limit of a + b r^k through three terms, |r| at most 0.8; the last where they are
    alike."""
    if abs(c - b) < 1e-9 or abs(b - a) < 1e-9:
        return c
    r = min(max((c - b) / (b - a), -0.8), 0.8)
    return c + (c - b) * r / (1 - r)


LONG = {
    ("looped-transformer", "loops"),
    ("looped-mlp", "depth"),
    *((name, "depth") for name in ("sandwich-transformer", "parallel-transformer")),
    *((name, "depth") for name in ("deepscalelm", "completep")),
}


def is_long(case: Case) -> bool:
    """Of deep networks each is a program that takes half a minute: some every time."""
    return (case.name, case.variable) in LONG


def off(law: Law, found: FamilyLaws, logs: list[float], first: int) -> tuple[float, float]:
    """(the law's distance from the limit, the extrapolation's error)."""
    log = 0.0 if law.log_exponent is None else float(law.log_exponent.subs(found.at))
    value, error = limit(logs, first, log)
    return abs(value - float(law.exponent.subs(found.at))), error


@pytest.mark.parametrize(
    "case", apart(CASES, is_long), ids=lambda case: f"{case.name} {case.variable} {case.first}"
)
def test_laws_are_limits_of_slopes(case: Case) -> None:
    arch, found = built(case)
    rows = [
        (key, law, logs)
        for key, logs in ladder(arch, case).items()
        if (law := law_of(key, found, arch)) is not None
    ]
    judged = [
        (key, law, logs)
        for key, law, logs in rows
        if law.kind in (POWER_LAW, BOUNDED) and law.log_exponent is not None
    ]
    assert {key[0] for key, *_ in judged} >= {"residual_rms", "weight_gradient"} - (
        {"weight_gradient"} if "nag" in case.name else set()
    ), found.why
    for key, law, logs in judged:
        if key == ("ntk", None):  # the largest of its groups, which it reaches late
            groups = [
                one.exponent.subs(found.at)
                for (name, group), one, _ in rows
                if name == "ntk" and group is not None
            ]
            assert float(law.exponent.subs(found.at)) == pytest.approx(
                max(0.0, *map(float, groups))
            )
            continue
        distance, error = off(law, found, logs, case.first)
        assert error < ENOUGH, (key, error)
        assert distance <= error + 1e-3, (key, law, distance, error)
        wrong = Law(law.kind, law.exponent + sympy.Rational(1, 2), law.log_exponent)
        assert off(wrong, found, logs, case.first)[0] > 10 * (error + 1e-3), key  # the companion


@pytest.mark.parametrize("name", NO_LAW)
def test_no_law_is_said(name: str) -> None:
    arch = entry(name).build()
    assert arch.family is not None
    found = laws_of(arch, arch.family, "depth")
    assert not found.laws and found.why[""].startswith("no law: ")


def test_every_registered_network_is_here() -> None:
    assert {case.name for case in CASES} | set(NO_LAW) == set(entries())


def test_smallest_inputs() -> None:
    """init=gpt2 is bounded in depth, as predict's slopes say; c_x = 2/L at residual scale 1 is
    critical, and takes no second 1/sqrt(L)."""
    gpt2 = A.transformer(init="gpt2", words=(0, 1), mask="causal")
    assert gpt2.family is not None and gpt2.family.build(48, 1).numbers["c_u"] == pytest.approx(
        0.0032, rel=1e-12
    )
    rms = sp.exponents(gpt2, ["depth"], numbers=False).filter(quantity="residual_rms")[0]
    assert rms["kind"] == "bounded"
    assert [row["here"] for row in sp.critical(gpt2)] == ["1/2"] and [
        row["eps"] for row in sp.critical(gpt2)
    ] == ["1/2"]
    table = sp.exponents(A.residual_mlp(residual_scale=1, c_x="2/L"), ["depth"], sizes=(4, 8, 16))
    row = table.filter(quantity="residual_rms")[0]
    assert (row["leading"], row["kind"], row["limit"]) == (0.0, "bounded", 0.0) and abs(
        row["effective"]
    ) < 1e-9


def test_prescriptions_read_variances() -> None:
    """residual_scale = 1, c_x = 2/L, from L = 8 to 32: std of x falls by 1/2, the rate of w by
    1/2 and of x by 1/4."""
    table = sp.prescribe(
        "residual-mlp",
        base={"width": 64, "depth": 8},
        target={"width": 64, "depth": 32},
        residual_scale=1,
        c_x="2/L",
        optimizer="adam",
    )
    assert table.value("x", "init_std") == pytest.approx(0.5) and table.value(
        "w", "init_std"
    ) == pytest.approx(1)
    assert table.value("w", "learning_rate") == pytest.approx(0.5) and table.value(
        "x", "learning_rate"
    ) == pytest.approx(0.25)
    sides: dict[str, Any] = {
        "base": {"width": 256, "depth": 4},
        "target": {"width": 512, "depth": 16},
    }
    # an initialisation that the description has, and one that the base is said to have
    for optimizer in ("adamw", "sgd"):
        own = prescribe_from(
            "transformer",
            {"init": "gpt2", "words": (0, 1)},
            tuple(sides.values()),
            {},
            options={**OPTIONS, "optimizer": optimizer},
        )
        told = sp.prescribe("transformer", **sides, init="gpt2", words=(0, 1), optimizer=optimizer)
        ratios = [
            {(row["group"], row["setting"]): row["ratio"] for row in table} for table in (own, told)
        ]
        # positions are the description's alone
        both = {key for key in ratios[0] if key in ratios[1]}
        assert len(both) > 50 and {key: ratios[0][key] for key in both} == pytest.approx(
            {key: ratios[1][key] for key in both}
        )
        assert own.row("q", "init_std")["base"] == pytest.approx(0.02)


def test_numbers_that_differ_between_blocks_are_the_recursions() -> None:
    """residual_scale = 1/sqrt(l): no law, one rate for a group's matrices; of w the sum of l^-1/2
    over blocks, as the stream grows by the log of depth."""
    table = sp.prescribe(
        "residual-mlp",
        base={"width": 64, "depth": 4},
        target={"width": 64, "depth": 16},
        residual_scale="1/sqrt(l)",
    )
    row = table.row("w", "learning_rate")
    assert row["by"] == "recursion" and 0.3 < row["ratio"] < 0.6
    assert "differs between blocks" in str(table)


def test_what_begins_at_zero_has_rules_as_others_do() -> None:
    """Keys beside queries that are zero, and what stands below an output matrix that is: finite
    ratios, the ones of their neighbours."""
    sides: dict[str, Any] = {
        "base": {"width": 256, "depth": 4},
        "target": {"width": 512, "depth": 16},
    }
    for name, given in (
        ("transformer", {"score_scale": "zero_query"}),
        ("transformer", {"c_u": 0, "c_x": 0.0}),
        ("residual-mlp", {"c_x": 0}),
    ):
        table = sp.prescribe(name, **sides, **given, residual_scale="1/sqrt(L)")
        assert all(math.isfinite(row["ratio"]) and row["ratio"] > 0 for row in table)
        inner = {
            table.value(group, "learning_rate")
            for group in (("q", "k", "v") if name == "transformer" else ("w",))
        }
        assert len(inner) == 1


@pytest.mark.parametrize(
    ("arch", "says"),
    [
        (
            A.residual_mlp(c_w="1/L", activation="tanh"),
            r"tanh\(w r\) changes with L through its argument",
        ),
        (A.residual_mlp(residual_scale="1/sqrt(l+L)"), "place and size do not come apart"),
        (
            A.residual_mlp(residual_scale=(1.0, 0.5), depth=2),
            "residual_scale: 2 values at 4 blocks",
        ),
        (A.looped_mlp(residual_scale="1/a", loops=2), "a counts applications of several loops"),
        (A.looped_mlp(c_w=0), "nothing is written"),
        (A.transformer(c_q="1/L", words=(0, 1)), "changes with L through its argument"),
    ],
)
def test_what_no_power_describes_is_refused(arch: Architecture, says: str) -> None:
    with pytest.raises(sp.InputError, match=says):
        sp.exponents(arch, ["depth"], numbers=False)


INSIDE = Linear("w", Read(), Number("c_w"))
NODES = {
    "first": (Truncate(INSIDE, Number("f")), N**-1),
    "dropout": (Dropout("d", INSIDE, Number("f")), None),
    "norm": (Normalise(INSIDE, "rms", Number("f")), None),
    "mean taken off": (Centre(INSIDE), sympy.Integer(1)),
}


@pytest.mark.parametrize("name", NODES)
def test_every_number_of_a_node_is_read(name: str) -> None:
    """f = 1/N in a node that scales by it is a power; in one that does not, a function that is
    none; at f = 1/2 of no size, order one."""
    node, power = NODES[name]
    for text, expected in (("1/N", power), ("1/2", sympy.Integer(1))):
        read = Sizes({"c_w": formula("c_w", 2), "f": formula("f", text)}, 1, None, 1)
        above = dict(read.gradients(node, sympy.Integer(1)))["w"]
        for found in (read.square(node), above):
            assert found == expected if expected is not None else found.has(AppliedUndef)


def test_a_node_that_nobody_has_read_is_refused() -> None:
    read = Sizes({}, 1, None, 1)
    for ask in (read.square, lambda u: list(read.gradients(u, sympy.Integer(1)))):
        with pytest.raises(sp.InputError, match="how Project depends on size is not known"):
            ask(Project(Read(), Read()))
