"""Why a row has no value: the network diverges, or the value is undefined, each with a remark
that says where."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.language.activation import Activation, gaussian_nodes
from sigprop.theory.gaussian.dual import HIGHEST, LOWEST
from sigprop.theory.predictions.values import Scaled
from sigprop.theory.recursion.kernels import Kernels
from sigprop.theory.recursion.summary import activations

DIVERGED, UNDEFINED, SAMPLED = "diverged", "undefined", "sampled"
MOST_VARIANCES = 16  # of an activation's arguments, at which it is looked at


def explain(
    kernels: Sequence[Kernels],
    rows: Sequence[Row],
    values: Sequence[Scaled],
    usual: Sequence[str],
) -> tuple[list[str], list[str]]:
    """Return the status of every row and remarks on those that have no value.

    kernels: what the values were read off; usual: the status of each row where it has one ('exact',
    'quadrature', 'sampled'). 'diverged': a state or gradient is beyond float64; 'undefined': an
    activation returned no number, or the row is 0/0.
    """
    lost = [not all(map(math.isfinite, value)) for value in values]
    if not any(lost):
        return [*usual], []
    given = [*zip(lost, usual, strict=True)]
    remark = _activation(kernels[0])
    if remark is not None:
        return [UNDEFINED if gone else own for gone, own in given], [remark]
    gone_rows = [row for gone, row in zip(lost, rows, strict=True) if gone]
    remark = _diverged(kernels, any(QUANTITIES[row.quantity].backward for row in gone_rows))
    if remark is not None:
        return [DIVERGED if gone else own for gone, own in given], [remark]
    names = dict.fromkeys(row.quantity for row in gone_rows)
    remarks = [
        f"{name} is undefined where a state or an update is zero, or beyond what a float holds"
        for name in names
    ]
    return [UNDEFINED if gone else own for gone, own in given], remarks


def _diverged(kernels: Sequence[Kernels], backward: bool) -> str | None:
    """The first application whose state is not finite; else the last one whose gradient is not."""
    at = [_first(k.states, k.state_log) for k in kernels]
    found = [a for a in at if a is not None]
    if found:
        return f"diverged at application {min(found)}"
    if not backward:
        return None
    back = [
        _first(k.gradients[::-1], k.gradient_log[::-1]) for k in kernels if k.gradients is not None
    ]
    found = [len(kernels[0].states) - 1 - a for a in back if a is not None]
    return f"gradients diverged at application {max(found)}" if found else None


def _first(grams: np.ndarray, logs: np.ndarray) -> int | None:
    """The first of the Grams [D+1, T, T] (logs [D+1, T]) that is not finite."""
    finite = np.isfinite(grams).all(axis=(1, 2)) & np.isfinite(logs).all(axis=1)
    return None if finite.all() else int(np.argmin(finite))


def _activation(k: Kernels) -> str | None:
    """What an activation returned that is no number, at an argument of a variance that occurs."""
    for kind, block in enumerate(k.program.structure.blocks):
        steps = k.program.kinds == kind
        for activation, (variance, log) in zip(
            activations(block.branch), k.arguments[kind], strict=True
        ):
            scaled = np.zeros_like(variance) if log is None else np.clip(log, LOWEST, HIGHEST)
            with np.errstate(all="ignore"):
                deviations = np.sqrt(variance[steps].ravel()) * np.exp(scaled[steps].ravel())
            remark = _no_number(activation, np.unique(deviations[np.isfinite(deviations)]))
            if remark is not None:
                return remark
    return None


def _no_number(activation: Activation, deviations: np.ndarray) -> str | None:
    import jax

    some = deviations[
        np.unique(
            np.linspace(0, len(deviations) - 1, min(len(deviations), MOST_VARIANCES))
            .round()
            .astype(int)
        )
    ]
    x = np.unique(np.outer(some, gaussian_nodes()[0]))
    if not len(x):
        return None
    x = x[np.argsort(np.abs(x), kind="stable")]
    for what, function in (
        ("", activation.function),
        ("the derivative of ", activation.derivative),
    ):
        with jax.enable_x64(True):
            value = np.asarray(function(jax.numpy.asarray(x)))
        bad = np.flatnonzero(~np.isfinite(value))
        if len(bad):
            shown = "NaN" if np.isnan(value[bad[0]]) else str(value[bad[0]])
            return f"{what}activation {activation.name} returned {shown} at x = {x[bad[0]]:.4g}"
    return None
