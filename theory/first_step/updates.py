r"""What one step does to a matrix, as a function of one coordinate of its output's cotangents.

The gradient of a slot is G = (1/n) sum_k d_k x_k^T over its uses and tokens k, and dW the step's
direction. At an input x_a of the slot and output coordinate i, with B = <x, x'> and A = <d, d'>
over k, r the rate, rho_in = n_in/n, rho_out = n_out/n:

    sgd    dW = r G                              (dW x_a)_i = r rho_in sum_k d_ik B_ka
    sign   dW = (r/n) sign(G)                    (dW x_a)_i = r rho_in E_j[sign(d_i . x_j) x_ja],
           of Gaussian inputs r rho_in sqrt(2/pi) (B d_i)_a / sqrt(d_i^T B d_i)
    muon   dW = r sqrt(n_out/n_in) polar(G)      (dW x_a)_i = r (d_i^T P)_a, P = B^1/2 (B^1/2 A
           B^1/2)^-1/2 B^1/2, the geometric mean of B and A^-1

The polar factor is U V^T over the singular values that are not zero: D (X^T X)^1/2 ... is a
function of D and of Grams alone. Source: derived (docs/first-step.md;
tests/theory/first_step/test_updates.py: explicit matrices).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

OPTIMIZERS = ("sgd", "sign", "muon")
ZERO = 1e-10
"""Relative to the largest: below it an eigenvalue is rounding."""
INPUTS = 2048
"""Coordinates of inputs that are no Gaussians, over which the mean of a sign is taken."""
ROWS = 512  # of outputs' coordinates at a time

Particles = Float[np.ndarray, "P K"]
Gram = Float[np.ndarray, "K K"]


def by_gradient(d: Particles, gram: Gram) -> Particles:
    """sum_k d_ik B_ka."""
    return d @ gram


def by_sign(d: Particles, gram: Gram) -> Particles:
    """E_j[sign(d_i . x_j) x_ja] of Gaussian inputs of this Gram."""
    mixed = d @ gram
    square = np.einsum("pk,pk->p", mixed, d)
    floor = ZERO * max(float(square.max(initial=0.0)), np.finfo(np.float64).tiny)
    return np.sqrt(2 / np.pi) * mixed / np.sqrt(np.maximum(square, floor))[:, None]


def by_sampled_sign(d: Particles, x: Float[np.ndarray, "Q K"]) -> Particles:
    """E_j[sign(d_i . x_j) x_ja] over sampled inputs."""
    small, x = d.astype(np.float32), x[:INPUTS].astype(np.float32)
    turned, mean = np.ascontiguousarray(x.T), x.mean(axis=0)
    # sign = 2 [> 0] - 1: a comparison takes a third of the time
    found = [
        (small[start : start + ROWS] @ turned > 0).astype(np.float32) @ x
        for start in range(0, len(d), ROWS)
    ]
    return (2 * np.concatenate(found) / np.float32(len(x)) - mean).astype(np.float64)


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
