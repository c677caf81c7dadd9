"""The shift of a finite network's mean without its term c: what a closure of the Grams alone
predicts.

At width n the Grams of states and of hidden units are K = F(K) + xi, xi the noise of the units that
they average over. To order 1/n the mean of K holds F's second derivative along the fluctuation that
xi causes, 1/2 H : Sigma, and c, the covariance of how a unit responds with the fluctuation that it
causes itself. A closure that takes the noise as given has the first alone (which part is which
depends on what K is taken to be: here Grams, norms being functions of them).

Typed out for one token and h_{a+1} = h_a + eps W2 phi(W1 h_a / rms(h_a)): the recursion with the
noise of one unit of each population (coordinates of the stream, hidden units) fixed at the values
that it has in the wide limit, plus and minus; half its second difference in the mean is n times
that shift, its first difference squared n Var (tests/paper_figures/test_finite_width.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sigprop.language.activation import Activation, gaussian_nodes
from sigprop.theory.gaussian.series import hermite

STEP, TERMS = 1e-3, 24
Noise = Float[np.ndarray, "N D D"]


class Stack(NamedTuple):
    """D applications of eps W2 phi(W1 h/rms(h)) with a skip of 1, W1 of variance 1, stem of
    variance 1; variance: of W2; tied: W1 and W2 the same at every application; ratio: hidden units
    over width."""

    activation: Activation
    depth: int
    scale: float
    variance: float
    tied: bool
    ratio: float = 1.0


class Closure(NamedTuple):
    """n Var of <h_a, h_a>, a = 0, ..., D, and n times the shift without c."""

    variance: Float[np.ndarray, " D+1"]
    shift: Float[np.ndarray, " D+1"]


def closure(stack: Stack, units: int, seed: int = 0) -> Closure:
    """Return both, of ``units`` sampled units in each population."""
    rng, weights = np.random.default_rng(seed), coefficients(stack.activation)
    nothing = np.zeros((1, stack.depth + 1, stack.depth + 1))
    middle, grams, hidden = recursion(stack, weights, nothing, nothing)
    stream = noise(rng, grams[0], units, None)
    # of weights of their own, pre-activations of different applications are independent
    within_one = hidden[0] if stack.tied else np.eye(stack.depth + 1)
    within = noise(rng, within_one, units, stack.activation) / stack.ratio**0.5
    variance, shift = np.zeros(stack.depth + 1), np.zeros(stack.depth + 1)
    for of_states, of_units in ((stream, np.zeros_like(within)), (np.zeros_like(stream), within)):
        up, down = (
            recursion(stack, weights, sign * STEP * of_states, sign * STEP * of_units)[0]
            for sign in (1, -1)
        )
        variance += np.mean(((up - down) / (2 * STEP)) ** 2, axis=0)
        shift += np.mean(up - 2 * middle + down, axis=0) / (2 * STEP**2)
    return Closure(variance, shift)


def recursion(
    stack: Stack, weights: Float[np.ndarray, " K"], of_states: Noise, of_units: Noise
) -> tuple[Float[np.ndarray, "N D"], Noise, Noise]:
    """Return <h_a, h_a> as networks average it, what a coordinate's covariances are, and those of
    hidden pre-activations, with given noise of the states' Gram and of the hidden units'."""
    size = stack.depth + 1
    count = len(of_states)
    coordinate, averaged, hidden, writes = (np.zeros((count, size, size)) for _ in range(4))
    for a in range(size):
        for b in range(a + 1):
            own = 1 + writes[:, :a, :b].sum(axis=(1, 2))
            coordinate[:, a, b] = coordinate[:, b, a] = own
            averaged[:, a, b] = averaged[:, b, a] = own + of_states[:, a, b]
        for b in range(a + 1):
            cosine = averaged[:, a, b] / np.sqrt(averaged[:, a, a] * averaged[:, b, b])
            hidden[:, a, b] = hidden[:, b, a] = cosine
            if a == b or stack.tied:
                gram = np.polynomial.polynomial.polyval(cosine, weights) + of_units[:, a, b]
                write = stack.scale**2 * stack.variance * gram
                writes[:, a, b] = writes[:, b, a] = write
    return np.diagonal(averaged, axis1=1, axis2=2).copy(), coordinate, hidden


def noise(
    rng: np.random.Generator,
    covariance: Float[np.ndarray, "D D"],
    units: int,
    activation: Activation | None,
) -> Noise:
    """Draw products of Gaussian coordinates (through an activation) less their means."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    z = rng.standard_normal((units, len(covariance)))
    z = np.linalg.solve(np.linalg.cholesky(z.T @ z / units), z.T).T  # second moments are exact
    x = z @ root.T
    x = x if activation is None else np.asarray(activation.function(x), dtype=np.float64)
    products = x[:, :, None] * x[:, None, :]
    return products - products.mean(axis=0)


def coefficients(activation: Activation) -> Float[np.ndarray, " K"]:
    """Return c_k^2 of E phi(x) phi(y) = sum_k c_k^2 rho^k, x and y of variance 1 and covariance
    rho."""
    import jax

    z, _ = gaussian_nodes()
    with jax.enable_x64(True):
        values = np.asarray(activation.function(jax.numpy.asarray(z)), dtype=np.float64)
    return (values @ hermite(TERMS - 1, 16)) ** 2


def one_input(activation: Activation, variance: float, depth: int) -> float:
    """Return n times the shift of <h_D, h_D>, h_{a+1} = W phi(h_a) of one token with h_0 of
    variance 1, by Roberts, Yaida and Hanin's recursion, in which there is no c: every layer's
    normals are fresh."""
    import jax

    z, weight = gaussian_nodes()
    k, v, m = 1.0, 0.0, 0.0
    for _ in range(depth):
        with jax.enable_x64(True):
            square = np.asarray(activation.function(jax.numpy.asarray(np.sqrt(k) * z))) ** 2
        mean, fourth = np.sum(weight * square), np.sum(weight * square**2)
        slope = variance * np.sum(weight * square * (z**2 - 1)) / (2 * k)
        curve = variance * np.sum(weight * square * (z**4 - 6 * z**2 + 3)) / (4 * k**2)
        m = slope * m + curve * v / 2
        v = variance**2 * (fourth - mean**2) + slope**2 * v
        k = variance * mean
    return float(m)
