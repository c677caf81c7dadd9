"""Softmax attention of one finite network: heads, masks, and which widths they allow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax, nn
from jaxtyping import Float

from sigprop.errors import InputError
from sigprop.language.expression import Attend
from sigprop.language.scores import Scores
from sigprop.language.traversal import group_of, rows_of

Number = Float[Array, ""]
Heads = Float[Array, "T heads d"]


def heads_of(scores: Scores, rows: int) -> int:
    """Count the heads that share ``rows`` query coordinates."""
    return scores.heads if scores.scale == "linear" else rows // int(scores.head_dim)  # type: ignore[return-value]


def check_heads(node: Attend, width: int) -> None:
    """Raise ``InputError`` where this width does not divide into whole heads of queries, and of
    keys and values, as many of every kind."""
    rows = width * rows_of(node.query)
    if node.scores.scale == "linear":
        step = node.scores.heads or 1
        if step % node.kinds:
            raise InputError(
                f"heads={step}: a bias of {node.kinds} kinds of heads; accepted: a multiple of "
                f"{node.kinds}"
            )
    elif math.isinf(node.scores.head_dim):
        raise InputError(
            "head_dim=inf is a limit that only the theory knows; accepted for finite networks: a "
            "number"
        )
    else:
        step = int(node.scores.head_dim)
    least = step * group_of(node)
    if (
        rows.denominator != 1
        or rows % least
        or (node.scores.scale == "linear" and step % group_of(node))
    ):
        what = (
            f"{step} heads"
            if node.scores.scale == "linear"
            else f"head_dim={step} with {group_of(node)} query heads a key head"
        )
        raise InputError(
            f"width={width}: {what} does not divide the {rows} query coordinates; accepted: a "
            f"multiple of {least}"
        )
    if (rows / step) % node.kinds and node.scores.scale != "linear":
        raise InputError(
            f"width={width}: {rows / step} heads of {node.kinds} kinds; accepted: as many heads of "
            f"every kind"
        )


class Legs(NamedTuple):
    """Queries [T, H d], keys and values [T, H d / g]."""

    q: Float[Array, "T queried"]
    k: Float[Array, "T kept"]
    v: Float[Array, "T kept"]


def attend(
    scores: Scores,
    group: int,
    legs: Legs,
    *,
    cap: Number | None = None,
    base: Number | None = None,
    mask: Callable[[tuple[int, ...]], Array] | None = None,
    bias: Float[Array, "#heads #T T"] | None = None,
) -> tuple[Float[Array, "T queried"], Float[Array, " T"]]:
    """[T, H d], and sum_s Omega_ts^2 [T] on average over heads.

    Head h reads the keys and values of head h // g. mask: shape -> what dropout multiplies Omega
    with; bias: added to the capped scores, of every head or one for all.
    """
    tokens, rows = legs.q.shape
    heads = heads_of(scores, rows)
    q, k, v = (
        x.reshape(tokens, count, -1)
        for x, count in zip(legs, (heads, heads // group, heads // group), strict=True)
    )  # [T, heads, d]
    s = _scores(scores, group, q, k, base=base)
    s = s if cap is None else cap * jnp.tanh(s / cap)
    if bias is not None:
        s = (s.reshape(heads, tokens, tokens) + bias).reshape(s.shape)
    allowed = jnp.asarray(scores.allowed(tokens))[None, None]
    omega = nn.softmax(jnp.where(allowed, s, jnp.full_like(s, -jnp.inf)), axis=-1)
    kept = omega if mask is None else omega * mask(omega.shape)
    output = jnp.einsum("kgts,skd->tkgd", kept, v, precision=lax.Precision.HIGHEST)
    return output.reshape(tokens, rows), (omega * omega).sum(axis=-1).mean(axis=(0, 1))


def _scores(
    scores: Scores, group: int, q: Heads, k: Float[Array, "T kv d"], *, base: Number | None
) -> Float[Array, "kv g T T"]:
    """Return the scores of each key head's queries."""
    tokens, heads, size = q.shape
    if scores.qk_norm:
        q, k = normalised(q), normalised(k)
    if scores.rotary:
        assert base is not None
        turned = scores.turned_features
        q, k = rotated(q, base, turned), rotated(k, base, turned)
    factor = 1 / size if scores.scale == "linear" else size**-0.5
    q = q.reshape(tokens, heads // group, group, size)
    return factor * jnp.einsum("tkgd,skd->kgts", q, k, precision=lax.Precision.HIGHEST)


def normalised(x: Heads) -> Heads:
    """x [T, heads, d] over its rms; zero stays zero."""
    square = (x * x).mean(axis=-1, keepdims=True)
    return x / jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))


def rotated(x: Heads, base: Number | float, size: int) -> Heads:
    """Coordinates j and j + m/2 of x [T, heads, d] turned by the angle t base^(-2j/m) at token t,
    of the first m = ``size`` ones."""
    tokens = x.shape[0]
    frequency = base ** (-2 * jnp.arange(size // 2, dtype=x.dtype) / size)
    # [T, 1, d/2]
    angle = (jnp.arange(tokens, dtype=x.dtype)[:, None] * frequency[None])[:, None, :]
    first, second, rest = jnp.split(x, [size // 2, size], axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos, rest], axis=-1)
