"""The C library's memory: what one batch of networks gives back is kept for the next one, instead of mapped anew at every call."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of mallopt, from glibc's malloc.h
NEVER, NONE, ONE = -1, 0, 1
LONG = 2**15  # vectors of that length, some for every layer, are in no cache


def keep() -> bool:
    """Whether the C library does: of the whole process and for good, so for programs to call, not for libraries, and before jax starts its threads.

    Large arrays otherwise come from pages that the system maps, clears and takes back at every call: half of the time at width 10^6, or with
    matrices that are formed. Small ones are shared out a little slower. Does nothing where the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all([mallopt(ARENA_MAX, ONE), mallopt(MMAP_MAX, NONE), mallopt(TRIM_THRESHOLD, NEVER)])


def worth_keeping(engine: str, width: int) -> bool:
    """Whether networks of that engine ('auto' too) and width are large arrays."""
    return engine == "dense" or width >= LONG
