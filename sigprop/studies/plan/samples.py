"""Random and Sobol samples of parameters: seeded points of a box, each axis linear or
logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sigprop.errors import InputError, near_miss

KEYS = ("low", "high", "scale", "integer", "values")
SCALES = ("linear", "log")
MOST = 10**6


def points(section: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the points of a ``[random]`` or ``[sobol]`` section, in their order.

    given: points (how many), seed (default 0), and a table a parameter: low, high, scale ('linear'
    or 'log'), integer (whether it is a whole number, both ends among them), or values (one of
    them). The first points of many are those of few. Raises ``InputError``.
    """
    count, seed = given.get("points"), given.get("seed", 0)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST:
        raise InputError(f"{section}.points={count!r}; accepted: an integer from 1 to 10^6")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InputError(f"{section}.seed={seed!r}; accepted: an integer from 0 to 2^32 - 1")
    axes = {name: axis for name, axis in given.items() if name not in ("points", "seed")}
    if not axes:
        raise InputError(f"{section}: no parameter; accepted: depth = {{low = 4, high = 64}}")
    for name, axis in axes.items():
        _check(f"{section}.{name}", axis)
    unit = _unit(section, count, len(axes), seed)
    return [
        {name: _value(axis, float(u)) for (name, axis), u in zip(axes.items(), row, strict=True)}
        for row in unit
    ]


def _unit(section: str, count: int, dimensions: int, seed: int) -> np.ndarray:
    """Return points of the unit cube, [count, dimensions]."""
    generator = np.random.default_rng(seed)
    if section == "random":
        return generator.random((count, dimensions))
    from scipy.stats import qmc  # a good part of a second

    # a power of two at a time, of which scipy asks
    whole = qmc.Sobol(dimensions, rng=generator).random_base2(math.ceil(math.log2(count)))
    return whole[:count]


def _check(name: str, axis: Any) -> None:
    """Raise ``InputError`` for an axis that says no range."""
    if not isinstance(axis, Mapping):
        raise InputError(f"{name}={axis!r}; accepted: {{low = 4, high = 64}}, or {{values = [..]}}")
    for key in axis:
        if key not in KEYS:
            raise InputError(f"{name}: {key!r}{near_miss(str(key), KEYS)}")
    if "values" in axis:
        if not isinstance(axis["values"], list) or not axis["values"] or len(axis) > 1:
            raise InputError(f"{name}.values={axis['values']!r}; accepted: a list, alone")
        return
    low, high = _end(name, "low", axis), _end(name, "high", axis)
    scale = axis.get("scale", "linear")
    if scale not in SCALES:
        raise InputError(f"{name}.scale={scale!r}{near_miss(str(scale), SCALES)}")
    if not low < high:
        raise InputError(f"{name}: low={low!r}, high={high!r}; accepted: low < high")
    if scale == "log" and low <= 0:
        raise InputError(f"{name}.low={low!r} on a log scale; accepted: a number above 0")


def _end(name: str, key: str, axis: Mapping[str, Any]) -> float:
    """Return an end of an axis; raises ``InputError`` for what is no number."""
    value = axis.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}.{key}={value!r}; accepted: a finite number")
    if axis.get("integer") and not float(value).is_integer():
        raise InputError(f"{name}.{key}={value!r} of integers; accepted: a whole number")
    return value


def _value(axis: Mapping[str, Any], u: float) -> Any:
    """Return an axis's value at u in [0, 1)."""
    if "values" in axis:
        return axis["values"][int(u * len(axis["values"]))]
    low, high, whole = axis["low"], axis["high"], bool(axis.get("integer"))
    if axis.get("scale", "linear") == "log":
        value = low * ((high + whole) / low) ** u
    else:
        value = low + u * (high + whole - low)
    return min(int(math.floor(value)), int(high)) if whole else float(value)
