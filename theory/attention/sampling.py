"""One head, sampled: weights Omega of two applications from their joint scores, and the head's own
key and query Grams.

    law d     q = A z_q, k = B z_k, A A^T = <q, q>, B B^T = <k, k>, z iid of d coordinates;   S = q
              k^T / sqrt(d)
    law inf   S = A Z B^T, Z iid: Gaussian scores of covariance <q, q'> <k, k'>

A drawn bias adds sd z[buckets], z iid of the head, the same at two applications that share it; of a
fixed one that differs between kinds of heads the mean over kinds is taken.

Law d is exact for every head_dim as width and heads grow; both are joint over tokens and over two
applications. Source: derived; tests/theory/attention/test_attention_laws.py samples plain heads.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.scores import Scores
from sigprop.theory.attention.draws import Points
from sigprop.theory.attention.heads import (
    Bias,
    Coordinates,
    Factor,
    Form,
    Head,
    Leg,
    Norms,
    Omega,
    Side,
    factor,
    softmax,
)
from sigprop.theory.attention.positions import Angle, positions, rotated

CHUNK = 2**17  # numbers in one chunk of sampled heads: about what a core's cache holds

Normals = Float[Array, "C R sides d"]


def expectation(
    scores: Scores,
    form: Form,
    points: Points | Normals | None,
    query: Leg,
    key: Leg,
    same: bool,
    function: Callable[[Head], Any],
) -> Any:
    """E[function(head)], by the mean over ``points`` (``draws``) and over kinds of heads, chunk by
    chunk; function: [C, B, ...] -> [B, ...] sums.

    same: the two places are one application (then a and b coincide).
    """
    over = functools.partial(_of_kind, scores, query, key, same, function)
    if form.kinds == 1:
        return over(form, points)
    own = None if scores.uniform else points
    sums = jax.lax.map(
        lambda of: over(form._replace(bias_a=of[0][None], bias_b=of[1][None]), of[2]),
        (form.bias_a, form.bias_b, own),
    )
    return jax.tree.map(lambda leaf: leaf.mean(axis=0), sums)


def _of_kind(
    scores: Scores,
    query: Leg,
    key: Leg,
    same: bool,
    function: Callable[[Head], Any],
    form: Form,
    points: Points | Normals | None,
) -> Any:
    """Take the mean over heads of one kind."""
    if scores.uniform and form.drawn is None:
        if form.seen is not None:
            return _moved(scores, form, query, key, function)
        return function(_uniform(scores, form, query, key))
    assert points is not None
    given = points if isinstance(points, Points) else Points(points)
    a, b = query.ab, key.ab
    if not scores.uniform:
        a, b = (factor(leg, same, form.smooth) for leg in (query, key))
    pair = _Pair(scores, form, query, key, a, b, same)
    size, count = pair.a.shape[-1], given.normals.shape[0]
    chunk = 2 ** int(math.log2(max(1, min(count, CHUNK // pair.numbers(given.normals.shape[-1])))))
    z = Points(given.normals[:, :size], given.biases)
    chunks = jax.tree.map(lambda x: x.reshape(count // chunk, chunk, *x.shape[1:]), z)
    # heads are sampled again in reverse
    sums = jax.lax.map(jax.checkpoint(lambda z: function(_head(pair, z))), chunks)
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / count, sums)


class _Pair(NamedTuple):
    """Two places whose heads are sampled: the Grams of their queries and keys, and factors a, b
    of these."""

    scores: Scores
    form: Form
    query: Leg
    key: Leg
    a: Factor
    b: Factor
    same: bool

    @property
    def tokens(self) -> int:
        """T, of each place."""
        return self.query.ab.shape[-1]

    @property
    def places(self) -> list[slice]:
        """The rows of place a, and those of b where it is another application."""
        t = self.tokens
        return [slice(0, t)] if self.same else [slice(0, t), slice(t, 2 * t)]

    def numbers(self, coordinates: int) -> int:
        """Count the numbers that one sampled head of so many coordinates takes."""
        scores, (batch, tokens) = self.scores, self.query.ab.shape[:2]
        vectors = (scores.rotary or scores.qk_norm) and math.isfinite(scores.head_dim)
        return batch * tokens * (tokens if vectors else 2) * max(tokens, coordinates)


class _Sampled(NamedTuple):
    """Heads before their softmax: each place's scores over exp(log), and fields of ``Head``."""

    scores: list[Omega]
    queries: Omega | None = None
    keys: Omega | None = None
    norms: Norms | None = None
    sides: tuple[Side, Side] | None = None
    angle: Angle | None = None


