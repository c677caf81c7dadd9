"""Component formulas of 2403.09635 as the paper states them: what ``components`` prints beside
our values."""

from __future__ import annotations

import math
from math import acos, asin, pi, sqrt


def linear(s: float, r: float) -> dict[str, float]:
    """Unit gain; s: input variance, r: token cosine."""
    return {"variance": s, "covariance": r * s, "gradient_variance": 1.0}


def relu(s: float, r: float) -> dict[str, float]:
    """About the mean."""
    covariance = s / (2 * pi) * (pi * r + sqrt(1 - r**2) - r * acos(r) - 1)
    return {"variance": s * (pi - 1) / (2 * pi), "covariance": covariance, "gradient_variance": 0.5}


def gelu(s: float, r: float) -> dict[str, float]:
    """About the mean; a = s/(1 + s)."""
    a = s / (1 + s)
    tail = 2 * s / pi * (s * (1 - r**2) + 1 + r**2) / ((s + 1) * sqrt((s + 1) ** 2 - (r * s) ** 2))
    return {
        "variance": s / (2 * pi) * (pi - a - acos(a) + 2 * a * sqrt((1 - a) / (1 + a))),
        "covariance": s / 4 * (r + 2 * r / pi * asin(r * a) + tail) - s * a / (2 * pi),
        "gradient_variance": 0.5 + (-acos(a) + a * (5 * s + 3) / (1 + 2 * s) ** 1.5) / (2 * pi),
    }


def layer_norm(s: float, r: float) -> dict[str, float]:
    """In the limit of a wide layer."""
    return {"variance": 1.0, "covariance": r, "gradient_variance": 1 / s}


def dropout(s: float, r: float, p: float) -> dict[str, float]:
    """Zero mean."""
    return {"variance": s / (1 - p), "covariance": r * s, "gradient_variance": 1 / (1 - p)}


def softmax(tokens: int, score: float, r: float) -> dict[str, float]:
    """The simple forms, of one entry; score: logit variance, r: their correlation along the row."""
    e = math.exp((1 - r) * score)
    return {"variance": (e - 1) / tokens**2, "gradient_variance": e / tokens**2}


def attention(
    tokens: int, score: float, r: float, p: float, fan_in: int, g: float
) -> dict[str, float]:
    """Single-head attention at unit input variance and unit value gain; g: gradient cosine; score =
    (d_in sigma_q sigma_k)^2 sigma_x^4.

    ``fan_in`` only enters in terms that the paper writes with k = score/d_in.
    """
    k, e = score / fan_in, math.exp((1 - r) * score)
    variance = (
        (1 - r) ** 2 * (tokens - 1) * k + e / (1 - p) * (4 * (1 - r) ** 2 * k + (1 - r))
    ) / tokens + r
    return {
        "variance": variance,
        "covariance": r + (2 * (1 - r) ** 2 * k + (1 - r)) / tokens,
        "gradient_variance": (1 + (tokens - 1) * g * (1 - p)) / (tokens * (1 - p)),
    }
