"""Tied networks that never stop growing: limits of states and gradients as eps N -> infinity, from
one branch map.

In x = ln(s/t) the cosine of two times obeys c'' = c - K(c)/A, K normalised to K(1) = 1. Energy
conservation from c(0) = 1 to the plateau c*:

    A = 2 (V(1) - V(c*)) / (1 - c*^2),   V(c) = int_0^c K,   K(c*) = A c*;        R^2 -> A g (eps
    N)^2, g the branch's gain gamma^2 = top eigenvalue of d^2/dx^2 + K'(c(x))/A;
    stem gradient ~ (eps N)^(2 gamma)

A = 1 and gamma = sqrt(chi) where chi = K'(1) <= 1 (states align; at 1 logarithms).
Source: derived (exponents page, sections 1 and 2; tests/theory/exponents/test_tied_limit.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import integrate, linalg, optimize

from sigprop.theory.exponents.branch_map import BranchMap

ALIGNED = 1e-7  # chi within this of 1 is 1: what a Hermite series of it may be off by
# of x = ln(s/t); the eigenvalue's error falls as the step's square and is extrapolated
REACH, STEP = 60.0, 0.01


@dataclass(frozen=True)
class TiedLimit:
    """amplitude: A; cosine: c*; gamma, and gamma_error: how far two step sizes leave it open."""

    amplitude: float
    cosine: float
    gamma: float
    gamma_error: float


def tied_limit(branch: BranchMap) -> TiedLimit:
    """A, c* and gamma of a branch map."""
    if branch.chi <= 1 + ALIGNED:
        return TiedLimit(
            1.0, 1.0, float(np.sqrt(branch.chi)) if branch.chi < 1 - ALIGNED else 1.0, 0.0
        )
    kernel, slope, above = branch.smooth()  # above(theta) = V(1) - V(cos theta)
    end = _plateau(kernel, above)
    amplitude = 2 * float(above(end)) / np.sin(end) ** 2
    coarse, fine = (
        _ground_state(kernel, slope, above, amplitude, end, step) for step in (STEP, STEP / 2)
    )
    square = fine + (fine - coarse) / 3
    return TiedLimit(
        float(amplitude),
        float(np.cos(end)),
        float(np.sqrt(square)),
        float(abs(np.sqrt(square) - np.sqrt(fine))),
    )


def _plateau(kernel: Callable[[float], Any], above: Callable[[float], Any]) -> float:
    """theta* with K(c*) = A(c*) c*: pi/2 for odd activations, whose K(0) is zero."""

    def gap(t: float) -> float:
        return float(kernel(t)) - 2 * float(above(t)) / np.sin(t) ** 2 * np.cos(t)

    if abs(gap(np.pi / 2)) < 1e-12:
        return np.pi / 2
    grid = np.linspace(0.02, np.pi / 2, 400)
    signs = np.sign([gap(t) for t in grid])
    crossing = np.flatnonzero(signs[1:] != signs[:-1])
    return float(optimize.brentq(gap, grid[crossing[0]], grid[crossing[0] + 1], xtol=1e-13))  # pyright: ignore[reportArgumentType]


def _ground_state(
    kernel: object, slope: object, above: object, amplitude: float, end: float, step: float
) -> float:
    """Top eigenvalue on x in [0, REACH], even: second differences on cell centres, zero slope at
    0, zero at REACH."""
    x = (np.arange(round(REACH / step)) + 0.5) * step
    theta = _orbit(above, amplitude, end, x)
    potential = slope(theta) / amplitude  # pyright: ignore[reportCallIssue]
    diagonal = potential - 2 / step**2
    diagonal[0] += 1 / step**2
    found = linalg.eigh_tridiagonal(
        diagonal,
        np.full(len(x) - 1, 1 / step**2),
        eigvals_only=True,
        select="i",
        select_range=(len(x) - 1, len(x) - 1),
    )
    return float(found[0])


def _orbit(above: object, amplitude: float, end: float, x: np.ndarray) -> np.ndarray:
    """theta(x) = arccos c(x), from c'^2 = c^2 - 1 + 2 (V(1) - V(c))/A, which at first order is
    stable towards the plateau."""

    def rate(_: float, theta: np.ndarray) -> np.ndarray:
        t = np.clip(theta, 1e-9, np.pi / 2)
        energy = np.maximum(2 * above(t) / amplitude - np.sin(t) ** 2, 0.0)  # pyright: ignore[reportCallIssue]
        return np.where(theta < end, np.sqrt(energy) / np.sin(t), 0.0)

    start = float(np.sqrt(max(1 / amplitude - 1, 0.0)) * x[0])
    found = integrate.solve_ivp(
        rate, (x[0], x[-1]), [start], t_eval=x, rtol=1e-9, atol=1e-12, method="LSODA"
    )
    return np.clip(found.y[0], 0.0, end)
