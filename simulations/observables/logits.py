"""Logits of one network at initialisation: their variance, a word's contact with its own
embedding, the cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.checks import EMBEDDING
from sigprop.description.shapes import Row
from sigprop.simulations.network import random
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.trace import Trace

WORDS = 256  # of a head at a time


def _outputs(arch: Architecture, trace: Trace) -> Any:
    """o [T, n], what the head sees; with an inverse temperature times e^s."""
    output = trace.taps.sum(axis=0)
    return (
        output * jnp.exp(trace.log_norm[-1])[:, None] if arch.head.inverse_temperature else output
    )


def logit_variance(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    output = _outputs(arch, trace)
    return tables["head"] * jnp.diagonal(dot(output, output))[np.array([row.token for row in rows])]


def logit_contact(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    return jnp.diagonal(dot(tables["parts"][EMBEDDING], _outputs(arch, trace)))[
        np.array([row.token for row in rows])
    ]


def cross_entropy(
    rows: Sequence[Row], arch: Architecture, shapes: Any, trace: Trace, gradients: Any, tables: Any
) -> Any:
    """log sum over words of exp(n^-1/2 e . o_t), the head's vectors e drawn ``WORDS`` at a time."""
    output, words = _outputs(arch, trace), arch.head.vocabulary or 0
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
    return jax.nn.logsumexp(every, axis=0)[np.array([row.token for row in rows])]
