"""Standard normals that expectations over one head's scores are taken on: scrambled Sobol
points, seeded."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaincinv, ndtri

from sigprop.language.expression import Attend
from sigprop.language.scores import Scores

MOST_DIMENSIONS = 21201  # of scipy's Sobol sequence; further ones are plain normals
WORK = 2.0**29  # floating-point operations for one expectation
# points a replicate; more of them help less than more replicates: some pairs of coordinates fill no
# faster up to 2^15
FEWEST, MOST = 16, 4096


class Law(NamedTuple):
    """What one head is drawn from: its scores, how many numbers of a drawn bias its tokens meet,
    how many kinds of heads there are, each of which is taken at every point."""

    scores: Scores
    buckets: int = 0
    kinds: int = 1

    @property
    def certain(self) -> bool:
        """Whether nothing about a head is random."""
        return self.scores.uniform and not self.buckets


class Points(NamedTuple):
    """Standard normals of K heads: ``normals`` as ``draws`` has them; biases: a drawn bias's
    numbers at two applications, None where there is none."""

    normals: Float[np.ndarray, "K both sides coordinates"]
    biases: Float[np.ndarray, "K 2 buckets"] | None = None


def law(node: Attend) -> Law:
    """What a head of an attention node is drawn from."""
    bias = node.drawn_bias
    return Law(node.scores, 0 if bias is None else len(np.unique(bias.table)), node.kinds)


def coordinates(scores: Scores, tokens: int) -> int:
    """Coordinates of a head that are sampled: for head_dim >= 2T its 2T leading ones say all of
    q k^T (see ``draws``)."""
    return (
        2 * tokens
        if math.isinf(scores.head_dim) or scores.triangular(tokens)
        else int(scores.head_dim)
    )


def points(law: Law, tokens: int) -> int:
    """How many points a replicate has: a power of two that keeps an expectation near ``WORK``
    operations."""
    if law.certain:
        return 1
    scores = law.scores
    each = (
        60
        * tokens**3
        * (scores.head_dim if scores.rotary and not scores.uniform else 1)
        * (1 + tokens / 15 if scores.qk_norm else 1)
    )
    if not scores.uniform:
        each += 8 * tokens**2 * coordinates(scores, tokens)
    size = math.floor(math.log2(WORK / (each * law.kinds)))
    return int(np.clip(2.0**size, FEWEST, MOST))


@functools.lru_cache(maxsize=8)
def head_draws(law: Law, tokens: int, seed: int) -> Points:
    """Draw K heads. The numbers of a drawn bias are further coordinates of the same sequence, two
    sets of them: of two applications that share the bias, or of each its own."""
    scores, count = law.scores, points(law, tokens)
    size = coordinates(scores, tokens)
    shape = (2 * tokens, 1 if math.isinf(scores.head_dim) else 2, size)
    if law.certain:
        return Points(np.zeros((1, *shape)))
    if scores.uniform:  # nothing else is drawn
        shape = (2 * tokens, 1, 0)
    of_scores = int(np.prod(shape))
    uniform = _uniforms(count, of_scores + 2 * law.buckets, seed)
    normals = _coordinates(scores, tokens, uniform[:, :of_scores].reshape(count, *shape))
    if not law.buckets:
        return Points(normals)
    return Points(normals, ndtri(uniform[:, of_scores:]).reshape(count, 2, law.buckets))


def draws(scores: Scores, tokens: int, seed: int) -> Float[np.ndarray, "K both sides coordinates"]:
    """[K, 2T, 2, coordinates]: standardised queries and keys of K heads, float64; for head_dim =
    inf [K, 2T, 1, 2T].

    2T: two applications' tokens, in order of importance (the leading directions of their Gram get
    the leading Sobol dimensions). Heads of d >= 2T coordinates are turned so that the queries are
    lower triangular (Bartlett): entry [i, i] is chi of d - i degrees, those below normal; the keys'
    2T coordinates that queries see are normal, the d - 2T others enter by their mean. Uniform
    attention: zeros of one point.
    """
    return head_draws(Law(scores), tokens, seed).normals


def _uniforms(count: int, dimensions: int, seed: int) -> Float[np.ndarray, "K dimensions"]:
    """Scrambled Sobol points in (0, 1)."""
    from scipy.stats import qmc  # half a second: only where a head is sampled

    uniform = qmc.Sobol(
        min(dimensions, MOST_DIMENSIONS), rng=np.random.default_rng([seed, 1])
    ).random(count)
    rest = np.random.default_rng([seed, 2]).random((count, dimensions - uniform.shape[1]))
    return np.clip(np.concatenate([uniform, rest], axis=1), 2.0**-54, 1 - 2.0**-53)


def _coordinates(
    scores: Scores, tokens: int, uniform: Float[np.ndarray, "K both sides coordinates"]
) -> Float[np.ndarray, "K both sides coordinates"]:
    """Standard normals, those of wide heads turned (``draws``)."""
    normal = ndtri(uniform)
    if scores.triangular(tokens) and not scores.uniform:
        normal[:, :, 0] = np.tril(normal[:, :, 0], -1)
        for i in range(uniform.shape[-1]):
            normal[:, i, 0, i] = np.sqrt(
                2 * gammaincinv((scores.head_dim - i) / 2, uniform[:, i, 0, i])
            )
    return normal
