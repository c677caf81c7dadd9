"""One step of the Gram scan as algebra on arrays: S' = M S + B w on Grams [m, m, K, T, T], and its
units.

M [m, m, K, T], B [m, W, K, T]; <w, S> [W, m, K, T, T]; axes as in ``gram_scan``.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.theory.calculus.linear import advance
from sigprop.theory.gaussian.gaps import Pair, joined

BEYOND = 200  # powers of two

Transition = Float[Array, "m m K T"]
Into = Float[Array, "m W K T"]
Grams = Float[Array, "m m K T T"]
Reads = Float[Array, "R m K T"]
Log = Float[Array, "1 T"]


def lanes_first(
    m: Transition,
    b: Into,
    rows: Float[Array, "C m m K T T"],
    cross: Float[Array, "C W m K T T"] | None,
) -> Float[Array, "C m m K T T"]:
    """``advance`` on the first lane and token axis of rows [C, m, m, K, T, T]; cross [C, W, m, K,
    T, T]."""
    lanes, writes = range(m.shape[0]), range(b.shape[1])
    transition = {(i, j): m[i, j][None, None, :, :, None] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][None, None, :, :, None] for i in lanes for k in writes}
    new = [] if cross is None else [cross[:, k] for k in writes]
    return jnp.stack(advance(transition, into, [rows[:, j] for j in lanes], new), axis=1)


def next_gram(
    m: Transition,
    b: Into,
    gram: Grams,
    cross: Float[Array, "W m K T T"],
    own: Float[Array, "W W T T"],
) -> Grams:
    """<S', S'> from <S, S> [m, m, K, T, T], <w, S> [W, m, K, T, T] and <w, w> [W, W, T, T]:
    ``advance`` on one side, then on the other."""
    half = lanes_first(m, b, gram[None], cross[None])[0]  # <S', S_j>
    lanes, writes = range(m.shape[0]), range(b.shape[1])
    transition = {(i, j): m[i, j][:, :, None] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][:, :, None] for i in lanes for k in writes}
    with_writes = []  # <S', w_l>
    for write in writes:
        old = [jnp.swapaxes(cross[write, j], -1, -2) for j in lanes]
        new = [jnp.broadcast_to(own[k, write][None], cross.shape[2:]) for k in writes]
        with_writes.append(jnp.stack(advance(transition, into, old, new)))
    second = {(i, j): m[i, j][None, :, None, :] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][None, :, None, :] for i in lanes for k in writes}
    return jnp.stack(advance(second, into, [half[:, j] for j in lanes], with_writes), axis=1)


def moderate(m: Transition, b: Into, log: Log) -> tuple[Transition, Into, Log]:
    """Coefficients whose squares floats could not hold, in units of a power of two (others as
    they are)."""
    scale, more = unit(jnp.maximum(jnp.abs(m).max(axis=(0, 1, 2)), jnp.abs(b).max(axis=(0, 1, 2))))
    return m / scale[None, None, None], b / scale[None, None, None], log + more[None]


def unit(size: Float[Array, "*s"]) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """The power of two next to sizes whose squares floats could not hold, else 1; and its
    logarithm."""
    size = jax.lax.stop_gradient(size)
    power = jnp.round(jnp.log2(jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)))
    power = jnp.where(jnp.abs(power) > BEYOND, power, 0.0)
    return jnp.exp2(power), power * math.log(2)


def normalised(
    m: Transition, b: Into, log: Log, gram: Grams
) -> tuple[Transition, Into, Log, Grams]:
    """Move the state's size into its log scale, so that its largest lane has unit variance per
    token."""
    # a choice of units, not a function of the Gram
    size = jax.lax.stop_gradient(jnp.max(jnp.einsum("iiktt->ikt", gram), axis=(0, 1)))
    scale = jnp.where(size > 0, jnp.sqrt(jnp.where(size > 0, size, 1.0)), 1.0)
    return (
        m / scale[None, None, None, :],
        b / scale[None, None, None, :],
        log + jnp.log(scale)[None],
        gram / (scale[:, None] * scale[None, :])[None, None, None],
    )


def next_gap(
    m: Float[Array, " T"],
    b: Float[Array, " T"],
    state: tuple[Any, Any],
    write: tuple[Any, Any],
    nudge: Any,
) -> Float[Array, "T T"]:
    """Return 1 - rho^2 of m h + b w, w being independent of h. state, write: Gram and gap [T, T] of
    h and w; nudge: what angles are moved by."""
    pairs = []
    for factor, (gram, gap) in ((m, state), (b, write)):
        q = factor * factor * jnp.diagonal(gram)
        pairs.append(Pair(q[:, None], factor[:, None] * factor[None, :] * gram, q[None, :], gap))
    gap, same = joined(pairs).gap, jnp.eye(len(m), dtype=bool)
    return jnp.where(same, 0.0, jnp.minimum((jnp.sqrt(gap) + nudge) ** 2, 1.0))


def by_band(rho: Reads, gram: Grams, before: tuple[Any, Any, Any] | None) -> tuple[Any, Any] | None:
    """Return <x, x> [R, R, K, T, T] of what is read, and with what earlier steps did [U, R, R, K,
    T, T]; None of one band, where it is no news. before: overlaps of states with theirs, the reads
    of all steps, and the partners [U]; None where no steps share a weight."""
    if rho.shape[2] == 1:
        return None
    own = jnp.einsum("rikt,qjks,ijkts->rqkts", rho, rho, gram)
    if before is None:
        return own, None
    rows, reads, partners = before
    q = jnp.minimum(partners, reads.shape[0] - 1)
    return own, jnp.einsum("rikt,uqjks,uijkts->urqkts", rho, reads[q], rows[q])
