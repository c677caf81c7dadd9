"""The precision that networks are simulated in: float32, or float64 in a scope of its own.

Random numbers are drawn in float32 whatever the precision, and converted: a network in float64 is
the float32 one with its rounding removed. jax's own configuration is left as it was found.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from sigprop.errors import InputError, near_miss

SINGLE, DOUBLE = "float32", "float64"
DTYPES = (SINGLE, DOUBLE)
_FINITE = "accepted: parameters at which squares stay below"
BEYOND = {
    SINGLE: f"(float32); {_FINITE} 3.4e38, or dtype=float64, which goes on to 1.8e308",
    DOUBLE: f"(float64); {_FINITE} 1.8e308",
}
"""What to say of networks whose squares are not finite in that precision."""


def check_dtype(dtype: object) -> str:
    """Return the name of a precision when it is one of ``DTYPES``; raises ``InputError``."""
    if dtype not in DTYPES:
        raise InputError(f"dtype={dtype!r}{near_miss(str(dtype), DTYPES)}")
    return str(dtype)


def itemsize(dtype: str) -> int:
    """Return the bytes of one number."""
    return np.dtype(dtype).itemsize


def scope(dtype: str) -> AbstractContextManager[object]:
    """Return the context in which programs of that precision are traced, compiled and run."""
    if dtype == SINGLE:
        return nullcontext()
    import jax

    return jax.enable_x64(True)
