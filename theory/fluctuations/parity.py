"""What activations are like on both sides of 0: odd or even, and with a derivative that jumps."""

from __future__ import annotations

import functools

import jax
import numpy as np

from sigprop.language.activation import Activation
from sigprop.theory.gaussian.series import roughness

POINTS = np.logspace(-6, 1.5, 200)
ROUNDING = 1e-12
NEAR, JUMP = 1e-7, 1e-4
"""A distance from 0, and the least that a derivative is called to jump by over it."""


@functools.cache
def has_parity(activation: Activation) -> bool:
    """Tell whether an activation is odd or even: then E[phi'(x) phi(y)] = 0."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        right, left = (
            np.asarray(activation.function(jax.numpy.asarray(s * POINTS))) for s in (1, -1)
        )
    bound = ROUNDING * np.maximum(np.abs(right), np.abs(left))
    return bool((np.abs(right + left) <= bound).all() or (np.abs(right - left) <= bound).all())


@functools.cache
def is_kinked(activation: Activation) -> bool:
    """Tell whether an activation's derivative jumps, at 0 or elsewhere: sampled units miss what
    moves by a jump."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        slopes = np.asarray(activation.derivative(jax.numpy.asarray([-NEAR, NEAR])))
    return bool(abs(slopes[1] - slopes[0]) > JUMP) or roughness(activation, 16)[1] > 0
