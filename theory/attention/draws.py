"""Standard normals that expectations over one head's scores are taken on: scrambled Sobol
points, seeded, in antithetic pairs."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import gammaincinv, ndtr, ndtri

from sigprop.language.scores import Scores

# coordinates of Sobol points; further ones are plain normals (with so many, as good: what points of
# low discrepancy fill is a few coordinates)
LEADING = 1024
WORK = 2.0**30  # floating-point operations for one expectation
NORMALISED = 16  # times as many where queries and keys are normalised: scores are then of order one
# points a replicate; more of them help less than more replicates: some pairs of coordinates fill no
# faster up to 2^15
FEWEST, MOST = 16, 4096


class Amount(NamedTuple):
    """How many heads are sampled. places: 1 where no two applications share a weight, else 2;
    partners: applications that share a weight with one;
    finer: times the points of ``points``, a power of two."""

    places: int = 2
    partners: int = 0
    finer: int = 1


def coordinates(scores: Scores, tokens: int, places: int = 2) -> int:
    """Coordinates of a head that are sampled: for head_dim >= 2T its leading ones, as many as there
    are tokens at the places, say all of q k^T (see ``draws``)."""
    return (
        places * tokens
        if math.isinf(scores.head_dim) or scores.triangular(tokens)
        else int(scores.head_dim)
    )


def points(scores: Scores, tokens: int, amount: Amount = Amount()) -> int:  # noqa: B008 (a tuple)
    """How many points a replicate has: a power of two that keeps an expectation near ``WORK``
    operations, times ``amount.finer``; several partners take about as much together as two
    would."""
    if scores.uniform:
        return 1
    work = WORK * (NORMALISED if scores.qk_norm else 1)
    count = min(MOST, work / _forward_work(scores, tokens)) / max(1.0, amount.partners / 2)
    return amount.finer * max(FEWEST, 2 ** math.floor(math.log2(count)))


def leg_points(scores: Scores, tokens: int, count: int) -> int:
    """How many of ``count`` points queries' and keys' gradients are averaged over: a power of two
    less, by about as much as they take more time than the scores, which vary more between heads."""
    more = 1.0
    if (scores.rotary or scores.qk_norm) and math.isfinite(scores.head_dim):
        more = max(1.0, 10 * tokens**3 * scores.head_dim / _forward_work(scores, tokens))
    return max(min(count, FEWEST), count >> math.floor(math.log2(more)))


def _forward_work(scores: Scores, tokens: int) -> float:
    """Operations that one head's scores and what they mix take."""
    return 60.0 * tokens**3 + 8 * tokens**2 * coordinates(scores, tokens)


@functools.lru_cache(maxsize=2)
def draws(
    scores: Scores,
    tokens: int,
    seed: int,
    amount: Amount = Amount(),  # noqa: B008 (a tuple)
) -> Float[np.ndarray, "K rows sides coordinates"]:
    """[K, T or 2T, 2, coordinates]: standardised queries and keys of K heads, float64; for head_dim
    = inf [K, T or 2T, 1, as many].

    T, or 2T: the tokens of one application, or of two (``amount.places``), in order of importance
    (the leading directions of their Gram get the leading Sobol dimensions); those of one are the
    same numbers either way. Every second point is the one before with queries of the other sign:
    whatever is odd in the scores averages to zero. Heads of d >= 2T coordinates are turned so that
    the queries are lower triangular (Bartlett): entry [i, i] is chi of d - i degrees, those below
    normal; the keys' 2T coordinates that queries see are normal, the d - 2T others enter by their
    mean. Uniform attention: zeros of one point.
    """
    count, sides = points(scores, tokens, amount), 1 if math.isinf(scores.head_dim) else 2
    shape = (amount.places * tokens, sides, coordinates(scores, tokens, amount.places))
    if scores.uniform:
        return np.zeros((1, *shape))
    normal = _normals(count // 2, shape, seed, _first(scores, tokens))
    if scores.triangular(tokens):
        normal[:, :, 0] = np.tril(normal[:, :, 0], -1) + _chi(normal[:, :, 0], scores.head_dim)
    pairs = np.repeat(normal, 2, axis=0)
    pairs[1::2, :, 0] *= -1
    return pairs


def _chi(x: Float[np.ndarray, "K n n"], degrees: float) -> Float[np.ndarray, "K n n"]:
    """Turn normals on the diagonal to chi of d, d - 1, ... degrees."""
    diagonal = np.clip(ndtr(np.diagonal(x, axis1=1, axis2=2)), 0.0, 1 - 2.0**-53)
    half = (degrees - np.arange(x.shape[-1])) / 2
    return np.sqrt(2 * gammaincinv(half, diagonal))[:, :, None] * np.eye(x.shape[-1])


def _first(scores: Scores, tokens: int) -> Bool[np.ndarray, "both sides most"]:
    """Tell which coordinates of two applications are those of the first."""
    sides, size = 1 if math.isinf(scores.head_dim) else 2, coordinates(scores, tokens)
    first = np.zeros((2 * tokens, sides, size), dtype=bool)
    first[:tokens, :, : coordinates(scores, tokens, 1)] = True
    return first


def _normals(
    count: int,
    shape: tuple[int, int, int],
    seed: int,
    first: Bool[np.ndarray, "both sides most"],
) -> Float[np.ndarray, "K rows sides coordinates"]:
    """Sobol points in the leading coordinates, the first application's before the second's, plain
    normals in the others."""
    from scipy.stats import qmc  # half a second: only where a head is sampled

    leading = min(first.size, LEADING)
    sobol = qmc.Sobol(leading, rng=np.random.default_rng([seed, 1])).random(count)
    sobol = ndtri(np.clip(sobol, 2.0**-54, 1 - 2.0**-53))
    own = int(first.sum())
    plain = np.random.default_rng([seed, 2]).standard_normal((count, max(0, own - leading)))
    normal = np.concatenate([sobol[:, :own], plain], axis=1)
    if shape == first.shape:
        rest = first.size - max(own, leading)
        more = np.random.default_rng([seed, 3]).standard_normal((count, rest))
        both = np.empty((count, *first.shape))
        both[:, first], both[:, ~first] = normal, np.concatenate([sobol[:, own:], more], axis=1)
        return both
    return normal.reshape(count, *shape)
