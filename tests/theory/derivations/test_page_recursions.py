"""The recursions of the papers, as the pages of our sources state them, against what ``derive``
gives: equal as sympy expressions."""

from __future__ import annotations

from typing import Any

import pytest
import sympy

import sigprop as sp

A = sp.architectures


def named(equation: Any) -> dict[str, Any]:
    """The symbols of an equation by name."""
    return {symbol.name: symbol for symbol in equation.atoms(sympy.Symbol)}


def expected(equation: Any, rhs: Any) -> None:
    assert sympy.simplify(equation.rhs - rhs) == 0, (equation.rhs, rhs)


@pytest.mark.parametrize("name", ["u_spa", "e_spa"])
def test_designed_attention_carries_kernels_as_a_sigma_a(name: str):
    """Sigma_{l+1} = c_u c_v (D Omega) Sigma_l (D Omega)^T, no skip (2302.10322, eqs 1, 7, 9)."""
    d = sp.derive(getattr(A, name)(depth=2, tokens=3))
    x = named(d["write"])
    t, s, a, b, tokens, c_u, c_v = (x[key] for key in ("t", "s", "a", "b", "T", "c_u", "c_v"))
    i, j = (
        symbol
        for symbol in sorted(d["write"].atoms(sympy.Symbol), key=str)
        if symbol.name in ("s_1", "s_2")
    )
    omega, factor, r, slot = (
        sympy.Function(f) for f in ("Omega", "attention_rescale", "R", "slot")
    )
    mixed = sympy.Sum(
        c_v * omega(a, t, i) * omega(b, s, j) * r(a, b, i, j),
        (i, 0, tokens - 1),
        (j, 0, tokens - 1),
    )
    expected(
        d["write"],
        sympy.KroneckerDelta(slot(a), slot(b)) * c_u * factor(a, t) * factor(b, s) * mixed,
    )
    assert d["read"].rhs == sympy.Function("G")(a, b, t, s)
    assert d["state"].rhs == sympy.Function("X")(a + 1, b, t, s) and d[
        "overlap"
    ].rhs == sympy.Function("Gamma")(a + 1, b + 1, t, s)
    assert d.mean_field is None


def test_vanilla_attention_averages_over_the_mask():
    """Uniform causal weights 1/(t+1): Gamma_ts = sum_{i<=t, j<=s} R_ij / ((t+1)(s+1))."""
    d = sp.derive(A.vanilla(depth=2, tokens=3))
    x = named(d["write"])
    value = (
        d["write"]
        .rhs.subs({x["T"]: 3, x["t"]: 1, x["s"]: 2, x["b"]: x["a"], x["c_u"]: 1, x["c_v"]: 1})
        .doit()
    )
    r = sympy.Function("R")
    assert (
        sympy.simplify(value - sum(r(x["a"], x["a"], i, j) for i in range(2) for j in range(3)) / 6)
        == 0
    )


@pytest.mark.parametrize("name", ["completep", "sandwich_transformer", "parallel_transformer"])
def test_pre_norm_neighbours_read_cosines(name: str):
    """R = G(a, b)/sqrt(G(a, a) G(b, b)), G' = G + eps X (with a normalised write: lambda G + eps
    X / sqrt(Gamma))."""
    given = {"depth": 2, "tokens": 1} | (
        {} if name == "parallel_transformer" else {"block": "mlp", "activation": "relu"}
    )
    d = sp.derive(getattr(A, name)(**given))
    a, b = (named(d["state"])[key] for key in "ab")
    g, x, gamma = (sympy.Function(f) for f in ("G", "X", "Gamma"))
    expected(d["read"], g(a, b) / (sympy.sqrt(g(a, a)) * sympy.sqrt(g(b, b))))
    eps = sympy.Symbol("residual_scale", positive=True)
    skip = sympy.Symbol("skip_scale", positive=True)
    scale, kept = (
        (eps / sympy.sqrt(gamma(a + 1, a + 1)), skip)
        if name == "sandwich_transformer"
        else (eps, 1)
    )
    expected(d["state"], kept * g(a, b) + scale * x(a + 1, b))


