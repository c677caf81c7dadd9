"""Gaussian expectations (dual activations): V_phi(qa, c, qb) = E[phi(x) phi(y)], (x, y) ~ N(0,
[[qa, c], [c, qb]]).

``dual(phi, 0, features(phi, qa), c, features(phi, qb))`` is V_phi, order 1 is V_phi', the same of
the derivative phi'. On sympy expressions it is the derivation, on jax arrays (under
``jax.enable_x64``) the prediction. Closed forms where there are any (``closed``), else a Hermite
series (``series``). Growth of phi at infinity: at most linear.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.theory.calculus.algebra import cosine, is_symbolic, sqrt, squared_sine
from sigprop.theory.gaussian import series, shifted, symbols
from sigprop.theory.gaussian.closed import ONE, Units, has_closed_form, homogeneous, rules

LOWEST, HIGHEST, LARGEST = -300.0, 100.0, 300.0
"""Log scales s are clipped to this range where phi(e^s x) e^-s is evaluated (closed forms: up to
``LARGEST``). At either end it has become its limit to rounding (phi's homogeneous part above,
phi'(0) x below), while x^3 inside phi and e^(-2 s) stay finite. Rounding is meant relative to
e^s: a bounded phi gives e^-2s = 1e-87 at most, not less; phi(0) != 0 gives e^600 at most, not
more."""


class Features(NamedTuple):
    """One side, as V_phi needs it: a pytree whose leaves all begin with [..., T]
    (``None``: no leaf)."""

    variance: Any
    """Mantissa of the variance, [..., T]; or a sympy expression."""
    log: Any = None
    """s, [..., T]: the vector is e^s times one of variance ``variance``; None: s = 0."""
    value: Any = None
    """Series of phi: Hermite coefficients and tails, [..., T, degree + 3]; None where there is a
    closed form."""
    slope: Any = None
    """Series of phi', likewise."""
    mean: Any = None
    """Mantissa of a small mean of the vector's coordinates, [..., T], whose square ``variance``
    holds; None: 0. Both series are there then, of few terms beside a closed form."""


def status(activation: str | Activation) -> str:
    """'exact' if V_phi and V_phi' have closed forms, else 'quadrature'."""
    return "exact" if has_closed_form(find(activation)) else "quadrature"


def features(
    activation: str | Activation,
    variance: Any,
    log: Any = 0.0,
    degree: int = 128,
    order: int = 16,
    keep: Any = None,
    mean: Any = None,
) -> Features:
    """a_k(q) of phi and phi' for a series activation; for a closed form only (q, s).

    variance: mantissa of the pre-activation's variance, [..., T], true variance = variance e^(2
    log); or a sympy expression. log: [..., T] or broadcastable to it; the python number 0 or None:
    no scale anywhere. degree: last term of the series, of which a traced ``keep`` uses fewer;
    order: quadrature nodes a panel (``sigprop.language.activation.gaussian_nodes``); mean: as of
    ``Features``. Variances between 1e-150 and 1e150 (or 0): what is outside belongs into ``log``.
    """
    activation = find(activation)
    scaled = log is not None and not (isinstance(log, (int, float)) and log == 0)
    if is_symbolic(variance, log):
        if scaled:
            raise ValueError("symbolic variances carry no separate log scale")
        return Features(variance)
    import jax.numpy as jnp

    variance = jnp.asarray(variance)
    s = jnp.broadcast_to(jnp.asarray(log, dtype=variance.dtype), variance.shape) if scaled else None
    if has_closed_form(activation):
        if mean is None:
            return Features(variance, s)
        degree, keep = shifted.CLOSED, None
    deviation, scale = sqrt(variance), 1.0 if s is None else _scale(s)
    parts = []
    errors = (0.0, 0.0) if keep is None else series.roughness(activation, order)
    for function, error in zip((activation.function, activation.derivative), errors, strict=True):
        terms = series.coefficients(function, deviation * scale, degree, order, keep)
        if error and keep is not None:  # a coarser series is also off by what the quadrature is
            terms = terms * jnp.where(keep < degree, 1 + error / 2, 1.0)
        parts.append(terms)
    value = parts[0] if s is None else parts[0] / jnp.expand_dims(scale, -1)
    return Features(variance, s, value, parts[1], mean)


def dual(
    activation: str | Activation,
    order: int,
    fa: Features,
    cross: Any,
    fb: Features,
    *,
    gap: Any = None,
    tail: Any = 1.0,
    nudge: Any = None,
) -> Any:
    """V_phi (order 0) or V_phi' (order 1) of every pair of a left and a right pre-activation.

    fa: features of the left vectors, leaves [..., T]; fb: of the right ones, [..., T']; cross:
    [..., T, T'], mantissa of the covariances, the true ones being cross e^(s_a + s_b). Leading
    dimensions broadcast (missing ones count as 1). gap [..., T, T']: 1 - rho^2 of the pairs, where
    it is known to more digits than ``cross`` holds; nudge: what a gap that is read off ``cross`` is
    moved by; tail: of ``series.evaluate`` where the series is not exact. Result [..., T, T']; order
    0: the mantissa V e^(-s_a - s_b); order 1: V_phi' itself. Sympy in, sympy out.
    """
    activation = find(activation)
    if order not in (0, 1):
        raise ValueError(f"order={order}: 0 (V_phi) or 1 (V_phi')")
    closed = rules(activation)
    if is_symbolic(fa.variance, cross, fb.variance):
        rule = closed[order] if closed else symbols.unevaluated(activation, order)
        return rule(fa.variance, cross, fb.variance)
    import jax.numpy as jnp

    pairs = _paired(fa, jnp.asarray(cross), fb, gap, nudge)
    value = (
        _closed(activation, closed[order], order, pairs) if closed else _series(order, pairs, tail)
    )
    if pairs.means is not None:
        coefficients, rho = _coefficients(order, pairs), cosine(pairs.qa, pairs.c, pairs.qb)
        value = value + pairs.means.crossed(*coefficients, pairs.qa, rho, pairs.qb)
    shape = jnp.broadcast_shapes(pairs.qa.shape, pairs.c.shape, pairs.qb.shape)
    return jnp.broadcast_to(value, shape)


class _Pairs(NamedTuple):
    """Every pair of a left and a right pre-activation: their features, and the mantissas of
    variances and covariances, of ``rank`` axes each; gap: 1 - rho^2, None where it is read off
    these; means: of both, None where they have none."""

    fa: Features
    fb: Features
    qa: Any
    c: Any
    qb: Any
    gap: Any
    rank: int
    means: shifted.Means | None


def _paired(fa: Features, cross: Any, fb: Features, gap: Any, nudge: Any) -> _Pairs:
    """Align both sides' axes, and move a gap that is read off ``cross`` by the nudge."""
    import jax.numpy as jnp

    qa, c, qb, rank = _aligned(fa, cross, fb)
    means = None
    if fa.mean is not None and fb.mean is not None:
        left, right = fa.mean[..., :, None], fb.mean[..., None, :]
        means = shifted.Means(_pad(left, rank), _pad(right, rank))
        c = c + means.left * means.right
    if gap is not None:
        gap = jnp.where((qa == 0) | (qb == 0), 0.0, _pad(gap, rank))
    elif nudge is not None:
        gap = jnp.minimum(squared_sine(cosine(qa, c, qb)) + nudge, 1.0)
    return _Pairs(fa, fb, qa, c, qb, gap, rank, means)


def _closed(activation: Activation, rule: Callable[..., Any], order: int, pairs: _Pairs) -> Any:
    """Evaluate a closed form at both sides' scales."""
    ea, eb, units = (
        (1.0, 1.0, ONE) if homogeneous(activation) else _scales(pairs.fa, pairs.fb, pairs.rank)
    )
    value = rule(pairs.qa * (ea * ea), pairs.c * (ea * eb), pairs.qb * (eb * eb), pairs.gap, units)
    return value / (ea * eb if order == 0 else 1.0)


def _series(order: int, pairs: _Pairs, tail: Any) -> Any:
    """Add up the Hermite series of both sides."""
    import jax.numpy as jnp

    rho = cosine(pairs.qa, pairs.c, pairs.qb)
    gap = squared_sine(rho) if pairs.gap is None else pairs.gap
    # near 1 and -1 the gap has the digits, elsewhere the cosine
    rho = jnp.where(gap < 0.1, jnp.sign(rho) * (1 - gap / (1 + jnp.abs(rho))), rho)
    exact = (gap == 0) & (pairs.qa == pairs.qb)
    a, b = _coefficients(order, pairs)
    return series.evaluate(a, rho, b, jnp.where(exact, 1.0, tail))


def _coefficients(order: int, pairs: _Pairs) -> tuple[Any, Any]:
    """Return both sides' series of phi or phi', degrees first."""
    import jax.numpy as jnp

    a, b = (side.value if order == 0 else side.slope for side in (pairs.fa, pairs.fb))
    a, b = jnp.moveaxis(a, -1, 0)[..., :, None], jnp.moveaxis(b, -1, 0)[..., None, :]
    return _pad(a, pairs.rank, 1), _pad(b, pairs.rank, 1)


def gap(activation: str | Activation, fa: Features, pair: Any, nudge: Any = 0.0) -> Any:
    """Return 1 - rho^2 of phi(x), phi(y) within one set of vectors, or None where phi has no closed
    form.

    fa: their features; pair: a ``gaps.Pair`` of the mantissas [..., T, T]; nudge: as
    ``gaps.activated``.
    """
    from sigprop.theory.gaussian import gaps

    activation = find(activation)
    if homogeneous(activation):
        return gaps.activated(activation, pair, ONE, nudge)
    ea, eb, units = _scales(fa, fa, pair.c.ndim)
    pair = gaps.Pair(pair.qa * (ea * ea), pair.c * (ea * eb), pair.qb * (eb * eb), pair.gap)
    return gaps.activated(activation, pair, units, nudge)


def _aligned(fa: Features, cross: Any, fb: Features) -> tuple[Any, Any, Any, int]:
    """Variances and covariances with as many axes each, and how many."""
    rank = max(fa.variance.ndim + 1, fb.variance.ndim + 1, cross.ndim)
    return (
        _pad(fa.variance[..., :, None], rank),
        _pad(cross, rank),
        _pad(fb.variance[..., None, :], rank),
        rank,
    )


def _scales(fa: Features, fb: Features, rank: int) -> tuple[Any, Any, Units]:
    """e^s of both sides, of ``rank`` axes, where s < 0, and their ``Units`` where s > 0: neither
    overflows."""
    if fa.log is None and fb.log is None:
        return 1.0, 1.0, ONE
    import jax.numpy as jnp

    a = jnp.zeros_like(fa.variance) if fa.log is None else fa.log
    b = jnp.zeros_like(fb.variance) if fb.log is None else fb.log
    a, b = _pad(a[..., :, None], rank), _pad(b[..., None, :], rank)
    small = (jnp.exp(jnp.clip(s, LOWEST, 0.0)) for s in (a, b))
    large = (jnp.exp(-2 * jnp.clip(s, 0.0, LARGEST)) for s in (a, b))
    return *small, tuple(large)  # type: ignore[return-value]


def _scale(log: Any) -> Any:
    """e^s, s clipped to the range where nothing overflows."""
    import jax.numpy as jnp

    return jnp.exp(jnp.clip(log, LOWEST, HIGHEST))


def _pad(x: Any, rank: int, keep: int = 0) -> Any:
    """``x`` with axes of length 1 inserted after its first ``keep`` axes until it has ``rank`` +
    ``keep`` of them."""
    return x.reshape(x.shape[:keep] + (1,) * (rank + keep - x.ndim) + x.shape[keep:])


def numeric(activation: str | Activation, order: int = 0) -> Callable[[float, float, float], float]:
    """The plain function (qa, c, qb) -> float; under the name ``symbols.name(activation,
    order)`` a ``lambdify`` module entry."""
    return _numeric(find(activation), order)


@functools.cache
def _numeric(activation: Activation, order: int) -> Callable[[float, float, float], float]:
    import jax
    import jax.numpy as jnp

    @jax.jit
    def compiled(qa: Any, c: Any, qb: Any) -> Any:
        return dual(activation, order, features(activation, qa), c, features(activation, qb))

    def value(qa: float, c: float, qb: float) -> float:
        with jax.enable_x64(True):
            arrays = [
                jnp.full(shape, float(v), dtype=jnp.float64)
                for shape, v in (((1,), qa), ((1, 1), c), ((1,), qb))
            ]
            return float(compiled(*arrays)[0, 0])

    return value
