"""Inner products of one network's vectors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def dot(x: Any, y: Any) -> Any:
    """<x, y> = (1/n) sum_i x_i y_i over the last axis of arrays [..., n], pairwise over the axis before."""
    return jnp.einsum("...tn,...sn->...ts", x, y, precision=jax.lax.Precision.HIGHEST) / x.shape[-1]
