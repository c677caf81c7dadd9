"""Modulators' and routers' scores: a Gaussian field over tokens and applications that does not
average out as the width grows.

Scores z_a[t] = w . r_a[t], w ~ N(0, 1/n), are jointly Gaussian given the reads, with covariance
R_ab = <r_a, r_b> wherever a and b share w. A scan meets the applications in order, so z = L u, u
independent standard normals, L the Cholesky factor that grows by one block of rows a step;
dependent reads (equal tokens, a converged loop) add zero columns. Predictions are means over u
(``draws``).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer

from sigprop.description.architecture import Architecture
from sigprop.description.modulators import Modulator
from sigprop.language.scalar import evaluate

Gram = Float[Array, "T T"]
SAMPLES = 128  # quasi-random points of one replicate
FEW, MANY_TOKENS = 16, 8  # points where there are more tokens, each of which sees others'
DEPENDENT = 1e-12  # of a score's variance: below it, what earlier ones leave of it is rounding


def draws(
    arch: Architecture, steps: int, seed: int, finer: int = 1
) -> Float[np.ndarray, "samples {steps} C T"] | None:
    """u [samples, steps, C, T], seeded; None where nothing has scores. Scrambled Sobol points as
    normals; of routers, whose choices jump with the scores (their errors were up to 2.5 times those
    of independent points there), independent normals."""
    if not arch.scored:
        return None
    count = finer * samples(arch)
    shape = (steps, max(node.directions for node in arch.scored.values()), arch.tokens)
    sizes = int(np.prod(shape))
    if len(arch.scored) > len(arch.modulators):
        return np.random.default_rng(seed).standard_normal((count, *shape))
    from scipy.special import ndtri
    from scipy.stats import qmc  # half a second: only with modulators

    if sizes > qmc.Sobol.MAXDIM:
        return np.random.default_rng(seed).standard_normal((count, *shape))
    points = qmc.Sobol(sizes, rng=np.random.default_rng(seed)).random(count)
    return ndtri(np.clip(points, 2.0**-53, 1 - 2.0**-53)).reshape(count, *shape)


def samples(arch: Architecture) -> int:
    """How many points one replicate has."""
    return FEW if arch.tokens > MANY_TOKENS else SAMPLES


def skip_rate(arch: Architecture, application: int) -> float:
    """Probability that an application skips a token: every token's scores, alone, are N(0,
    variance), for its direction has unit length."""
    (node,) = arch.sub_blocks[arch.kind_table[application]].modulators.values()
    numbers = {name: table[application] for name, table in arch.number_tables.items()}
    variance, power, least = (
        float(evaluate(scalar, numbers)) for scalar in (node.variance, node.power, node.skip_below)
    )
    return float(Modulator(node.directions, power, variance).below(least))


def scores(
    p: Integer[Array, ""] | int,
    u: Float[Array, "P C T"],
    own: Gram,
    row: Float[Array, "P T T"] | None,
    factor: Float[Array, "P T P T"] | None,
) -> tuple[Float[Array, "C T"], Float[Array, "P T P T"] | None]:
    """(z [C, T] of step p, factor with its rows). u [P, C, T]; own R_pp [T, T]; row [P, T, T]:
    R_pq of earlier steps with this modulator, 0 elsewhere; factor [P, T, P, T]: L, rows of later
    steps 0. row, factor: None where nothing is shared."""
    if row is None or factor is None:
        return u[p] @ cholesky(own).T, None
    steps, tokens = u.shape[0], own.shape[0]
    size = steps * tokens
    lower = factor.reshape(size, size)
    empty = jnp.diagonal(lower) == 0
    lower = lower + jnp.diag(jnp.where(empty, 1.0, 0.0))
    across = jnp.swapaxes(row, 1, 2).reshape(size, tokens)  # <r_q[s], r_p[t]>
    # [T, P T]
    known = jnp.where(
        empty[:, None], 0.0, jax.scipy.linalg.solve_triangular(lower, across, lower=True)
    ).T
    block = cholesky(own - known @ known.T, jnp.diagonal(own))
    z = jnp.einsum("tqs,qcs->ct", known.reshape(tokens, steps, tokens), u) + u[p] @ block.T
    rows = known.reshape(tokens, steps, tokens).at[:, p].add(block)
    return z, factor.at[p].set(rows)


def cholesky(gram: Gram, size: Float[Array, " T"] | None = None) -> Gram:
    """L with L L^T = gram [T, T]; a column of zeros where a row depends on those before. size
    [T]: what its diagonal was."""
    size = jnp.diagonal(gram) if size is None else size
    tokens = gram.shape[0]

    def column(t: Any, found: Any) -> Any:
        left = gram[:, t] - found @ found[t]
        alive = left[t] > DEPENDENT * size[t]
        own = left / jnp.sqrt(jnp.where(alive, left[t], 1.0))
        return found.at[:, t].set(jnp.where(alive & (jnp.arange(tokens) >= t), own, 0.0))

    return jax.lax.fori_loop(0, tokens, column, jnp.zeros_like(gram))
