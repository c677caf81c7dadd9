"""The tangent kernel from the backward pass: Theta_ts = sum over a group of <dz_t/dtheta,
dz_s/dtheta>.

A backward pass that starts from a read-out Gram P gives sum_ts P_ts Theta_ts as the sum of its
gradient products, linear in P. Where tokens never mix, entry [t, s] of one pass with P = 1 1^T
belongs to outputs t and s alone. Where attention mixes them, Theta is the derivative of that sum by
P: one reverse sweep over the pass gives all pairs of outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Products = dict[str, tuple[Any, Any]]
"""group, or part of the stem -> (gradient products [P, T, T], log [P, T]) of one backward pass."""


def products(found: dict[str, Any], stem: dict[str, Any]) -> Products:
    """What a backward pass says of every group, the parts of the stem {part: (variance, Gram of
    its inputs [T, T])} included."""
    return found["groups"] | {
        part: ((found["stem"] * gram)[None], found["stem_log"][None])
        for part, (_, gram) in stem.items()
    }


def apart(found: Products) -> dict[str, tuple[Float[Array, "T T"], Float[Array, "T T"]]]:
    """group -> (Theta [T, T], log [T, T]) where tokens do not mix, from the pass with P = 1 1^T."""

    def total(amount: Any, log: Any) -> tuple[Any, Any]:
        both = log[:, :, None] + log[:, None, :]
        top = highest(both, amount, 0)
        return on_scale(top[None], amount, both).sum(axis=0), top

    return {name: total(*value) for name, value in found.items()}


def mixed(
    run: Callable[[Any], Products], tokens: int
) -> dict[str, tuple[Float[Array, "{tokens} {tokens}"], Float[Array, "{tokens} {tokens}"]]]:
    """group -> (Theta [T, T], log [T, T]) where tokens mix: the derivative of every group's sum
    by the read-out Gram."""

    def totals(gram: Any) -> tuple[Any, Any]:
        sums, tops = [], []
        for amount, log in _sorted(run(gram)).values():
            both = jax.lax.stop_gradient(log[:, :, None] + log[:, None, :])
            tops.append(highest(both, jax.lax.stop_gradient(amount), None))
            sums.append(on_scale(tops[-1], amount, both).sum())
        return jnp.stack(sums), jnp.stack(tops)

    start = jnp.eye(tokens, dtype=jnp.float64) + 1
    names = list(_sorted(jax.eval_shape(run, start)))
    sums, pull, tops = jax.vjp(totals, start, has_aux=True)
    theta = jax.vmap(lambda unit: pull(unit)[0])(jnp.eye(len(sums), dtype=jnp.float64))
    theta = (theta + jnp.swapaxes(theta, -1, -2)) / 2
    return {
        name: (theta[k], jnp.broadcast_to(tops[k], (tokens, tokens)))
        for k, name in enumerate(names)
    }


def highest(log: Any, amount: Any, axis: int | tuple[int, ...] | None) -> Any:
    """The largest log of amounts that are not zero."""
    top = jnp.where(amount == 0, -jnp.inf, log).max(axis=axis)
    return jnp.where(top == -jnp.inf, 0.0, top)


def on_scale(top: Any, amount: Any, log: Any) -> Any:
    """amount exp(log - top); a zero's log may lie above."""
    return amount * jnp.exp(jnp.minimum(log - top, 0.0))


def _sorted(found: Products) -> Products:
    return dict(sorted(found.items()))