def _head(pair: _Pair, z: Points) -> Head:
    """Sample the heads of these standard normals."""
    scores, query, key = pair.scores, pair.query, pair.key
    logs = [query.log_a + key.log_a, query.log_b + key.log_b]
    if scores.qk_norm or scores.uniform:
        logs = [jnp.zeros_like(log) for log in logs]
    if scores.uniform:
        sampled = _zero(pair, len(z.normals))
    else:
        sampled = (_gaussian if math.isinf(scores.head_dim) else _dotted)(pair, z.normals)
    cap = None if scores.uniform else pair.form.cap
    weights = [
        softmax(scores, cap, s, log, bias)
        for s, log, bias in zip(sampled.scores, logs, _biases(pair.form, z.biases), strict=False)
    ]
    (omega_a, slope_a), (omega_b, slope_b) = weights[0], weights[-1]
    return Head(omega_a, omega_b, slope_a, slope_b, *sampled[1:])


def _biases(form: Form, z: Float[Array, "C 2 buckets"] | None) -> tuple[Bias | None, Bias | None]:
    """Return what is added to the scores of both places: fixed numbers, and a head's own."""
    fixed, drawn = (form.bias_a, form.bias_b), form.drawn
    if drawn is None or z is None:
        return fixed
    first, other = (z[:, place][:, drawn.numbers][:, None] for place in range(2))
    tie = jnp.broadcast_to(drawn.tie, drawn.sd_b.shape)[None]
    both = drawn.sd_a[None] * first, drawn.sd_b[None] * (tie * first + (1 - tie) * other)
    a, b = (own if add is None else own + add for own, add in zip(both, fixed, strict=True))
    return a, b


def _zero(pair: _Pair, count: int) -> _Sampled:
    """Return scores of so many heads that are zero."""
    zero = jnp.zeros((count, *pair.query.ab.shape), dtype=jnp.float64)
    return _Sampled([zero, zero], pair.query.ab[None], pair.key.ab[None])


def _gaussian(pair: _Pair, z: Normals) -> _Sampled:
    """Sample the scores of law inf."""
    norms = None
    if pair.scores.qk_norm:
        pair, norms = _unit(pair)
    mixed = jnp.einsum("bti,cij->cbtj", pair.a, z[:, :, 0, : pair.a.shape[-1]])
    s = [jnp.einsum("cbtj,bsj->cbts", mixed[:, :, rows], pair.b[:, rows]) for rows in pair.places]
    return _Sampled(s, pair.query.ab[None], pair.key.ab[None], norms)


def _unit(pair: _Pair) -> tuple[_Pair, Norms]:
    """Normalise queries and keys of many coordinates, whose rms is the Gram's own."""
    (a, nu_q), (b, nu_k) = (normalised(x) for x in (pair.a, pair.b))
    first, last = pair.places[0], pair.places[-1]
    norms = Norms(
        nu_q[None, :, first], nu_q[None, :, last], nu_k[None, :, first], nu_k[None, :, last]
    )

    def unit(leg: Leg, nu: Array) -> Leg:
        return leg._replace(ab=leg.ab * nu[:, first, None] * nu[:, None, last])

    query, key = unit(pair.query, nu_q), unit(pair.key, nu_k)
    return pair._replace(a=a, b=b, query=query, key=key), norms


