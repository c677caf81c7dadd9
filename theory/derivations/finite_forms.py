"""Closed forms of n Var and n (mean - q) of the residual variance q(D), to first order in 1/n, and
of one recursion.

h_{a+1} = lambda h_a + eps f_a, D applications, h_0 Gaussian of variance q_0, one token. Each form
is a list of equations: q(D), nVar(D), nShift(D), and before them what they are written in. Derived;
exact laws and pairings of which these are the first order: tests/theory/derivations. Hanin and Nica
1812.05994 (relu without skips: exp(5 D/n)); Roberts, Yaida and Hanin 2106.10165 (one input).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import sympy

from sigprop.language.activation import Activation
from sigprop.language.activations import ACTIVATIONS, LeakyRelu
from sigprop.theory.derivations.reading import A, D, Named

KAPPA, GROWTH, K_PHI, Q_0 = sympy.symbols("kappa x k_phi q_0", positive=True)
"""Variance of a write over that of the state (behind a norm: of a write); q(a + 1)/q(a);
E phi^4/(E phi^2)^2 - 1; <h_0, h_0>."""
RHO, K = sympy.Symbol("rho"), sympy.Symbol("K", positive=True)
Z, U = sympy.symbols("z u", real=True)
NORMAL = sympy.exp(-(Z**2) / 2) / sympy.sqrt(2 * sympy.pi)
LAG, P, J, M = sympy.symbols("l i j m", integer=True, nonnegative=True)
q, n_var, n_shift, density = (sympy.Function(name) for name in ("q", "nVar", "nShift", "p"))


class Layers(NamedTuple):
    """One kind of sub-block in symbols: h <- kept h + added f, f = W phi(r) of ``variance``, or of
    two matrices W phi(W1 r), W1 of variance ``inner`` and ``ratio`` n rows. normed: r = h/rms(h);
    bias: variance of all biases."""

    activation: Activation
    matrices: int
    normed: bool
    kept: Any
    added: Any
    variance: Any
    inner: Any
    ratio: Any
    bias: Any


def untied_behind_a_norm(given: Layers) -> Iterator[Named]:
    """W2 phi(W1 h/rms(h)): given the writes' variances the state is Gaussian, and these are
    independent of each other, so the mean is exact and depth does not amplify."""
    square, fourth = sympy.symbols("M_2 M_4", positive=True)
    yield from _function(given.activation)
    for moment, power in ((square, 2), (fourth, 4)):
        yield moment.name, sympy.Eq(moment, expectation(given.activation, power, given.inner))
    yield "kappa", sympy.Eq(KAPPA, given.variance * given.added**2 * square)
    yield "k_phi", sympy.Eq(K_PHI, fourth / square**2 - 1)
    grown, squares = (_powers(given.kept ** (2 * power)) for power in (1, 2))
    yield "residual_variance", sympy.Eq(q(D), given.kept ** (2 * D) * Q_0 + KAPPA * grown)
    variance = 2 * q(D) ** 2 + K_PHI * KAPPA**2 * squares / given.ratio
    yield from _coefficients(variance, sympy.Integer(0))


def untied_linear(given: Layers) -> Iterator[Named]:
    """W h: E q^2 is multiplied by a constant at every application, at every n."""
    share = given.kept**4 / GROWTH**2
    yield "kappa", sympy.Eq(KAPPA, given.variance * given.added**2)
    yield "growth", sympy.Eq(GROWTH, given.kept**2 + KAPPA)
    yield "residual_variance", sympy.Eq(q(D), Q_0 * GROWTH**D)
    yield from _coefficients(q(D) ** 2 * (2 + 2 * D * (1 - share)), sympy.Integer(0))


def untied_relu(given: Layers) -> Iterator[Named]:
    """W relu(h): cosines of states l applications apart are x^(-l/2), and the shift is a unit's own
    noise against the fluctuation that it causes. A skip lambda is a scale: kappa is over lambda^2,
    and states are multiplied by lambda^D."""
    own, pair = sympy.Function("A"), sympy.Function("J")
    theta = sympy.acos(RHO)
    yield "kappa", sympy.Eq(KAPPA, given.variance * given.added**2 / given.kept**2)
    yield "growth", sympy.Eq(GROWTH, 1 + KAPPA / 2)
    root = sympy.sqrt(1 - RHO**2)
    yield "own", sympy.Eq(own(RHO), (sympy.asin(RHO) + RHO * root) / (2 * sympy.pi))
    squares = 3 * RHO * root + (sympy.pi - theta) * (1 + 2 * RHO**2)
    yield "pair", sympy.Eq(pair(RHO), squares / (2 * sympy.pi))
    yield "residual_variance", sympy.Eq(q(D), Q_0 * (given.kept**2 * GROWTH) ** D)
    lag, cosine, size = (LAG, 1, D - 1), GROWTH ** (-LAG / 2), KAPPA**2 / GROWTH**2
    pairs: Any = sympy.Sum((D - LAG) * (pair(cosine) - sympy.Rational(1, 4)), lag)
    noise = sympy.Rational(5, 4) * D + 2 * pairs
    variance = 2 + 4 / GROWTH * (1 - GROWTH**-D) + size * noise
    shift = q(D) * size * sympy.Sum((D - LAG) * own(cosine), lag)
    yield from _coefficients(q(D) ** 2 * variance, shift)


def tied_linear(given: Layers) -> Iterator[Named]:
    """(lambda + eps W)^D h_0: pairings of traces of powers of W and its transpose."""
    yield "kappa", sympy.Eq(KAPPA, given.variance * given.added**2)
    if given.kept == 0:
        yield "residual_variance", sympy.Eq(q(D), Q_0 * KAPPA**D)
        yield from _coefficients(2 * (D + 1) * q(D) ** 2, sympy.Integer(0))
        return
    kept = given.kept

    def ways(*powers: Any) -> Any:
        product = sympy.Integer(1)
        for power in powers:
            product *= sympy.binomial(D, power)
        return product

    paths = ways(J) ** 2 * KAPPA**J * kept ** (2 * (D - J))
    yield "residual_variance", sympy.Eq(q(D), Q_0 * sympy.Sum(paths, (J, 0, D)))
    across = ways(P, J, M, P + J - M) * (sympy.Min(P, J, M, P + J - M) + 1)
    across *= KAPPA ** (P + J) * kept ** (4 * D - 2 * (P + J))
    apart = ways(J, J + 2 * M) * (J + 1) * KAPPA ** (J + M) * kept ** (2 * (D - J - M))
    variance = 2 * Q_0**2 * sympy.Sum(across, (M, 0, D), (J, 0, D), (P, 0, D))
    yield from _coefficients(variance, 2 * Q_0 * sympy.Sum(apart, (M, 1, D), (J, 0, D)))


def feed_forward_relu(given: Layers) -> Iterator[Named]:
    """W relu(h) without a skip: E q^2/q^2 = (1 + 2/n) (1 + 5/n)^D, at every n."""
    yield "kappa", sympy.Eq(KAPPA, given.variance * given.added**2)
    yield "residual_variance", sympy.Eq(q(D), Q_0 * (KAPPA / 2) ** D)
    yield from _coefficients((5 * D + 2) * q(D) ** 2, sympy.Integer(0))


def feed_forward(given: Layers) -> Iterator[Named]:
    """W phi(h) + b without a skip: K(a) of a layer's covariance, V(a) of n times its variance, m(a)
    of n times its shift; F = C E phi^2 + C_b with its derivatives by Stein's lemma, S of a layer's
    own noise."""
    size = given.added**2
    c = size * given.variance
    square, fourth, mean, first, second, noise = (
        sympy.Function(name) for name in ("M_2", "M_4", "F", "F_1", "F_2", "S")
    )
    yield from _function(given.activation)
    for moment, power in ((square, 2), (fourth, 4)):
        of = expectation(given.activation, power, K)
        yield moment.__name__, sympy.Eq(moment(K), of)
    weights = (Z**2 - 1) / (2 * K), (Z**4 - 6 * Z**2 + 3) / (4 * K**2)
    yield "mean", sympy.Eq(mean(K), c * square(K) + size * given.bias)
    for name, slope, weight in zip(("mean_1", "mean_2"), (first, second), weights, strict=True):
        yield name, sympy.Eq(slope(K), c * expectation(given.activation, 2, K, weight))
    yield "noise", sympy.Eq(noise(K), c**2 * (fourth(K) - square(K) ** 2))
    k, v, m = (sympy.Function(name) for name in ("K", "V", "m"))
    yield "kernel", sympy.Eq(k(A + 1), mean(k(A)))
    yield "scatter", sympy.Eq(v(A + 1), noise(k(A)) + first(k(A)) ** 2 * v(A))
    yield "drift", sympy.Eq(m(A + 1), first(k(A)) * m(A) + second(k(A)) * v(A) / 2)
    for name, function, start in (("kernel", k, Q_0), ("scatter", v, 0), ("drift", m, 0)):
        yield f"{name}_0", sympy.Eq(function(0), start)
    yield "residual_variance", sympy.Eq(q(D), k(D))
    yield from _coefficients(v(D) + 2 * k(D) ** 2, m(D))


def expectation(activation: Activation, power: int, variance: Any, weight: Any = 1) -> Any:
    """E weight(z) phi(sqrt(variance) z)^power: closed for relu and the identity, else an
    integral."""
    x, start = sympy.sqrt(variance) * Z, _elementary(activation)
    if start is None:
        value = weight * _named(activation)(x) ** power * density(Z)
        return sympy.Integral(value, (Z, -sympy.oo, sympy.oo))
    value = weight * x**power * NORMAL
    return sympy.simplify(sympy.integrate(value, (Z, start, sympy.oo)))


def _elementary(activation: Activation) -> Any:
    """Return from where on phi is the identity, and 0 before; None where it is another."""
    start = {"linear": -sympy.oo, "relu": sympy.Integer(0)}.get(activation.name)
    return start if activation == ACTIVATIONS.get(activation.name) else None


def _named(activation: Activation) -> Any:
    """Return phi as a function: sympy's own, one of its registered name, else phi."""
    own = {"erf": sympy.erf, "tanh": sympy.tanh}
    if activation != ACTIVATIONS.get(activation.name) or not activation.name.isidentifier():
        return sympy.Function("phi")
    return own.get(activation.name) or sympy.Function(activation.name)


