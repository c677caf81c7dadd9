"""Mean field of feed-forward networks: fixed points and depth scales of the derived kernel map
(1611.01232, eqs 3-9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from sigprop.description.architecture import Architecture
from sigprop.language.expression import Read, State, Write

LARGEST, MOST_STEPS = 1e12, 5000
Kernel = Callable[[float, float], tuple[float, float, float]]
"""(q, c) -> (q', <f, f'>, d<f, f'>/d<x, x'>)."""


def mean_field(arch: Architecture) -> dict[str, float] | None:
    """q*, c*, chi_1, and the depth scales xi_q = -1/ln(dq'/dq), xi_c = -1/ln(dc'/dc) at (q*, c*);
    None unless untied, skipless and without attention (which mixes tokens: no map of one cosine).

    K(q, c): the branch's kernel for two tokens of variance q and cosine c. q* is reached from the
    stem's variance, inf where it diverges; c* is the attracting fixed point: 1 where chi_1 <= 1
    (the map of cosines is convex), else the root below 1. chi_1 = dc'/dc at c = 1. A depth scale is
    inf at criticality.
    """
    if not _mapped(arch):
        return None
    kernel = _kernel(arch)
    q = _fixed_variance(kernel, float(arch.input_gram[0, 0]))
    if not 0 < q < math.inf:
        return {"q_star": q}
    chi_1 = kernel(q, 1.0)[2]
    c = _fixed_cosine(kernel, q, chi_1)
    step = 1e-6
    slope_c = kernel(q, c)[2] / kernel(q, c)[0] * q
    slope_q = (kernel(q * (1 + step), 1.0)[0] - kernel(q * (1 - step), 1.0)[0]) / (2 * step * q)
    return {
        "q_star": q,
        "c_star": c,
        "chi_1": chi_1,
        "depth_scale_q": _depth_scale(slope_q),
        "depth_scale_c": _depth_scale(slope_c),
    }


def _mapped(arch: Architecture) -> bool:
    """Tell if a layer is one map of a variance and a cosine, the same at every depth."""
    block = arch.sub_blocks[0]
    skipless = len(arch.sub_blocks) == 1 and block.rule == (Write(),) and block.reads == (State(0),)
    constant = all((t == t[0]).all() for t in arch.number_tables.values())
    return skipless and not block.attention and not arch.tied and constant


def _fixed_variance(kernel: Kernel, q: float) -> float:
    """Iterate the variance to its fixed point: inf where it diverges, 0 where it vanishes."""
    for _ in range(MOST_STEPS):
        new = kernel(q, 1.0)[0]
        if abs(new - q) <= 1e-13 * max(abs(new), 1e-30) or not 1e-12 < new < LARGEST:
            break
        q = new
    return math.inf if not new < LARGEST else 0.0 if new <= 1e-12 else new


def _fixed_cosine(kernel: Kernel, q: float, chi_1: float) -> float:
    """Return the attracting fixed point of the cosines at variance q."""

    def gap(c: float) -> float:
        return kernel(q, c)[1] / kernel(q, c)[0] - c

    if chi_1 <= 1 + 1e-9:
        return 1.0
    if gap(0.0) <= 1e-14:
        return 0.0
    return float(optimize.brentq(gap, 0.0, 1 - 1e-9, xtol=1e-14))  # pyright: ignore[reportArgumentType]


def _depth_scale(slope: float) -> float:
    """Return -1/ln(slope), inf at criticality."""
    return math.inf if abs(slope - 1) < 1e-6 else -1 / math.log(abs(slope)) if slope else 0.0


def _kernel(arch: Architecture) -> Kernel:
    """Return the map of two tokens, by the calculus on arrays."""
    import jax
    import jax.numpy as jnp

    from sigprop.theory.calculus.rules import inner
    from sigprop.theory.calculus.transpose import Cotangent, transpose
    from sigprop.theory.recursion.arrays import ArrayEnvironment

    branch = arch.sub_blocks[0].branch

    @jax.jit
    def compiled(block: Any, given: Any) -> Any:
        zero = jnp.zeros((1, 2), dtype=jnp.float64)
        ones = jnp.ones((1, 2, 2), dtype=jnp.float64)
        env = ArrayEnvironment(
            {("a", "a"): ((block,),)},
            {("a", "a"): ones},
            {"a": given},
            lambda weight: 1,
            {(Read(), "a"): zero, (Cotangent(), "a"): zero},
        )
        y = transpose(branch).by_read()
        assert y is not None
        return inner(branch, "a", branch, "a", env), inner(y, "a", y, "a", env)

    def kernel(q: float, c: float) -> tuple[float, float, float]:
        with jax.enable_x64(True):
            given = {
                name: jnp.asarray(table[:1], dtype=jnp.float64)
                for name, table in arch.number_tables.items()
            }
            f, y = compiled(jnp.asarray(np.array([[[q, c * q], [c * q, q]]])), given)
            return float(f[0, 0, 0]), float(f[0, 0, 1]), float(y[0, 0, 1])

    return kernel