@pytest.mark.parametrize("name", ["deepnorm", "deeploop"])
def test_post_norm_neighbours(name: str):
    """h' = (lambda h + f)/rms: every overlap is divided by sqrt(lambda^2 G + 2 lambda eps X +
    eps^2 Gamma) (2203.00555; 2607.13491)."""
    d = sp.derive(getattr(A, name)(depth=2, tokens=1, block="mlp", activation="relu"))
    a, b = (named(d["state"])[key] for key in "ab")
    g, x, gamma = (sympy.Function(f) for f in ("G", "X", "Gamma"))
    eps, skip = (sympy.Symbol(f, positive=True) for f in ("residual_scale", "skip_scale"))
    norm = sympy.sqrt(
        skip**2 * g(a, a) + 2 * skip * eps * x(a + 1, a) + eps**2 * gamma(a + 1, a + 1)
    )
    expected(d["state"], (skip * g(a, b) + eps * x(a + 1, b)) / norm)
    expected(d["read"], g(a, b))


def test_deepscalelm_adds_variances():
    """h' = lambda h + beta f(norm h): G' = lambda G + beta X with lambda^2 + beta^2 = 1
    (2403.09635)."""
    arch = A.deepscalelm(depth=4, tokens=1, block="mlp", activation="relu")
    d = sp.derive(arch)
    a, b = (named(d["state"])[key] for key in "ab")
    eps, skip = (sympy.Symbol(f, positive=True) for f in ("residual_scale", "skip_scale"))
    expected(d["state"], skip * sympy.Function("G")(a, b) + eps * sympy.Function("X")(a + 1, b))
    assert float(arch.numbers["residual_scale"]) ** 2 + float(
        arch.numbers["skip_scale"]
    ) ** 2 == pytest.approx(1, rel=1e-12)


def test_value_skipinit_adds_the_identity_to_the_softmax():
    """A = alpha 1 + beta Omega: Gamma = c_u c_v (alpha^2 R + alpha beta (Omega R + R Omega^T) +
    beta^2 Omega R Omega^T), here with Omega = 1/T and tokens alike, where Omega R = R Omega^T =
    Omega R Omega^T = (R_tt + (T - 1) R_ts)/T (2302.10322)."""
    d = sp.derive(
        A.value_skipinit(depth=2, tokens=2, shape_beta=0.5, score_scale="zero_query", mask="none")
    )
    x = named(d["write|ts"])
    alpha, beta, tokens = x["shape_alpha"], x["shape_beta"], x["T"]
    r_tt, r_ts = (sympy.Function(f"R_{pair}")(x["a"], x["a"]) for pair in ("tt", "ts"))
    mean = (r_tt + (tokens - 1) * r_ts) / tokens
    for pair, r in (("tt", r_tt), ("ts", r_ts)):
        value = d[f"write|{pair}"].rhs.subs({x["b"]: x["a"], x["c_u"]: 1, x["c_v"]: 1})
        assert sympy.simplify(value - (alpha**2 * r + (2 * alpha * beta + beta**2) * mean)) == 0


def test_shaped_attention_takes_the_centre_off():
    """A = alpha 1 + beta Omega - gamma C (2311.01906): with one token of weight one, alpha +
    beta - gamma times the value."""
    d = sp.derive(A.shaped_attention(depth=2, tokens=1, shape_beta=0.5))
    x = named(d["write"])
    alpha, beta, gamma = (x[f"shape_{name}"] for name in ("alpha", "beta", "gamma"))
    value = (
        d["write"]
        .rhs.subs({x["b"]: x["a"], x["c_u"]: 1, x["c_v"]: 1})
        .replace(sympy.Function("attention_centre"), lambda *_: sympy.Integer(1))
    )
    assert (
        sympy.simplify(value / sympy.Function("R")(x["a"], x["a"]) - (alpha + beta - gamma) ** 2)
        == 0
    )
