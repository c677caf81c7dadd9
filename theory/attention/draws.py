"""Standard normals that expectations over one head's scores are taken on: scrambled Sobol
points, seeded, in antithetic pairs."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from sigprop.language.expression import Attend
from sigprop.language.scores import Scores

# coordinates of Sobol points; further ones are plain normals (with so many, as good: what points of
# low discrepancy fill is a few coordinates)
LEADING = 1024
WORK = 2.0**30  # floating-point operations for one expectation
NORMALISED = 16  # times as many where queries and keys are normalised: scores are then of order one
# points a replicate; more of them help less than more replicates: some pairs of coordinates fill no
# faster up to 2^15
FEWEST, MOST = 16, 16384


class Law(NamedTuple):
    """What one head is drawn from: its scores, how many numbers of a drawn bias its tokens meet,
    how many kinds of heads there are, each of which has points of its own."""

    scores: Scores
    buckets: int = 0
    kinds: int = 1

    @property
    def certain(self) -> bool:
        """Whether nothing about a head is random."""
        return self.scores.uniform and not self.buckets


class Points(NamedTuple):
    """Standard normals of K heads, arrays of numpy or of jax: ``normals`` as ``draws`` has them;
    biases: a drawn bias's numbers at two applications [K, 2, buckets], None where there is none. Of
    several kinds of heads: of each, in front."""

    normals: Any
    biases: Any = None

    @property
    def count(self) -> int:
        """K, of each kind."""
        return self.normals.shape[-4]

    def first(self, count: int) -> Points:
        """Those of the first so many heads, of each kind."""
        biases = None if self.biases is None else self.biases[:count]
        return Points(self.normals[..., :count, :, :, :], biases)


def law(node: Attend) -> Law:
    """What a head of an attention node is drawn from."""
    bias = node.drawn_bias
    return Law(node.scores, 0 if bias is None else len(np.unique(bias.table)), node.kinds)


class Amount(NamedTuple):
    """How many heads are sampled. places: 1 where no two applications share a weight, else 2;
    partners: applications that share a weight with one;
    finer: times the points of ``points``, a power of two; draws: of scores of modulators or
    routers, for each of which the same heads are met again."""

    places: int = 2
    partners: int = 0
    finer: int = 1
    draws: int = 1


def coordinates(scores: Scores, tokens: int, places: int = 2) -> int:
    """Coordinates of a head that are sampled: for head_dim >= 2T its leading ones, as many as there
    are tokens at the places, say all of q k^T (see ``draws``)."""
    return (
        places * tokens
        if math.isinf(scores.head_dim) or scores.triangular(tokens)
        else int(scores.head_dim)
    )


def points(law: Law, tokens: int, amount: Amount = Amount()) -> int:  # noqa: B008 (a tuple)
    """How many points a replicate has for every kind of heads: a power of two that keeps an
    expectation near ``WORK`` operations, times ``amount.finer``; several partners, or
    draws, take about as much together as one would."""
    if law.certain:
        return 1
    work = WORK * (NORMALISED if law.scores.qk_norm else 1)
    most = min(MOST, work / _forward_work(law.scores, tokens))
    count = most / law.kinds / max(1, amount.partners) / amount.draws
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
    size = 0 if scores.uniform else coordinates(scores, tokens)
    return 60.0 * tokens**3 + 8 * tokens**2 * size


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
    return head_draws(Law(scores), tokens, seed, amount).normals


@functools.lru_cache(maxsize=2)
def head_draws(
    law: Law,
    tokens: int,
    seed: int,
    amount: Amount = Amount(),  # noqa: B008 (a tuple)
) -> Points:
    """Draw K heads. The numbers of a drawn bias are further coordinates of the same sequence, two
    sets of them: of two applications that share the bias, or of each its own; they change sign
    with the queries."""
    scores, count = law.scores, points(law, tokens, amount)
    size = 0 if scores.uniform else coordinates(scores, tokens, amount.places)
    shape = (amount.places * tokens, 1 if math.isinf(scores.head_dim) else 2, size)
    if law.certain:
        size = coordinates(scores, tokens, amount.places)
        return Points(np.zeros((1, *shape[:2], size)))
    first = _first(scores, tokens)
    leading = min(first.size, LEADING)
    runs = 2 ** math.ceil(math.log2(law.kinds))  # of the sequence, one for each kind
    sobol = sobol_normals(runs * count // 2, leading + 2 * law.buckets, seed)
    normal = _normals(shape, seed, first, sobol[:, :leading])
    if scores.triangular(tokens) and not scores.uniform:
        normal[:, :, 0] = np.tril(normal[:, :, 0], -1) + _chi(normal[:, :, 0], scores.head_dim)
    pairs = np.repeat(normal, 2, axis=0)
    pairs[1::2, :, 0] *= -1
    if law.kinds > 1:
        return Points(pairs.reshape(runs, count, *shape)[: law.kinds])
    if not law.buckets:
        return Points(pairs)
    biases = np.repeat(sobol[:, leading:].reshape(-1, 2, law.buckets), 2, axis=0)
    biases[1::2] *= -1
    return Points(pairs, biases)


def _chi(x: Float[np.ndarray, "K n n"], degrees: float) -> Float[np.ndarray, "K n n"]:
    """Turn normals on the diagonal to chi of d, d - 1, ... degrees."""
    from scipy.special import gammaincinv, ndtr

    diagonal = np.clip(ndtr(np.diagonal(x, axis1=1, axis2=2)), 0.0, 1 - 2.0**-53)
    half = (degrees - np.arange(x.shape[-1])) / 2
    return np.sqrt(2 * gammaincinv(half, diagonal))[:, :, None] * np.eye(x.shape[-1])


def _first(scores: Scores, tokens: int) -> Bool[np.ndarray, "both sides most"]:
    """Tell which coordinates of two applications are those of the first."""
    sides = 1 if math.isinf(scores.head_dim) else 2
    size, own = (0 if scores.uniform else coordinates(scores, tokens, n) for n in (2, 1))
    first = np.zeros((2 * tokens, sides, size), dtype=bool)
    first[:tokens, :, :own] = True
    return first


def sobol_normals(count: int, dimensions: int, seed: int) -> Float[np.ndarray, "K dimensions"]:
    """Scrambled Sobol points as standard normals."""
    from scipy.special import ndtri
    from scipy.stats import qmc  # half a second: only where a head is sampled

    uniform = qmc.Sobol(dimensions, rng=np.random.default_rng([seed, 1])).random(count)
    return ndtri(np.clip(uniform, 2.0**-54, 1 - 2.0**-53))


def _normals(
    shape: tuple[int, int, int],
    seed: int,
    first: Bool[np.ndarray, "both sides most"],
    sobol: Float[np.ndarray, "K leading"],
) -> Float[np.ndarray, "K rows sides coordinates"]:
    """Sobol points in the leading coordinates, the first application's before the second's, plain
    normals in the others."""
    count, leading = sobol.shape
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
