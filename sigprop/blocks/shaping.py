"""Shaped activations: the leaky relu that keeps the tokens of a skipless network apart (TAT,
Zhang et al. 2203.08120; He et al. 2302.10322)."""

from __future__ import annotations

import math

from sigprop.language.activation import Activation
from sigprop.language.activations import leaky

DIGITS = 6  # of a slope


def cosine_map(slope: float, cosine: float) -> float:
    """C_a(c) = c + (1 - a)^2/(pi (1 + a^2)) (sqrt(1 - c^2) - c arccos c): the cosine after a
    leaky relu of slope a below zero."""
    c = min(max(cosine, -1.0), 1.0)
    return c + (1 - slope) ** 2 / (math.pi * (1 + slope**2)) * (
        math.sqrt(1 - c * c) - c * math.acos(c)
    )


def tailored_slope(nonlinearities: int, eta: float) -> float:
    """a with C_a(C_a(... 0)) = eta after that many, to ``DIGITS``; 0 (relu) where relu's own does
    not exceed eta.

    nonlinearities: n >= 1; eta: cosine after all of them, in (0, 1). Source: TAT as 2302.10322 uses
    it; tests/blocks/test_shaping.py.
    """
    from scipy.optimize import brentq

    def after(slope: float) -> float:
        c = 0.0
        for _ in range(nonlinearities):
            c = cosine_map(slope, c)
        return c

    if after(0.0) <= eta:
        return 0.0
    return round(float(brentq(lambda slope: after(slope) - eta, 0.0, 1.0, xtol=1e-12)), DIGITS)


def shaped_leaky_relu(nonlinearities: int, eta: float) -> Activation:
    """The leaky relu of ``tailored_slope``."""
    return leaky(tailored_slope(nonlinearities, eta))
