"""One head, sampled: weights Omega of two applications from their joint scores, and the head's own
key and query Grams.

    law d     q = A z_q, k = B z_k, A A^T = <q, q>, B B^T = <k, k>, z iid of d coordinates;   S = q
              k^T / sqrt(d)
    law inf   S = A Z B^T, Z iid: Gaussian scores of covariance <q, q'> <k, k'>

Law d is exact for every head_dim as width and heads grow; both are joint over tokens and over two
applications. Source: derived; tests/theory/attention/test_attention_laws.py samples plain heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.scores import Scores

CHUNK = 2**22  # numbers in one chunk of sampled heads
LARGEST = 300.0  # of the scores' log scale: beyond it a softmax has long been a maximum


Number = Float[Array, "1 1 1"]
Bias = Float[Array, "#B #T T"]
Omega = Float[Array, "C B T T"]
Kept = Float[Array, "*d C B T T"]
Factor = Float[Array, "B R R"]
"""A with A A^T a Gram of tokens, or of both places' tokens."""


class Leg(NamedTuple):
    """Gram of queries or keys at two places: own a [B, T, T], cross a-b, own b; log: of each
    place's scale, [B] each."""

    aa: Float[Array, "B T T"]
    ab: Float[Array, "B T T"]
    bb: Float[Array, "B T T"]
    log_a: Float[Array, " B"]
    log_b: Float[Array, " B"]


class Form(NamedTuple):
    """How scores become weights, beside ``Scores``: the soft cap and the rotary base [1, 1, 1],
    the biases [B, T or 1, T] at a and b; or None."""

    cap: Number | None = None
    base: Number | None = None
    bias_a: Bias | None = None
    bias_b: Bias | None = None


class Norms(NamedTuple):
    """What normalised queries and keys add to a head: the factors nu of queries and keys [C, B,
    T] at a and b (1/rms), and over head_dim x_a, x_b = <q_t, k_s> of one place [C, B, T, T], y =
    <q_t at a, k_s at b>, z = <k_s at a, q_t at b> [C, B, T, T], with rotary one a frequency as
    ``Head.keys`` (None where they vanish: inf)."""

    query_a: Float[Array, "C B T"]
    query_b: Float[Array, "C B T"]
    key_a: Float[Array, "C B T"]
    key_b: Float[Array, "C B T"]
    x_a: Omega | None = None
    x_b: Omega | None = None
    y: Kept | None = None
    z: Kept | None = None


class Head(NamedTuple):
    """omega_a, omega_b [C, B, T, T]; slope: Omega times the cap's slope; queries, keys: <q_a,
    q_b>, <k_a, k_b> of the very head (law d) or their Grams (inf), with rotary [d, C, B, T, T],
    each frequency's real and imaginary part, and turns [d, T, T] that bring a sum over them back
    to where the tokens were before."""

    omega_a: Omega
    omega_b: Omega
    slope_a: Omega
    slope_b: Omega
    queries: Kept
    keys: Kept
    turns: Float[Array, "d T T"] | None = None
    norms: Norms | None = None


def factor(leg: Leg, same: bool) -> Factor:
    """[B, T or 2T, same]: A with A A^T = the (stacked) Gram; singular Grams too. Leading columns
    carry most."""
    if same:
        gram = leg.aa
    else:
        turned = jnp.swapaxes(leg.ab, -1, -2)
        gram = jnp.concatenate(
            [jnp.concatenate([leg.aa, leg.ab], -1), jnp.concatenate([turned, leg.bb], -1)], -2
        )
    values, vectors = jnp.linalg.eigh((gram + jnp.swapaxes(gram, -1, -2)) / 2)
    return (vectors * jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))[..., None, :])[
        ..., ::-1
    ]


