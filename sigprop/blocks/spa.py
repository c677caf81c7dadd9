"""Signal-preserving attention: matrices A_l that carry one target kernel into the next, Sigma_l =
A_l Sigma_{l-1} A_l^T (He et al. 2302.10322).

With Sigma = F F^T, A_l = F_l F_{l-1}^{-1}. Causal: F is the Cholesky factor, so A is lower
triangular; else the symmetric root. Softmax realises A = D P, D = diag(A 1), by the bias log P at
queries that are zero, and the rescaling D.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError

Table = NDArray[np.float64]
FLOOR = 1e-300  # of an attention weight: its logarithm is finite, its softmax is 0


def uniform_kernel(cosine: float, tokens: int) -> Table:
    """(1 - rho) 1 + rho 1 1^T, [T, T]."""
    return (1 - cosine) * np.eye(tokens) + cosine


def exponential_kernel(decay: float, tokens: int) -> Table:
    """exp(-gamma |i - j|), [T, T]; the identity at gamma = inf."""
    apart = np.abs(np.subtract.outer(np.arange(tokens), np.arange(tokens)))
    return np.where(apart == 0, 1.0, np.exp(-decay * np.maximum(apart, 1)))


def uniform_factor(cosine: float, tokens: int) -> Table:
    """Cholesky factor of ``uniform_kernel``: with s_j = 1 + (j - 1) rho, L_jj = sqrt((1 - rho)
    s_j/s_{j-1}), L_ij = rho sqrt((1 - rho)/(s_j s_{j-1}))."""
    j = np.arange(1, tokens + 1)
    s, before = 1 + (j - 1) * cosine, 1 + (j - 2) * cosine
    below = np.broadcast_to(cosine * np.sqrt((1 - cosine) / (s * before)), (tokens, tokens))
    return np.tril(below, -1) + np.diag(np.sqrt((1 - cosine) * s / before))


def exponential_attention(before: float, after: float, tokens: int) -> Table:
    """Causal A from decay gamma_{l-1} to gamma_l: with r = e^-gamma, lambda = sqrt((1 - r'^2)/(1 -
    r^2)),

        A_11 = 1,  A_i1 = r'^(i-2) (r' - lambda r),  A_ii = lambda,  A_ij = lambda (r' - r)
                   r'^(i-j-1)  (i > j >= 2).

    Source: derived; tests/blocks/test_spa.py checks A Sigma A^T = Sigma' in symbols.
    """
    r, new = np.exp(-before), np.exp(-after)
    scale = (
        np.sqrt(np.expm1(-2 * after) / np.expm1(-2 * before))
        if np.isfinite(before)
        else np.sqrt(-np.expm1(-2 * after))
    )
    i = np.arange(tokens)
    lag = np.subtract.outer(i, i)
    a = np.where(lag > 0, scale * (new - r) * new ** np.maximum(lag - 1, 0), 0.0) + scale * np.eye(
        tokens
    )
    a[1:, 0] = new ** (i[1:] - 1) * (new - scale * r)
    a[0, 0] = 1.0
    return a


def symmetric_root(kernel: Table) -> Table:
    """F = F^T with F F = kernel."""
    values, vectors = np.linalg.eigh(kernel)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def attention(kind: str, numbers: Table, tokens: int, causal: bool) -> Table:
    """A_1..A_L [L, T, T] for cosines ('uniform') or decays ('exponential') at l = 0..L; raises
    ``InputError`` for those that softmax cannot have.

    Entries are not negative when cosines do not fall, or decays do not grow; without a mask that is
    checked, not proved, and rounding is cut off.
    """
    from scipy.linalg import solve_triangular

    steps = list(zip(numbers[:-1], numbers[1:], strict=True))
    if kind == "exponential" and causal:
        found = [exponential_attention(before, after, tokens) for before, after in steps]
    elif causal:
        found = [
            solve_triangular(
                uniform_factor(before, tokens), uniform_factor(after, tokens).T, trans=1, lower=True
            ).T
            for before, after in steps
        ]
    else:
        kernel = uniform_kernel if kind == "uniform" else exponential_kernel
        found = [
            np.linalg.solve(
                symmetric_root(kernel(before, tokens)), symmetric_root(kernel(after, tokens))
            ).T
            for before, after in steps
        ]
    matrices = np.array(found, dtype=np.float64)
    if (least := matrices.min()) < -1e-9:
        accepted = "accepted: tokens that grow alike with depth"
        raise InputError(
            f"{kind} kernels {numbers[0]:.4g} .. {numbers[-1]:.4g}: an attention weight of "
            f"{least:.2g}; {accepted}"
        )
    return np.clip(matrices, 0, None)


def realised(matrices: Table) -> tuple[Table, Table]:
    """(bias [L, T, T], rescaling [L, T]) of a softmax at zero queries: A = D softmax(B), D = A
    1, B = log P."""
    rows = matrices.sum(axis=-1)
    return np.log(np.maximum(matrices / rows[..., None], FLOOR)), rows