def _function(activation: Activation) -> Iterator[Named]:
    """The density, and phi where it has a formula: where integrals stand in what follows."""
    if _elementary(activation) is not None:
        return
    yield "density", sympy.Eq(density(Z), NORMAL)
    if (formula := _formula(activation)) is not None:
        yield "activation", sympy.Eq(_named(activation)(U), formula)


def _formula(activation: Activation) -> Any:
    """Return phi(u) where it is no function that sympy has."""
    if isinstance(activation.function, LeakyRelu):
        slope = sympy.Rational(str(activation.function.slope))
        return ((1 + slope) * U + (1 - slope) * sympy.Abs(U)) / 2
    cubic = sympy.sqrt(2 / sympy.pi) * (U + sympy.Rational("0.044715") * U**3)
    formulas = {
        "gelu": U * (1 + sympy.erf(U / sympy.sqrt(2))) / 2,
        "gelu-tanh": U * (1 + sympy.tanh(cubic)) / 2,
        "silu": U / (1 + sympy.exp(-U)),
    }
    registered = activation == ACTIVATIONS.get(activation.name)
    return formulas.get(activation.name) if registered else None


def _powers(base: Any) -> Any:
    """base^0 + ... + base^(D - 1)."""
    return D if base == 1 else sympy.Sum(base**A, (A, 0, D - 1))


def _coefficients(variance: Any, shift: Any) -> Iterator[Named]:
    """n Var and n shift after D applications."""
    yield "n_variance", sympy.Eq(n_var(D), variance)
    yield "n_shift", sympy.Eq(n_shift(D), shift)