def expectation(
    scores: Scores,
    form: Form,
    points: Float[Array, "K both sides coordinates"] | None,
    query: Leg,
    key: Leg,
    same: bool,
    function: Callable[[Head], Any],
) -> Any:
    """E[function(head)], by the mean over ``points`` (``draws``), chunk by chunk; function: [C, B,
    ...] -> [B, ...] sums.

    same: the two places are one application (then a and b coincide).
    """
    batch, tokens = query.ab.shape[:2]
    if scores.uniform:
        return function(_uniform(scores, form, query, key))
    assert points is not None
    a, b = factor(query, same), factor(key, same)
    size, count, coordinates = a.shape[-1], *points.shape[:: points.ndim - 1]
    held = (
        batch
        * tokens
        * max(2 * tokens, coordinates)
        * (tokens if scores.rotary or scores.qk_norm else 1)
    )
    held = held * int(scores.head_dim) if scores.rotary and scores.qk_norm else held
    chunk = 2 ** int(math.log2(max(1, min(count, CHUNK // held))))
    z = points[:, :size].reshape(count // chunk, chunk, size, *points.shape[2:])
    # heads are sampled again in reverse
    sums = jax.lax.map(
        jax.checkpoint(lambda z: function(_head(scores, form, z, a, b, query, key, same))), z
    )
    return jax.tree.map(lambda leaf: leaf.sum(axis=0) / count, sums)


def _head(
    scores: Scores,
    form: Form,
    z: Float[Array, "C R sides d"],
    a: Factor,
    b: Factor,
    query: Leg,
    key: Leg,
    same: bool,
) -> Head:
    tokens = query.ab.shape[-1]
    norms, turns = None, None
    parts = [slice(0, tokens)] if same else [slice(0, tokens), slice(tokens, 2 * tokens)]
    logs = [query.log_a + key.log_a, query.log_b + key.log_b]
    if scores.qk_norm:
        logs = [jnp.zeros_like(log) for log in logs]
    if math.isinf(scores.head_dim):
        if scores.qk_norm:
            a, b, query, key, norms = _unit(a, b, query, key, parts)
        mixed = jnp.einsum("bti,cij->cbtj", a, z[:, :, 0, : a.shape[-1]])
        s = [jnp.einsum("cbtj,bsj->cbts", mixed[:, :, part], b[:, part]) for part in parts]
        queries, keys = query.ab[None], key.ab[None]
    else:
        d, size = (
            scores.head_dim,
            min(a.shape[-1], z.shape[-1]) if scores.triangular(tokens) else z.shape[-1],
        )
        q = jnp.einsum("bti,cij->cbtj", a, z[:, :, 0, :size])
        k = jnp.einsum("bti,cij->cbtj", b, z[:, :, 1, :size])
        (q, nu_q), (k, nu_k) = (
            _normalised(x, d) if scores.qk_norm else (x, x[..., 0]) for x in (q, k)
        )
        qs, ks = ([x[:, :, part] for part in parts] for x in (q, k))

        def over(x, y):
            return jnp.einsum("cbtj,cbsj->cbts", x, y) / d

        if scores.rotary:
            angle = positions(tokens, int(d), form.base)
            qs, ks = ([rotated(x, angle) for x in xs] for xs in (qs, ks))
            back = angle[:, :, None] - angle[:, None, :]
            turns, over = (
                jnp.concatenate([jnp.cos(back), -jnp.sin(back)]),
                lambda x, y: _frequencies(x, y) / d,
            )
        total = (lambda x: x[: int(d) // 2].sum(axis=0)) if scores.rotary else (lambda x: x)
        overlaps = [total(over(x, y)) for x, y in zip(qs, ks, strict=True)]
        s = [x * d**0.5 for x in overlaps]
        queries, keys = (over(x[0], x[-1]) for x in (qs, ks))
        if scores.qk_norm:
            first, last = parts[0], parts[-1]
            crossed = over(qs[0], ks[-1]), over(ks[0], qs[-1])
            norms = Norms(
                nu_q[:, :, first],
                nu_q[:, :, last],
                nu_k[:, :, first],
                nu_k[:, :, last],
                overlaps[0],
                overlaps[-1],
                *crossed,
            )
        elif not scores.rotary:
            # coordinates that no query sees, by their mean
            keys = keys + (1 - size / d) * key.ab[None]
    omega = [
        softmax(scores, form.cap, x, log, bias)
        for x, log, bias in zip(s, logs, (form.bias_a, form.bias_b), strict=False)
    ]
    (omega_a, slope_a), (omega_b, slope_b) = omega[0], omega[-1]
    return Head(omega_a, omega_b, slope_a, slope_b, queries, keys, turns, norms)


def _normalised(
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


def _unit(
    a: Factor, b: Factor, query: Leg, key: Leg, parts: list[slice]
) -> tuple[Factor, Factor, Leg, Leg, Norms]:
    """The limit of many coordinates: rms is the Gram's own."""
    (a, nu_q), (b, nu_k) = (_normalised(x) for x in (a, b))
    first, last = parts[0], parts[-1]
    norms = Norms(
        nu_q[None, :, first], nu_q[None, :, last], nu_k[None, :, first], nu_k[None, :, last]
    )

    def unit(leg, nu):
        return leg._replace(ab=leg.ab * nu[:, first, None] * nu[:, None, last])

    return a, b, unit(query, nu_q), unit(key, nu_k), norms


def positions(tokens: int, size: int, base: Number | float | None) -> Float[Array, "half {tokens}"]:
    """Rotary angles [d/2, T]: theta_j t = base^(-2j/d) t."""
    assert base is not None
    frequency = jnp.reshape(base, (1,)) ** (-2 * jnp.arange(size // 2, dtype=jnp.float64) / size)
    return frequency[:, None] * jnp.arange(tokens, dtype=jnp.float64)[None]


def rotated(
    x: Float[Array, "C B T d"], angle: Float[Array, "half T"]
) -> Float[Array, "C B T 2 half"]:
    """Coordinates j and j + d/2 of x [C, B, T, d] as one complex number, turned by each token's
    angle [d/2, T]: [C, B, T, 2, d/2]."""
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = (f(angle).T[None, None] for f in (jnp.cos, jnp.sin))
    return jnp.stack([first * cos - second * sin, first * sin + second * cos], axis=-2)


def _frequencies(
    x: Float[Array, "C B T 2 half"], y: Float[Array, "C B T 2 half"]
) -> Float[Array, "d C B T T"]:
    """[d, C, B, T, T] of x^* y, x and y [C, B, T, 2, d/2]: the real parts by frequency, then the
    imaginary ones."""
    quarter = jnp.stack([y[..., 1, :], -y[..., 0, :]], axis=-2)
    return jnp.concatenate([jnp.einsum("cbtpj,cbspj->jcbts", x, z) for z in (y, quarter)])


def _uniform(scores: Scores, form: Form, query: Leg, key: Leg) -> Head:
    """Of scores that are zero: the same for every head, given by mask and bias alone."""
    zero = jnp.zeros((1, *query.ab.shape), dtype=jnp.float64)
    a, b = (
        softmax(scores, None, zero, zero[0, :, 0, 0], bias)[0]
        for bias in (form.bias_a, form.bias_b)
    )
    return Head(a, b, a, b, query.ab[None], key.ab[None])


def softmax(
    scores: Scores,
    cap: Number | None,
    s: Omega,
    log: Float[Array, " #B"],
    bias: Bias | None = None,
) -> tuple[Omega, Omega]:
    """Omega [C, B, T, T] of scores exp(log) s, capped, plus the bias, over the allowed tokens;
    and Omega times the cap's slope."""
    s = s * jnp.exp(jnp.minimum(log, LARGEST))[None, :, None, None]
    if cap is not None:
        s = cap[None] * jnp.tanh(s / cap[None])
    biased = s if bias is None else s + bias[None]
    allowed = jnp.asarray(scores.allowed(s.shape[-1]))[None, None]
    omega = jax.nn.softmax(jnp.where(allowed, biased, -jnp.inf), axis=-1)
    return omega, omega if cap is None else omega * (1 - (s / cap[None]) ** 2)
