r"""What one step does to a matrix, as a function of one coordinate of its output's cotangents.

The gradient of a slot is G = (1/n) sum_k d_k x_k^T over its uses and tokens k, and dW the step's
direction. At an input x_a of the slot and output coordinate i, with B = <x, x'> and A = <d, d'>
over k, r the rate, rho_in = n_in/n, rho_out = n_out/n:

    sgd    dW = r G                              (dW x_a)_i = r rho_in sum_k d_ik B_ka
    adam   dW = (r/n) f(n G), f(g) = g/(|g| +    (dW x_a)_i = r rho_in E_j[f(d_i . x_j) x_ja], of
           epsilon), first step                  Gaussian inputs r rho_in (B d_i)_a E[z f(s z)]/s,
                                                 s^2 = d_i^T B d_i, z ~ N(0, 1)
    muon   dW = r sqrt(n_out/n_in) polar(G)      (dW x_a)_i = r (d_i^T P)_a, P = B^1/2 (B^1/2 A
           B^1/2)^-1/2 B^1/2, the geometric mean of B and A^-1

The polar factor is U V^T over the singular values that are not zero, a function of D and of Grams.
Source: derived (docs/first-step.md;
tests/theory/first_step/test_updates.py: explicit matrices).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

OPTIMIZERS = ("sgd", "adam", "muon")
ZERO = 1e-10
"""Relative to the largest: below it an eigenvalue is rounding."""
ROWS = 512  # of outputs' coordinates at a time
NODES, LARGEST = 200, 9.0  # of the quadrature over |z|

Particles = Float[np.ndarray, "P K"]
Gram = Float[np.ndarray, "K K"]


def by_gradient(d: Particles, gram: Gram) -> Particles:
    """sum_k d_ik B_ka."""
    return d @ gram


def normalised(g: Any, epsilon: float) -> Any:
    """f(g) = g/(|g| + epsilon): of epsilon = 0 the sign."""
    return np.sign(g) if epsilon == 0 else g / (np.abs(g) + epsilon)


def mean_slope(size: Any, epsilon: float) -> Any:
    """E[z f(size z)], z ~ N(0, 1): sqrt(2/pi) at epsilon = 0, and less where
    epsilon is more."""
    if epsilon == 0:
        return np.full_like(size, np.sqrt(2 / np.pi))
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    z = LARGEST * (nodes + 1) / 2
    density = LARGEST * weights / 2 * np.sqrt(2 / np.pi) * np.exp(-(z**2) / 2)
    moved = size[..., None] * z
    return (moved / (moved + epsilon)) @ (z * density)


def by_entries(d: Particles, gram: Gram, epsilon: float) -> Particles:
    """E_j[f(d_i . x_j) x_ja] of Gaussian inputs of this Gram."""
    mixed = d @ gram
    square = np.einsum("pk,pk->p", mixed, d)
    floor = ZERO * max(float(square.max(initial=0.0)), np.finfo(np.float64).tiny)
    size = np.sqrt(np.maximum(square, floor))
    return (mean_slope(size, epsilon) / size)[:, None] * mixed


def by_sampled_entries(
    d: Particles, x: Float[np.ndarray, "Q K"], epsilon: float, weights: Any = None
) -> Particles:
    """E_j[f(d_i . x_j) x_ja] over sampled inputs, of these weights [Q, 1] (None or a number: all
    alike)."""
    if np.ndim(weights):
        return _weighed(d, x, epsilon, weights)
    if d.shape[1] == 1 and epsilon == 0:
        return np.sign(d) * np.abs(x).mean()
    if epsilon:
        rows = (d[start : start + ROWS] for start in range(0, len(d), ROWS))
        return np.concatenate([normalised(some @ x.T, epsilon) @ x for some in rows]) / len(x)
    return _by_signs(d, x, x) / len(x)


def _weighed(d: Particles, x: Any, epsilon: float, weights: Any) -> Particles:
    """E_j[f(d_i . x_j) x_ja] of weighed inputs."""
    if epsilon == 0:
        return _by_signs(d, x, weights * x)
    rows = (d[start : start + ROWS] for start in range(0, len(d), ROWS))
    return np.concatenate([normalised(some @ x.T, epsilon) @ (weights * x) for some in rows])


def _by_signs(d: Particles, x: Any, terms: Any) -> Particles:
    """sum_j sign(d_i . x_j) terms_j, in single precision; 0 where d_i is."""
    small, terms = d.astype(np.float32), np.asarray(terms, dtype=np.float32)
    turned = np.ascontiguousarray(x.astype(np.float32).T)
    # sign = 2 [> 0] - 1: a comparison takes a third of the time
    found = [
        (small[start : start + ROWS] @ turned > 0).astype(np.float32) @ terms
        for start in range(0, len(d), ROWS)
    ]
    moved = (2 * np.concatenate(found) - terms.sum(axis=0)).astype(np.float64)
    return np.where(np.any(d != 0, axis=1, keepdims=True), moved, 0.0)


def by_polar(d: Particles, gram: Gram, cotangents: Gram) -> Particles:
    """(d^T P)_a of the geometric mean P."""
    return d @ geometric_mean(gram, cotangents)


def geometric_mean(b: Gram, a: Gram) -> Gram:
    """B^1/2 (B^1/2 A B^1/2)^-1/2 B^1/2, inverse on the range."""
    root = _power(b, 0.5)
    return root @ _power(root @ a @ root, -0.5) @ root


def _power(gram: Gram, exponent: float) -> Gram:
    """Return a power of a positive semi-definite matrix, on its range."""
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    alive = values > ZERO * max(float(values.max(initial=0.0)), np.finfo(np.float64).tiny)
    powers = np.where(alive, np.where(alive, values, 1.0) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T
