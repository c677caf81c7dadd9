"""Logits of one network at initialisation: their variance, a word's contact with its own
embedding, the cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.checks import EMBEDDING
from sigprop.description.shapes import Row
from sigprop.simulations.network import random
from sigprop.simulations.network.inner import dot
from sigprop.simulations.observables.outcome import Outcome, tokens

WORDS = 256  # of a head at a time


def _outputs(outcome: Outcome) -> jax.Array:
    """Return o [T, n], what the head sees; with an inverse temperature times e^s."""
    output = outcome.trace.taps.sum(axis=0)
    if not outcome.arch.head.inverse_temperature:
        return output
    return output * jnp.exp(outcome.trace.log_norm[-1])[:, None]


def logit_variance(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return the head's variance times <o_t, o_t>."""
    output = _outputs(outcome)
    return outcome.tables["head"] * jnp.diagonal(dot(output, output))[tokens(rows)]


def logit_contact(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return <e_t, o_t>, e_t the word's own embedding."""
    embedding = outcome.tables["parts"][EMBEDDING]
    return jnp.diagonal(dot(embedding, _outputs(outcome)))[tokens(rows)]


def cross_entropy(rows: Sequence[Row], outcome: Outcome) -> jax.Array:
    """Return log sum over words of exp(n^-1/2 e . o_t), the head's vectors e drawn ``WORDS`` at
    a time."""
    output, words, tables = _outputs(outcome), outcome.arch.head.vocabulary or 0, outcome.tables
    width, blocks = output.shape[-1], -(-words // WORDS)

    def block(i: Any) -> Any:
        e = random.normal(
            jax.random.fold_in(jax.random.fold_in(tables["key"], np.uint32(2**31)), i),
            (WORDS, width),
            output.dtype,
        )
        # [T, WORDS]
        logits = jnp.sqrt(tables["head"] / width) * jnp.matmul(
            output, e.T, precision=jax.lax.Precision.HIGHEST
        )
        return jax.nn.logsumexp(
            jnp.where(
                (i * WORDS + jnp.arange(WORDS, dtype=jnp.uint32) < words)[None], logits, -jnp.inf
            ),
            axis=-1,
        )

    every = jax.lax.map(block, jnp.arange(blocks, dtype=jnp.uint32))
    return jax.nn.logsumexp(every, axis=0)[tokens(rows)]
