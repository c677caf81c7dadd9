"""Closed forms of finite width: the equations are what one unit traced beside the recursion gives,
their first order is that of laws that hold at every width, they have the numbers of an own
derivation that was checked on explicit networks, and what has none is refused.

Of 16 comparisons with sampled units none fails but with probability 3e-3 (``skip_networks``).
"""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest
import sympy
from scipy.integrate import quad
from skip_networks import agrees, last, network

import sigprop as sp
from sigprop.errors import InputError
from sigprop.language.activations import find
from sigprop.theory.derivations.reading import A, D

ARCH = sp.architectures
ONE = {"norm": "none", "matrices": 1}
STEM = {"input_gram": [[1.5]]}
Numbers = tuple[float, float, float]


def numbers_of(arch: sp.Architecture) -> dict[sympy.Symbol, float]:
    """The description's numbers, q_0 and D."""
    named = {name: table[0] for name, table in arch.number_tables.items()} | {
        "q_0": arch.input_gram[0, 0]
    }
    given = {sympy.Symbol(name, positive=True): value for name, value in named.items()}
    return given | {D: arch.depth}


def number(expression: sympy.Expr, given: Any) -> float:
    """An expression as a number: integrals by quadrature, sums term by term."""
    value = expression.subs(given).replace(sympy.Integral, integral)
    return float(value.doit())


def integral(value: sympy.Expr, limits: Any) -> sympy.Float:
    """An integral over the normal density, which is nothing beyond 14."""
    f = sympy.lambdify(limits[0], value, "scipy")
    return sympy.Float(quad(f, -14, 14, epsabs=1e-13, epsrel=1e-12, limit=200)[0])


def solved(arch: sp.Architecture) -> Numbers:
    """q, n Var and n shift after D applications, recursions iterated."""
    derivation, given = sp.derive(arch, finite_width=True), numbers_of(arch)
    k, v, m = (sympy.Function(name) for name in "KVm")
    values = {k(0): arch.input_gram[0, 0], v(0): 0, m(0): 0}
    if any(equation.name == "kernel" for equation in derivation.equations):
        for a in range(arch.depth):
            rules = {"kernel": k, "scatter": v, "drift": m}
            step = {
                function(a + 1): number(derivation.expression(name).subs(A, a).subs(values), given)
                for name, function in rules.items()
            }
            values |= step
    names = ("residual_variance", "n_variance", "n_shift")
    q, variance, shift = (
        number(derivation.expression(name).subs(D, arch.depth).subs(values), given)
        for name in names
    )
    return q, variance, shift


OTHER: dict[str, Any] = {"skip": 0.8, "stem": 1.5, "strength": 0.9}
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "gelu behind RMSNorm": (
        "untied, two matrices behind RMSNorm",
        lambda **given: network("gelu", norm="rms", rows=Fraction(2), **given),
        OTHER | {"c1": 1.4, "c2": 1.3},
    ),
    "linear": (
        "untied, linear",
        lambda **given: network("linear", matrices=1, **given),
        OTHER | {"c2": 0.7},
    ),
    "linear, no skip": (
        "untied, linear",
        lambda **given: ARCH.mlp(activation="linear", depth=3, **given),
        STEM | {"c_w": 0.7},
    ),
    "relu": (
        "untied, relu",
        lambda **given: network("relu", matrices=1, **given),
        OTHER | {"c2": 1.3},
    ),
    "tied linear": (
        "tied, linear",
        lambda **given: network("linear", matrices=1, slots=[0] * 3, **given),
        OTHER | {"c2": 0.7},
    ),
    "tied linear, no skip": (
        "tied, linear",
        lambda **given: network("linear", matrices=1, slots=[0] * 3, skip=0.0, **given),
        {"stem": 1.5, "strength": 0.9},
    ),
    "feed-forward relu": (
        "feed-forward, relu",
        lambda **given: network("relu", matrices=1, skip=0.0, **given),
        {"stem": 1.5, "strength": 0.9},
    ),
    "feed-forward tanh": (
        "feed-forward, one input",
        lambda **given: ARCH.mlp(**{"depth": 3, "activation": "tanh", "c_w": 1.5} | given),
        STEM | {"c_w": 2.5, "c_b": 0.3},
    ),
}
"""The case, networks of it, other numbers than the first."""