def _dotted(pair: _Pair, normals: Normals) -> _Sampled:
    """Sample queries and keys of law d, and multiply them."""
    scores, d, size = pair.scores, pair.scores.head_dim, normals.shape[-1]
    if scores.triangular(pair.tokens):
        size = min(pair.a.shape[-1], size)
    q = jnp.einsum("bti,cij->cbtj", pair.a, normals[:, :, 0, :size])
    k = jnp.einsum("bti,cij->cbtj", pair.b, normals[:, :, 1, :size])
    norms, angle = None, None
    if scores.qk_norm:
        (q, nu_q), (k, nu_k) = (normalised(x, d) for x in (q, k))
        first, last = pair.places[0], pair.places[-1]
        norms = Norms(nu_q[:, :, first], nu_q[:, :, last], nu_k[:, :, first], nu_k[:, :, last])
    if scores.rotary:
        angle = positions(pair.tokens, scores, pair.form.base)
    sides = [_side(q[:, :, rows], k[:, :, rows], d, angle) for rows in pair.places]
    inner = [side.x * d**0.5 for side in sides]
    a, b = sides[0], sides[-1]
    if scores.rotary or scores.qk_norm:
        return _Sampled(inner, norms=norms, sides=(a, b), angle=angle)
    # coordinates that no query sees, by their mean
    unseen = (1 - size / d) * pair.key.ab[None]
    return _Sampled(
        inner, _overlap(a.queries, b.queries) / d, _overlap(a.keys, b.keys) / d + unseen
    )


def _side(q: Coordinates, k: Coordinates, d: float, angle: Angle | None) -> Side:
    """Multiply the queries and keys of one place, turned by their positions, over d."""
    turned = (q, k) if angle is None else (rotated(q, angle), rotated(k, angle))
    return Side(q, k, _overlap(*turned) / d)


def normalised(
    x: Float[Array, "*many T d"], size: float = 1.0
) -> tuple[Float[Array, "*many T d"], Float[Array, "*many T"]]:
    """x [..., T, d] with squared length ``size``, and the factors [..., T] that make it so;
    zeros stay zero."""
    square = (x * x).sum(axis=-1) / size
    factor = jnp.where(
        square > 0,
        1 / jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square))),
        jnp.zeros_like(square),
    )
    return x * factor[..., None], factor


def _overlap(x: Coordinates, y: Coordinates) -> Omega:
    """Multiply each token's coordinates in x by each token's in y."""
    return jnp.einsum("cbtj,cbsj->cbts", x, y)


def _moved(
    scores: Scores, form: Form, query: Leg, key: Leg, function: Callable[[Head], Any]
) -> Any:
    """Take the mean over H heads, each of whose scores a unit of its own adds x to: x / sqrt(H) to
    their mean, x^2 to the mean of their squares. Two do the same, of scores x and -x and weights (1
    +- H^-1/2) / 2, as what is linear in one unit's x and another's has no mean."""
    assert form.seen is not None and scores.heads is not None
    share, (a, b) = (1 + scores.heads**-0.5) / 2, form.seen
    up, down = (
        function(_uniform(scores, form._replace(seen=pair), query, key))
        for pair in ((a, b), (-a, -b))
    )
    return jax.tree.map(lambda x, y: share * x + (1 - share) * y, up, down)


def _uniform(scores: Scores, form: Form, query: Leg, key: Leg) -> Head:
    """Return the head of scores that are zero, but for what a unit adds: the same for all, by mask
    and bias alone."""
    zero = jnp.zeros((1, *query.ab.shape), dtype=jnp.float64)
    seen = (0.0, 0.0) if form.seen is None else (form.seen[0][None], form.seen[1][None])
    a, b = (
        softmax(scores, None, zero + own, zero[0, :, 0, 0], bias)[0]
        for own, bias in zip(seen, (form.bias_a, form.bias_b), strict=True)
    )
    return Head(a, b, a, b, query.ab[None], key.ab[None])
