"""Signal-preserving attention: closed forms against factorisations, in symbols and in numbers;
what the networks' theory makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import sigprop as sp
from sigprop.blocks import spa
from sigprop.errors import InputError

A = sp.architectures
TOKENS = st.integers(1, 24)


@settings(deadline=None)
@given(st.floats(0.0, 0.99), TOKENS)
def test_uniform_factor_is_the_cholesky_factor(cosine: float, tokens: int):
    factor = spa.uniform_factor(cosine, tokens)
    np.testing.assert_allclose(factor @ factor.T, spa.uniform_kernel(cosine, tokens), atol=1e-13)
    assert (np.triu(factor, 1) == 0).all()


@settings(deadline=None)
@given(st.floats(0.01, 5.0), st.floats(0.01, 1.0), TOKENS)
def test_exponential_attention_is_that_of_cholesky_factors(
    before: float, share: float, tokens: int
):
    after = before * share
    found = spa.exponential_attention(before, after, tokens)
    old, new = (
        np.linalg.cholesky(spa.exponential_kernel(decay, tokens)) for decay in (before, after)
    )
    np.testing.assert_allclose(found, new @ np.linalg.inv(old), atol=1e-9)
    assert found.min() >= -1e-15


def test_exponential_attention_in_symbols():
    """A Sigma A^T = Sigma' at five tokens, for every r < r' < 1; entries are products of r' - r,
    r' - lambda r, lambda and powers of r'."""
    r, new = sympy.symbols("r r_new", positive=True)
    scale = sympy.sqrt((1 - new**2) / (1 - r**2))

    def entry(i: int, j: int) -> sympy.Expr:
        if i == 1 and j == 1:
            return sympy.Integer(1)
        if j == 1:
            return new ** (i - 2) * (new - scale * r)
        return (
            scale
            if i == j
            else scale * (new - r) * new ** (i - j - 1)
            if i > j
            else sympy.Integer(0)
        )

    a = sympy.Matrix(5, 5, lambda i, j: entry(i + 1, j + 1))

    def kernel(x):
        return sympy.Matrix(5, 5, lambda i, j: x ** abs(i - j))

    assert sympy.simplify(a * kernel(r) * a.T - kernel(new)) == sympy.zeros(5, 5)
    numbers = {r: sympy.Rational(3, 10), new: sympy.Rational(3, 5)}
    np.testing.assert_allclose(
        np.array(a.subs(numbers), dtype=float),
        spa.exponential_attention(-np.log(0.3), -np.log(0.6), 5),
        atol=1e-14,
    )


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("uniform", [0.0, 0.1, 0.5, 0.8]), ("exponential", [np.inf, 1.0, 0.2, 0.01])],
)
def test_kernels_are_carried_into_each_other(kind: str, numbers: list[float], causal: bool):
    kernel = spa.uniform_kernel if kind == "uniform" else spa.exponential_kernel
    matrices = spa.attention(kind, np.array(numbers), 16, causal)
    for a, before, after in zip(matrices, numbers, numbers[1:], strict=False):
        np.testing.assert_allclose(a @ kernel(before, 16) @ a.T, kernel(after, 16), atol=1e-9)
    bias, rows = spa.realised(matrices)
    weights = np.exp(bias - bias.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(
        rows[..., None] * weights / weights.sum(axis=-1, keepdims=True), matrices, atol=1e-12
    )


def test_uniform_row_sums_of_the_papers_page():
    rows = spa.attention("uniform", np.array([0.0, 0.1]), 64, True)[0].sum(axis=1)
    assert rows[[0, 1, 5, 63]] == pytest.approx([1, 1.095, 1.401, 2.928], abs=5e-4)


def test_kernels_that_would_need_negative_weights_are_refused():
    with pytest.raises(InputError, match="uniform kernels 0.2 .. 0.1: an attention weight of -0.1"):
        spa.attention("uniform", np.array([0.2, 0.1]), 8, True)
    with pytest.raises(InputError, match="rho_final=0.2 below initial_cosine=0.5"):
        A.u_spa(rho_final=0.2, initial_cosine=0.5)
    with pytest.raises(InputError, match="gamma_final=2 at initial_cosine=0.5"):
        A.e_spa(gamma_final=2, initial_cosine=0.5)


def off_diagonal(arch, application):
    table = sp.predict(arch, ["residual_variance", "token_covariance"], [application])
    size = {row["token"]: row["value"] for row in table if "token_2" not in row}
    return {
        (r["token"], r["token_2"]): r["value"] / np.sqrt(size[r["token"]] * size[r["token_2"]])
        for r in table
        if "token_2" in r
    }, size


def test_vanilla_attention_collapses():
    arch = A.vanilla(depth=12, tokens=128)
    found = [np.mean(list(off_diagonal(arch, at)[0].values())) for at in (1, 4, 12)]
    assert found == pytest.approx([0.6688, 0.9746, 1.0000], abs=5e-5)


@pytest.mark.parametrize("mask", ["causal", "none"])
def test_designed_networks_have_their_kernels(mask: str):
    cosines, sizes = off_diagonal(A.u_spa(depth=4, tokens=6, mask=mask), 3)
    assert list(cosines.values()) == pytest.approx([0.6] * 15, abs=1e-9) and list(
        sizes.values()
    ) == pytest.approx([1] * 6, abs=1e-9)
    cosines, sizes = off_diagonal(A.e_spa(depth=4, tokens=6, mask=mask, gamma_final=0.1), 4)
    assert all(
        value == pytest.approx(np.exp(-0.1 * (s - t)), abs=1e-9)
        for (t, s), value in cosines.items()
    )
    assert list(sizes.values()) == pytest.approx([1] * 6, abs=1e-9)


def test_decays_of_the_papers_page():
    from sigprop.architectures.e_spa import decays

    assert decays(36, 0.005, 0.0)[[1, 9, 18, 27, 36]] == pytest.approx(
        [1.0593, 0.1898, 0.0525, 0.0160, 0.0050], abs=5e-5
    )


def test_repeated_tokens_inflate_the_diagonal_unless_attention_is_designed_for_them():
    repeated = {"depth": 12, "tokens": 32, "token_cosine": 0.05}

    def last(arch):
        return sp.predict(arch, ["residual_variance"], [arch.depth])[-1]["value"]

    assert last(A.u_spa(**repeated)) > 1.2
    assert last(A.u_spa(**repeated, initial_cosine=0.05)) == pytest.approx(1, abs=1e-9)