@pytest.mark.parametrize("other", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_equations_are_the_numbers_of_a_traced_unit(name: str, other: bool):
    """The value to rounding, n_variance and n_shift within what sampled units leave open (and 1e-3,
    of a derivative by differences)."""
    case, build, numbers = CASES[name]
    arch = build(**numbers) if other else build()
    assert sp.derive(arch, finite_width=True).case == case
    row = last(arch, ["residual_variance"], 512)["residual_variance", 0, None]
    q, variance, shift = solved(arch)
    assert row["value"] == pytest.approx(q, rel=1e-8)
    assert agrees(row, variance, shift, slack=1e-3)


def test_another_network_is_told_from_it():
    """The companion: equations of tied networks for untied ones, of relu without skips for with."""
    untied, skips = (
        last(network(name, matrices=1), ["residual_variance"], 512)["residual_variance", 0, None]
        for name in ("linear", "relu")
    )
    tied = network("linear", matrices=1, slots=[0] * 3)
    assert not agrees(untied, *solved(tied)[1:])
    assert not agrees(skips, *solved(network("relu", matrices=1, skip=0.0))[1:])


REGISTERED: dict[str, Any] = {
    "untied, two matrices behind RMSNorm": lambda: ARCH.residual_mlp(activation="gelu"),
    "untied, linear": lambda: ARCH.residual_mlp(activation="linear", **ONE),
    "untied, relu": lambda: ARCH.residual_mlp(skip_scale=0.9, **ONE),
    "tied, linear": lambda: ARCH.looped_mlp(activation="linear", **ONE),
    "feed-forward, relu": ARCH.mlp,
    "feed-forward, one input": lambda: ARCH.mlp(activation="tanh", c_b=0.1),
}


@pytest.mark.parametrize("case", REGISTERED)
def test_registered_architectures_reach_every_case(case: str):
    assert sp.derive(REGISTERED[case](), finite_width=True).case == case


@pytest.mark.parametrize(
    ("depth", "variance", "shift"),
    [(1, 7.6007, 0), (2, 26.3737, 0.21856), (3, 83.9982, 0.93219)],
)
def test_relu_with_skips(depth: int, variance: float, shift: float):
    """kappa = 0.98, to the digits of the derivation."""
    arch = network("relu", matrices=1, depth=depth)
    assert solved(arch) == pytest.approx((1.49**depth, variance, shift), rel=1e-5, abs=5e-6)


@pytest.mark.parametrize(
    ("depth", "expected"), [(2, (4.480225, 108.8666, 1.4700)), (3, (12.874090, 1318.020, 10.8927))]
)
def test_tied_linear(depth: int, expected: Numbers):
    """kappa = 0.735, to the digits of the derivation, and as sums over pairings."""
    arch = network("linear", depth=depth, matrices=1, slots=[0] * depth, c2=1.5)
    found = solved(arch)
    assert found == pytest.approx(expected, rel=1e-6)
    s2, each = 0.735, range(depth + 1)
    ways = [comb(depth, j) for j in each]
    shift = 2 * sum(
        ways[j] * ways[k] * s2 ** ((j + k) // 2) * (k + 1) for j in each for k in range(j % 2, j, 2)
    )
    variance = 2 * sum(
        ways[i]
        * ways[j]
        * ways[k]
        * ways[i + j - k]
        * s2 ** (i + j)
        * (min(i, j, k, i + j - k) + 1)
        for i in each
        for j in each
        for k in each
        if 0 <= i + j - k <= depth
    )
    assert found[1:] == pytest.approx((variance, shift))


@pytest.mark.parametrize(("depth", "variance"), [(1, 4.554), (3, 11.745)])
def test_gelu_behind_a_norm(depth: int, variance: float):
    """r = 2, kappa = 0.41672, to the digits of the derivation."""
    arch = network("gelu", depth=depth, rows=Fraction(2), norm="rms")
    assert solved(arch) == pytest.approx((1 + 0.41672 * depth, variance, 0), rel=1e-4)


@pytest.mark.parametrize(
    ("depth", "variance", "shift"), [(1, 0.9190, 0), (2, 0.6140, -0.0622), (3, 0.4898, -0.1151)]
)
def test_one_input(depth: int, variance: float, shift: float):
    """tanh, C = 1.5: Roberts, Yaida and Hanin's recursion, to the digits of the derivation."""
    arch = ARCH.mlp(depth=depth, activation="tanh", c_w=1.5)
    assert solved(arch)[1:] == pytest.approx((variance, shift), abs=1.1e-4)


def test_one_input_at_relu_is_hanin_and_nica():
    """The recursion and the closed form are of one network, reached by different rules."""
    arch = ARCH.mlp(depth=3, c_w=1.3, **STEM)
    general = ARCH.mlp(depth=3, c_w=1.3, c_b=1e-12, **STEM)
    cases = [sp.derive(a, finite_width=True).case for a in (arch, general)]
    assert cases == ["feed-forward, relu", "feed-forward, one input"]
    assert solved(general) == pytest.approx(solved(arch), rel=1e-9, abs=1e-9)


N, RATIO, EXCESS = sympy.symbols("n r k", positive=True)
KAPPA, GROWTH = sympy.symbols("kappa x", positive=True)
LAWS: dict[str, tuple[Any, Any]] = {
    "feed-forward relu": (
        lambda depth: ARCH.mlp(depth=depth),
        lambda depth, _: (1 + 2 / N) * (1 + 5 / N) ** depth - 1,
    ),
    "linear": (
        lambda depth: ARCH.residual_mlp(depth=depth, activation="linear", **ONE),
        lambda depth, x: (1 + 2 / N) * (1 + 2 / N * (1 - 1 / x**2)) ** depth - 1,
    ),
}


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("name", LAWS)
def test_first_order_of_laws_at_every_width(name: str, depth: int):
    """n Var/q^2 as n grows, of E q^2 = q^2 (1 + 2/n) (...)^D: Hanin and Nica's exp(5 D/n) for
    relu."""
    build, law = LAWS[name]
    arch = build(depth)
    q, variance, shift = solved(arch)
    growth = sympy.nsimplify(q ** (1 / depth), rational=True)
    limit = sympy.limit(N * law(depth, growth), N, sympy.oo)
    assert variance / q**2 == pytest.approx(float(limit)) and shift == 0


def test_expressions_hold_parameters_and_depth_alone():
    """No name of another equation is left, and what is asked for stands in them as symbols."""
    arch = ARCH.residual_mlp(**ONE)
    shift = sp.derive(arch, finite_width=True).expression("n_shift")
    assert {str(symbol) for symbol in shift.free_symbols} == {"D", "c_w", "q_0", "residual_scale"}
    assert not shift.atoms(sympy.core.function.AppliedUndef)


@pytest.mark.parametrize("name", ["gelu", "gelu-tanh", "silu", "leaky-relu", "leaky-relu(0.2)"])
def test_activations_are_written_as_they_are(name: str):
    """The formula that stands in the equations is the function that networks apply."""
    equation = sp.derive(ARCH.mlp(activation=name), finite_width=True)["activation"]
    (u,) = equation.lhs.args
    x = np.linspace(-3, 3, 41)
    written = sympy.lambdify(u, equation.rhs, "scipy")(x)
    np.testing.assert_allclose(written, np.asarray(find(name).function(x)), atol=1e-6)


def test_an_activation_of_ones_own_is_phi():
    """Its name may be that of another function in the equations."""
    arch = ARCH.mlp(activation=sp.Activation("F", abs))
    rhs = sp.derive(arch, finite_width=True)["M_2"].rhs
    assert {f.func.__name__ for f in rhs.atoms(sympy.core.function.AppliedUndef)} == {"p", "phi"}


def test_json_has_the_case_and_latex_the_symbols():
    derivation = sp.derive(ARCH.mlp(), finite_width=True)
    document = derivation.to_dict()
    assert document["case"] == "feed-forward, relu" and document["closed_form"] is None
    assert "nVar" in derivation.to_latex() and "C_W" in derivation.to_latex()
    assert "case" not in sp.derive(ARCH.mlp()).to_dict()


def branch(expression: sp.Vector) -> sp.Architecture:
    """One application of a branch behind RMSNorm."""
    block = sp.SubBlock(sp.Normalise(sp.State()), expression, sp.State() + sp.Write())
    return sp.Architecture("net", (block,), [0])


REFUSED: dict[str, tuple[Any, str]] = {
    "tied relu": (lambda: network("relu", matrices=1, slots=[0] * 3), "tied matrices"),
    "tied behind a norm": (ARCH.looped_mlp, "two tied matrices"),
    "two tokens": (lambda: network("linear", matrices=1, tokens=2), "tokens=2"),
    "some share": (
        lambda: ARCH.looped_mlp(depth=2, loops=2, activation="linear", **ONE),
        "some applications share",
    ),
    "tanh with a skip": (lambda: network("tanh", matrices=1), "another activation than relu"),
    "one matrix behind a norm": (
        lambda: network("linear", matrices=1, norm="rms"),
        "one matrix behind a norm",
    ),
    "LayerNorm": (lambda: network("gelu", norm="layer"), "LayerNorm"),
    "epsilon": (lambda: ARCH.residual_mlp(norm_eps=1e-5), "epsilon"),
    "post-norm": (lambda: network("gelu", norm="post"), "a rule with a norm"),
    "two matrices, no norm": (lambda: network("relu"), "two matrices without a norm"),
    "two matrices, no skip": (lambda: network("relu", norm="rms", skip=0.0), "without a skip"),
    "biases": (lambda: ARCH.residual_mlp(c_b=0.1), "biases"),
    "orthogonal": (lambda: ARCH.mlp(weights="orthogonal"), "orthogonal"),
    "by application": (
        lambda: ARCH.residual_mlp(residual_scale="1/l", activation="linear", **ONE),
        "differ between applications",
    ),
    "a turned sign": (lambda: network("relu", matrices=1, skip=-1.0), "turns the sign"),
    "attention": (lambda: ARCH.transformer(tokens=1), "several kinds"),
    "nothing written": (lambda: ARCH.residual_mlp(c_w=0.0, **ONE), "writes nothing"),
    "three matrices": (
        lambda: branch(sp.Linear("c", sp.Linear("b", sp.Linear("a", sp.Read(), 1), 1), 1)),
        "the branch c",
    ),
    "a gated branch": (
        lambda: branch(sp.Linear("b", sp.Product(sp.Linear("a", sp.Read(), 1), sp.Read()), 1)),
        "the branch b",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str):
    build, text = REFUSED[name]
    with pytest.raises(InputError, match=text) as error:
        sp.derive(build(), finite_width=True)
    message = str(error.value)
    assert message.startswith("finite_width: ") and "accepted: " in message
    assert "\n" not in message
