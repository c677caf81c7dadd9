"""What small means of an activation's arguments add to V_phi.

    E phi(x + m) phi(y + n) = V(G + (m, n)(m, n)^T) + m E[phi'(x) phi(y)] + n E[phi(x) phi'(y)],

(x, y) ~ N(0, G), but for third orders in m and n: derivatives of V by variances are E[phi'' phi] /
2 and by the covariance E[phi' phi'] (Price's theorem). In Hermite coefficients a_k of phi,

    E[phi'(x) phi(y)] = sum_k sqrt(k + 1) a_{k+1}(qa) a_k(qb) rho^k / sqrt(qa),

0 for odd and for even phi. Source: derived (tests/theory/gaussian/test_shifted.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sigprop.theory.calculus.algebra import over, sqrt
from sigprop.theory.gaussian import series

CLOSED = 2
"""Degree of the coefficients that are asked for where V_phi has a closed form: all of these have an
odd or an even part, of phi and of phi', that is linear or constant, so that no later ones meet."""


class Means(NamedTuple):
    """Means of left and of right arguments, [..., T, 1] and [..., 1, T']."""

    left: Any
    right: Any

    def crossed(self, a: Any, b: Any, qa: Any, rho: Any, qb: Any) -> Any:
        """Return the terms of first order [..., T, T']. a: [K, ..., T, 1], b: [K, ..., 1, T'],
        coefficients of each side and two tails, which are left out; qa, qb: variances like the
        means; rho [..., T, T']."""
        import jax.numpy as jnp

        a, b = a[:-2], b[:-2]
        root = jnp.sqrt(jnp.arange(1.0, len(a), dtype=rho.dtype)).reshape(-1, *[1] * (a.ndim - 1))
        left = series.evaluate(root * a[1:], rho, b[:-1])
        right = series.evaluate(a[:-1], rho, root * b[1:])
        return over(self.left, sqrt(qa)) * left + over(self.right, sqrt(qb)) * right
