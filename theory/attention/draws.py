"""Standard normals that expectations over one head's scores are taken on: scrambled Sobol
points, seeded."""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv, ndtri

from sigprop.language.scores import Scores

MOST_DIMENSIONS = 21201  # of scipy's Sobol sequence; further ones are plain normals
WORK = 2.0**29  # floating-point operations for one expectation
# points a replicate; more of them help less than more replicates: some pairs of coordinates fill no
# faster up to 2^15
FEWEST, MOST = 16, 4096


def coordinates(scores: Scores, tokens: int) -> int:
    """Coordinates of a head that are sampled: for head_dim >= 2T its 2T leading ones say all of
    q k^T (see ``draws``)."""
    return (
        2 * tokens
        if math.isinf(scores.head_dim) or scores.triangular(tokens)
        else int(scores.head_dim)
    )


def points(scores: Scores, tokens: int) -> int:
    """How many points a replicate has: a power of two that keeps an expectation near ``WORK``
    operations."""
    each = (
        60
        * tokens**3
        * (scores.head_dim if scores.rotary else 1)
        * (1 + tokens / 15 if scores.qk_norm else 1)
    )
    each += 8 * tokens**2 * coordinates(scores, tokens)
    return (
        1 if scores.uniform else int(np.clip(2 ** math.floor(math.log2(WORK / each)), FEWEST, MOST))
    )


@functools.lru_cache(maxsize=8)
def draws(scores: Scores, tokens: int, seed: int) -> Float[np.ndarray, "K both sides coordinates"]:
    """[K, 2T, 2, coordinates]: standardised queries and keys of K heads, float64; for head_dim =
    inf [K, 2T, 1, 2T].

    2T: two applications' tokens, in order of importance (the leading directions of their Gram get
    the leading Sobol dimensions). Heads of d >= 2T coordinates are turned so that the queries are
    lower triangular (Bartlett): entry [i, i] is chi of d - i degrees, those below normal; the keys'
    2T coordinates that queries see are normal, the d - 2T others enter by their mean. Uniform
    attention: zeros of one point.
    """
    count, size = points(scores, tokens), coordinates(scores, tokens)
    shape = (2 * tokens, 1 if math.isinf(scores.head_dim) else 2, size)
    if scores.uniform:
        return np.zeros((1, *shape))
    from scipy.stats import qmc  # half a second: only where a head is sampled

    dimensions = int(np.prod(shape))
    uniform = qmc.Sobol(
        min(dimensions, MOST_DIMENSIONS), rng=np.random.default_rng([seed, 1])
    ).random(count)
    rest = np.random.default_rng([seed, 2]).random((count, dimensions - uniform.shape[1]))
    uniform = np.clip(np.concatenate([uniform, rest], axis=1), 2.0**-54, 1 - 2.0**-53).reshape(
        count, *shape
    )
    normal = ndtri(uniform)
    if scores.triangular(tokens):
        normal[:, :, 0] = np.tril(normal[:, :, 0], -1)
        for i in range(size):
            normal[:, i, 0, i] = np.sqrt(
                2 * gammaincinv((scores.head_dim - i) / 2, uniform[:, i, 0, i])
            )
    return normal
