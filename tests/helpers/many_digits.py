"""Networks of two tokens in many digits: closed forms in mpmath, and plain recursions of Grams
that know nothing of sigprop's engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

Gram = tuple[Any, Any, Any]
"""(<x, x>, <x, y>, <y, y>) of two tokens."""
Kernel = Callable[[Any, Any, Any, int], Any]
"""(qa, c, qb, order) -> V_phi or V_phi'."""


class Network(NamedTuple):
    """One network: h' = skip h + scale f(h) (numbers squared), f = W phi(h) + b or, with
    ``c_x``, X phi(W h/|h| + b_w) + b."""

    depth: int
    c_w: float
    c_b: float = 0.0
    c_x: float | None = None
    skip: float = 0.0
    scale: float = 1.0
    normalised: bool = False  # the next state, token by token


def leaky(slope: str) -> Kernel:
    """Leaky relu (slope 0: relu), by the arc-cosine kernels."""

    def kernel(qa: Any, c: Any, qb: Any, order: int) -> Any:
        s, norm = mp.mpf(slope), mp.sqrt(qa * qb)
        rho = max(min(c / norm, mp.mpf(1)), mp.mpf(-1)) if norm else mp.mpf(1)
        theta = mp.acos(rho)
        if order:
            return s + (1 - s) ** 2 * (mp.pi - theta) / (2 * mp.pi)
        return s * c + (1 - s) ** 2 * norm * (mp.sin(theta) + (mp.pi - theta) * rho) / (2 * mp.pi)

    return kernel


def erf(qa: Any, c: Any, qb: Any, order: int) -> Any:
    """erf, by its arcsine kernel."""
    norm = (1 + 2 * qa) * (1 + 2 * qb)
    if order:
        return 4 / mp.pi / mp.sqrt(norm - 4 * c * c)
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(norm))


def gelu(qa: Any, c: Any, qb: Any, order: int) -> Any:
    """x Phi(x), by Stein's lemma."""
    norm = (1 + qa) * (1 + qb)
    delta = norm - c * c
    both = mp.mpf(1) / 4 + mp.asin(c / mp.sqrt(norm)) / (2 * mp.pi)
    density = 1 / (2 * mp.pi * mp.sqrt(delta))
    if order:
        return both + c * density * (1 / (1 + qa) + 1 / (1 + qb) + 1 / delta)
    return c * both + density * (qa * qb - c * c + c * c / (1 + qa) + c * c / (1 + qb))


KERNELS: dict[str, Kernel] = {
    "relu": leaky("0"),
    "leaky-relu(0.2)": leaky("0.2"),
    "erf": erf,
    "gelu": gelu,
}


def trapezoid(
    function: Callable[[np.ndarray], np.ndarray], derivative: Callable[[np.ndarray], np.ndarray]
) -> Kernel:
    """V by the trapezoidal rule on the plane in extended precision (64 bits): exponential
    convergence for analytic functions.

    Steps are a sixteenth, or smaller by the standard deviation, so that poles at distance 1 stay
    outside what the rule sees.
    """

    def kernel(qa: Any, c: Any, qb: Any, order: int) -> Any:
        qa, c, qb = (np.longdouble(v) for v in (qa, c, qb))
        of = derivative if order else function
        step = np.longdouble(1) / np.ceil(16 * max(1.0, float(max(qa, qb)) ** 0.5))
        z = (
            np.arange(-round(12.5 / float(step)), round(12.5 / float(step)) + 1).astype(
                np.longdouble
            )
            * step
        )
        weight = np.exp(-z * z / 2)
        weight /= weight.sum()
        rho = c / np.sqrt(qa * qb) if qa * qb > 0 else np.longdouble(1)
        sine = np.sqrt(np.maximum((1 - rho) * (1 + rho), 0))
        left = of(np.sqrt(qa) * z) * weight
        if sine == 0:
            return (left * of(np.sqrt(qb) * rho * z)).sum()
        right = of(np.sqrt(qb) * (rho * z[:, None] + sine * z[None, :])) @ weight
        return (left * right).sum()

    return kernel


def recursion(net: Network, kernel: Kernel, gram: Gram) -> tuple[list[Gram], dict[str, Gram]]:
    """Return the states' Grams, and the tangent kernel's (by group: stem, readout, w, b, x)
    between both tokens."""
    states, writes = [gram], []
    for _ in range(net.depth):
        h = states[-1]
        arguments, divisors = _arguments(net, h)
        values = [kernel(*_pair(arguments, i), 0) for i in range(3)]
        slopes = [kernel(*_pair(arguments, i), 1) for i in range(3)]
        last = net.c_w if net.c_x is None else net.c_x
        f = [last * v + net.c_b for v in values]
        new = [net.skip * x + net.scale * y for x, y in zip(h, f, strict=True)]
        roots = [_root(new[0]), _root(new[2])] if net.normalised else [1, 1]
        over = [roots[0] ** 2, roots[0] * roots[1], roots[1] ** 2]
        writes.append((h, values, slopes, divisors, over, arguments))
        states.append(tuple(x / n for x, n in zip(new, over, strict=True)))
    return states, _tangent(net, states, writes)


def _arguments(net: Network, h: Any) -> tuple[list[Any], list[Any]]:
    """The Gram of what phi is applied to, and what the pre-norm divides by."""
    if net.c_x is None:
        return list(h), [1, 1, 1]
    a, b = _root(h[0]), _root(h[2])
    norms = [a * a, a * b, b * b]
    return [net.c_w * x / n + net.c_b for x, n in zip(h, norms, strict=True)], norms


def _tangent(net: Network, states: list[Gram], writes: list[Any]) -> dict[str, Gram]:
    found: dict[str, list[Any]] = {"readout": list(states[-1])}
    g = [mp.mpf(1) if isinstance(states[0][0], mp.mpf) else np.longdouble(1)] * 3
    for h, values, slopes, divisors, over, _ in reversed(writes):
        g = [x / n for x, n in zip(g, over, strict=True)]
        delta = [net.scale * x for x in g]
        hidden = [
            d * s * (net.c_w if net.c_x is None else net.c_x)
            for d, s in zip(delta, slopes, strict=True)
        ]
        uses = {
            "w" if net.c_x is None else "x": [d * v for d, v in zip(delta, values, strict=True)]
        }
        if net.c_x is None:
            back = hidden
        else:
            read = [x / n for x, n in zip(h, divisors, strict=True)]
            uses["w"] = [d * x for d, x in zip(hidden, read, strict=True)]
            back = [net.c_w * d / n for d, n in zip(hidden, divisors, strict=True)]
        for group, amount in uses.items():
            before = found.setdefault(group, [0, 0, 0])
            found[group] = [x + y for x, y in zip(before, amount, strict=True)]
        g = [net.skip * x + y for x, y in zip(g, back, strict=True)]
    found["stem"] = [x * y for x, y in zip(g, states[0], strict=True)]
    return {group: tuple(amount) for group, amount in found.items()}


def _pair(gram: list[Any], i: int) -> tuple[Any, Any, Any]:
    qa, c, qb = gram
    return ((qa, qa, qa), (qa, c, qb), (qb, qb, qb))[i]


def _root(x: Any) -> Any:
    return mp.sqrt(x) if isinstance(x, mp.mpf) else np.sqrt(x)
