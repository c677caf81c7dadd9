"""Units of square orthogonal matrices, forward.

Haar matrices map an orthonormal set to a uniform orthonormal set, which is Gram-Schmidt of normals:
outputs of all questions of a slot are

    w = sqrt(C) chol(M) chol(Z)^-1 g,      M = <phi, phi'>,     Z = <g, g'>,

one more average, Z, whose mean is 1. A unit of weight t has normals g in Z = (1 - t) 1 + t g g^T;
and since <w, w'> = C M exactly, the others have (C M - t w w'^T) / (1 - t) of it. Source: derived
(finite-width page, section 2.4; tests/theory/fluctuations/test_isometric.py).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def weight(t: Any, size: int) -> Any:
    """Return the weight of a unit of ``size`` of the n coordinates that a matrix returns."""
    return t * math.sqrt(size)


def straightened(
    t: Any, normals: Float[Array, "P C T"], same: Float[Array, "P P"]
) -> Float[Array, "P C T"]:
    """Return chol(Z)^-1 g of a unit's normals. same: 1 where two steps share the matrix."""
    steps, size, tokens = normals.shape
    g = jnp.moveaxis(normals, 1, 2).reshape(steps * tokens, size)
    shared = jnp.kron(same, jnp.ones((tokens, tokens), dtype=g.dtype))
    t = weight(t, size)
    z = (1 - t) * jnp.eye(len(g), dtype=g.dtype) + t * (g @ g.T) / size * shared
    root = jnp.linalg.cholesky(z)
    found = jax.scipy.linalg.solve_triangular(root, g, lower=True)
    return jnp.moveaxis(found.reshape(steps, tokens, size), 2, 1)


def of_others(
    t: Any,
    seen: Float[Array, "B T T"],
    outputs: Float[Array, "C T"],
    partners: Float[Array, "U C T"],
    variance: Any,
) -> Float[Array, "B T T"]:
    """Return the others' <w, w'> over C. seen: M; outputs: the unit's w, partners: its w'."""
    own = jnp.einsum("ct,ucs->uts", outputs, partners) / len(outputs)
    t = weight(t, len(outputs))
    return (seen - t * own / jnp.asarray(variance)) / (1 - t)
