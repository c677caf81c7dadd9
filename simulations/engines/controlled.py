"""Rows of networks whose twins' deviations are taken off: which networks have twins, and the
numbers with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.averages import averaging, matrices, most_uses, size
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.language.expression import Attend, Dropout
from sigprop.language.traversal import walk
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.population import expected
from sigprop.simulations.network.twin import Twin, looks_back, needed

PART = 3  # of the networks' error that the twin's own mean may add
FINEST = 1000  # of the plain error: no error need be below that


def check_control(arch: Architecture, rows: Sequence[Row], control: object) -> None:
    """Raise ``InputError`` for networks and rows that a twin does not have, and for a twin whose
    arrays are not those of these."""
    if not isinstance(control, Twin):
        raise InputError(f"control={type(control).__name__}; accepted: a Twin, or None")
    found = _refused(arch, bool(control.behind))
    if found is not None:
        raise InputError(f"control: no twin of {found}; accepted: control=None")
    _check_arrays(arch, len(rows), control)
    backward = [QUANTITIES[row.quantity].backward for row in rows]
    names = needed(arch, control)
    if looks_back(names) and not any(backward):
        raise InputError("control.rows look at gradients; accepted: so where rows have gradients")
    if looks_back(names) and not control.behind:
        raise InputError("control.behind of []; accepted: of all matrices where rows look back")
    for row, own in zip(rows, control.rows, strict=True):
        if np.any(own != 0) and (
            row.quantity == "ntk" or (QUANTITIES[row.quantity].backward and not control.behind)
        ):
            raise InputError(f"control.rows of {row}, which has no twin; accepted: zeros")


def _refused(arch: Architecture, backward: bool) -> str | None:
    """Say what has no twin, if anything."""
    nodes = [node for block in arch.sub_blocks for node in walk(block.branch)]
    if arch.ensemble != "gaussian":
        return f"weights={arch.ensemble}"
    if len(arch.bands) > 1:
        return f"{len(arch.bands)} bands of coordinates"
    if arch.scored:
        return f"modulators and routers of experts ({next(iter(arch.scored))!r})"
    if any(
        isinstance(node, Dropout) or (isinstance(node, Attend) and node.rate is not None)
        for node in nodes
    ):
        return "networks with dropout"
    coupled = averaging(arch, backward)
    return None if coupled is None else f"a norm inside a branch ({coupled})"


def _check_arrays(arch: Architecture, rows: int, twin: Twin) -> None:
    """Raise ``InputError`` for arrays of other shapes than these networks', or not finite."""
    depth, tokens = arch.depth, arch.tokens
    lanes, p = len(np.atleast_1d(twin.initial)), len(np.atleast_1d(twin.places))
    reads = max(len(block.reads) for block in arch.sub_blocks)
    shapes: dict[str, tuple[int, ...]] = {
        "initial": (lanes, tokens),
        "reads": (depth, reads, lanes, tokens),
        "transition": (depth, lanes, lanes, tokens),
        "into": (depth, lanes, tokens),
        "readout_reads": (len(arch.readout.at), lanes, tokens),
        "places": (p,),
        "expected": (p,),
        "rows": (rows, p),
    }
    arrays: dict[str, Any] = {name: getattr(twin, name) for name in shapes}
    if set(twin.factors) != set(matrices(arch)):
        raise InputError(
            f"control.factors of {sorted(twin.factors)}; accepted: of {sorted(matrices(arch))}"
        )
    if set(twin.behind) not in (set(), set(matrices(arch))):
        raise InputError(
            f"control.behind of {sorted(twin.behind)}; accepted: of {sorted(matrices(arch))}, or "
            f"none"
        )
    for weight in matrices(arch):
        side = most_uses(arch, weight) * tokens
        for name, factors in (("factors", twin.factors), ("behind", twin.behind)):
            if weight in factors:
                shapes[f"{name}[{weight!r}]"] = (len(arch.applications_of(weight)), side, side)
                arrays[f"{name}[{weight!r}]"] = factors[weight]
    for name, shape in shapes.items():
        if np.shape(arrays[name]) != shape:
            raise InputError(f"control.{name} of shape {np.shape(arrays[name])}; accepted: {shape}")
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"control.{name} is not finite; accepted: finite numbers")
    _check_places(np.asarray(twin.places), size(arch, lanes))


def _check_places(places: np.ndarray, count: int) -> None:
    """Raise ``InputError`` for places that are no averages."""
    low, high = places.min(initial=0), places.max(initial=0)
    if places.dtype.kind not in "iu" or low < 0 or high >= count:
        raise InputError(
            f"control.places of {places.dtype} from {low} to {high}; accepted: whole numbers from "
            f"0 to {count - 1}"
        )


def controlled(engine: Engine, measured: dict[str, Any], seed: int) -> dict[str, Any]:
    """The moments of an engine with a twin, as of rows: their means and errors with the twin's
    deviations taken off and its mean deviation added; se_of_control: that one's error;
    variance_ratio: of one network, plain over controlled (1 where there is none; what is left is
    no less than rounding)."""
    count = len(engine.rows)
    plain, error = measured["error"][:count], measured["error"][count:]
    mean = expected(engine, seed, np.maximum(error / PART, plain / FINEST))
    value = measured["mean"][count:] + mean.value
    # what is left of a row that is all deviation is rounding
    least = np.minimum(plain, np.finfo(engine.dtype).eps * np.abs(value))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(plain == 0, 1.0, (plain / np.maximum(error, least)) ** 2)
    return measured | {
        "mean": value,
        "error": np.hypot(error, mean.error),
        "se_of_control": mean.error,
        "variance_ratio": ratio,
    }
