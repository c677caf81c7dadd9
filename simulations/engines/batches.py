"""How many networks a call takes, and how many calls are in flight: what fits and is quick on the
device there is."""

from __future__ import annotations

import os

import jax
import numpy as np

MOST_LANES = 8
# a batch has one shape whatever is asked, so that a width compiles once; short, so little is wasted
BATCH_SECONDS = 0.05
# what an accelerator does while two cores, of which ``Engine.seconds`` speaks, do one thing:
# roughly, and rather too little
ACCELERATED = 100


def pace() -> int:
    """Return how many times as fast as two cores the device is, roughly."""
    return 1 if jax.default_backend() == "cpu" else ACCELERATED


def lanes(fits: float) -> int:
    """Batches in flight: as many as there are cores for one device, where memory has room;
    accelerators queue by themselves."""
    alone = jax.default_backend() == "cpu" and len(jax.local_devices()) == 1
    return int(np.clip(min(os.cpu_count() or 1, fits), 1, MOST_LANES)) if alone else 1


def batch_size(fits: float, seconds: float) -> int:
    """Networks a call: a power of two (so any device count up to it divides it), as many as are
    quick and fit. seconds: of a network, on two cores."""
    return 1 << int(np.log2(np.clip(min(fits, pace() * BATCH_SECONDS / seconds), 1, 4096)))
