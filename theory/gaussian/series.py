"""V_phi(qa, c, qb) = sum_k a_k(qa) a_k(qb) rho^k for any phi: a Hermite series, one set of
coefficients a variance.

a_k(q) = E[phi(sqrt(q) z) he_k(z)], z ~ N(0, 1), he_k = He_k / sqrt(k!); rho = c / sqrt(qa qb)
(Mehler's formula). What lies beyond the last degree P is added at degrees P + 1 and P + 2, one for
each parity, so that the value is exact at rho = 1 and rho = -1 when qa = qb.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.language.activation import Activation, gaussian_nodes
from sigprop.theory.calculus.algebra import sqrt

UNROLL = 16


@functools.cache
def hermite(degree: int, order: int) -> Float[np.ndarray, "nodes {degree}+1"]:
    """he_k(z_i) w_i, [nodes, degree + 1], at the nodes and weights of ``gaussian_nodes(order)``.

    sqrt(k + 1) he_{k+1} = z he_k - sqrt(k) he_{k-1}, carried out on he_k w: no overflow at large z.
    """
    z, weight = gaussian_nodes(order)
    table = np.empty((degree + 1, len(z)))
    before, table[0] = np.zeros_like(z), weight
    for k in range(degree):
        table[k + 1] = (z * table[k] - np.sqrt(k) * before) / np.sqrt(k + 1)
        before = table[k]
    return np.ascontiguousarray(table.T)


def coefficients(
    function: Callable[[Any], Any], deviation: Any, degree: int, order: int, keep: Any = None
) -> Any:
    """a_0 .. a_P of ``function``(deviation z), and the square roots of the two tails as a_{P+1},
    a_{P+2}.

    deviation: [..., T], the pre-activation's standard deviation; result [..., T, degree + 3]. The
    tail of one parity is E[f^2] - sum_k a_k^2 over that parity's part f of the function and its
    degrees k <= P. keep: a traced number of degrees, the rest go to the tails (a coarser series
    from the same program).
    """
    import jax.numpy as jnp

    z, weight = (jnp.asarray(v, dtype=deviation.dtype) for v in gaussian_nodes(order))
    half = len(z) // 2  # the nodes are symmetric about 0
    table = jnp.asarray(hermite(degree, order)[half:], dtype=deviation.dtype)
    value = function(jnp.expand_dims(deviation, -1) * z.reshape((1,) * deviation.ndim + z.shape))
    right, left = value[..., half:], jnp.flip(value[..., :half], -1)
    parities = []
    for parity, part in enumerate([(right + left) / 2, (right - left) / 2]):
        known = 2 * jnp.tensordot(part, table[:, parity::2], 1)
        if keep is not None:
            kept = jnp.arange(parity, degree + 1, 2) <= keep
            known = jnp.where(
                kept.reshape((1,) * deviation.ndim + kept.shape), known, jnp.zeros_like(known)
            )
        tail = sqrt(2 * jnp.tensordot(part**2, weight[half:], 1) - jnp.sum(known**2, axis=-1))
        parities.append(jnp.concatenate([known, jnp.expand_dims(tail, -1)], axis=-1))
    even, odd = parities
    padding = [(0, 0)] * deviation.ndim + [(0, even.shape[-1] - odd.shape[-1])]
    both = jnp.stack([even, jnp.pad(odd, padding)], axis=-1)
    return both.reshape((*deviation.shape, 2 * even.shape[-1]))[..., : degree + 3]


SIZES = np.logspace(-4, 6, 401)  # variances at which a quadrature is compared with a finer one
FINE = 160  # nodes a panel of the finer one
SMOOTH = 1e-11  # relative difference below which they are the same


@functools.cache
def roughness(activation: Activation, order: int) -> tuple[float, float]:
    """Relative errors that the quadrature makes in E phi(x)^2 and E phi'(x)^2, at most, over
    variances of x; 0 for what is smooth but at 0.

    Panels are graded towards 0 alone: a kink elsewhere costs up to percents of a derivative's
    moment. Measured against a finer quadrature and tripled; tests/theory/gaussian/test_kinks.py
    compares with integrals cut at the kinks.
    """
    import jax

    def worst(function: Callable[[Any], Any], sizes: np.ndarray, fine: int) -> float:
        found: list[np.ndarray] = []
        for nodes in (order, fine):
            z, weight = gaussian_nodes(nodes)
            values = (np.asarray(function(jax.numpy.asarray(np.sqrt(q) * z))) for q in sizes)
            with np.errstate(all="ignore"):
                squares = [np.sum(weight * f.astype(np.float64) ** 2) for f in values]
            found.append(np.array(squares))
        coarse, true = found
        known = np.isfinite(coarse) & np.isfinite(true)  # else a status says what is not there
        off = np.abs(np.where(known, coarse, 0.0) - np.where(known, true, 0.0))
        return float(np.max(off / np.where(known & (true > 0), true, 1.0)))

    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        seen = [
            3 * worst(function, SIZES, FINE)
            if worst(function, SIZES[::10], FINE // 4) > SMOOTH
            else 0.0
            for function in (activation.function, activation.derivative)
        ]
    return seen[0], seen[1]


def evaluate(a: Any, rho: Any, b: Any, tail: Any = 1.0) -> Any:
    """sum_k a_k b_k rho^k by Horner's scheme. a: [K, ..., T, 1], rho: [..., T, T'], b: [K, ..., 1,
    T'].

    tail: the weight of the last two degrees, which stand for all that is left out. A scan over
    degrees in blocks: unrolled in full it would take longer to compile than everything else.
    """
    import jax

    start = (a[-1] * b[-1] * rho + a[-2] * b[-2]) * tail
    return jax.lax.scan(
        lambda total, k: (total * rho + k[0] * k[1], None),
        start,
        (a[:-2], b[:-2]),
        reverse=True,
        unroll=UNROLL,
    )[0]


def bound(a: Any, rho: Any, b: Any) -> Any:
    """What truncation can be wrong by: 2 sum over both tails of a_k b_k |rho|^k (half of it if a
    = b). Shapes as ``evaluate``."""
    import jax.numpy as jnp

    small = jnp.abs(rho)
    return 2 * (a[-2] * b[-2] + a[-1] * b[-1] * small) * small ** (a.shape[0] - 2)
