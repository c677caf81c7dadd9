"""Rows: which numbers a table holds. Theory and simulation fill the same rows, so they can be
compared one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Asked, Row
from sigprop.errors import InputError, near_miss
from sigprop.runtime import memory

ROW_BYTES = 1000  # of a row, from its keys to its line of a table


def check_quantities(quantities: Sequence[str] | None) -> tuple[str, ...]:
    """Return the asked quantities (None: all that come unasked); raises ``InputError`` for an
    empty list and for one that is not known."""
    if quantities is None:
        return tuple(name for name, quantity in QUANTITIES.items() if quantity.unasked)
    if isinstance(quantities, str) or not len(quantities):
        raise InputError(
            f"quantities={quantities!r}; accepted: None for all, or names such as "
            f"[{next(iter(QUANTITIES))!r}]"
        )
    for name in quantities:
        if name not in QUANTITIES:
            raise InputError(f"quantity={name!r}{near_miss(str(name), QUANTITIES)}")
    return tuple(quantities)


def default_applications(depth: int) -> tuple[int, ...]:
    """All of 0..D up to 64 applications, else 65 evenly spaced ones with both ends."""
    return (
        tuple(range(depth + 1))
        if depth <= 64
        else tuple(int(a) for a in np.unique(np.linspace(0, depth, 65).round()))
    )


def spread(depth: int, count: int = 4) -> tuple[int, ...]:
    """``count`` depths for a verdict: the stem, the last state, and evenly between."""
    return tuple(int(a) for a in np.unique(np.linspace(0, depth, count).round()))


def askable(arch: Architecture) -> tuple[str, ...]:
    """The quantities that theory has for ``arch``, also those that come only when asked for."""
    return tuple(
        name
        for name, quantity in QUANTITIES.items()
        if quantity.predicted
        and (arch.gradients_known or not quantity.backward)
        and (arch.contact_known or name != "logit_contact")
    )


def known(arch: Architecture, quantities: Sequence[str] | None = None) -> tuple[str, ...]:
    """The asked quantities (None: all that come unasked) that theory has for ``arch``; raises
    ``InputError`` for one it was asked for and has not."""
    if quantities is None:
        return tuple(name for name in askable(arch) if QUANTITIES[name].unasked)
    for name in quantities:
        if name in QUANTITIES and not QUANTITIES[name].predicted:
            raise InputError(
                f"quantity={name}: theory has no value for it; accepted: measure has it"
            )
        if name in QUANTITIES and QUANTITIES[name].backward and not arch.gradients_known:
            raise InputError(
                f"quantity={name}: {why_no_gradient(arch)}"
                f"{'' if arch.sampled else '; measure has it'}"
            )
    return check_quantities(quantities)  # who asks for an unknown contact is told why


def why_no_gradient(arch: Architecture) -> str:
    """Say why theory has no gradients of an architecture (``gradients_known``)."""
    if arch.sampled:
        node = arch.sub_blocks[arch.kind_table[arch.sampled[0]]].sampled[0]
        return (
            f"{node.name} is measured on Gaussian tokens, and has no gradient; accepted: "
            f"quantities of the forward pass"
        )
    if len(arch.scored) > len(arch.modulators):
        return (
            "gradients reach the state through routers, and have no rule there; accepted: "
            "quantities of the forward pass"
        )
    return (
        "at modulator=learned: its own Jacobian has no rule here; accepted: with weights of their "
        "own, without attention, and readout=each, or modulator as a number"
    )


def judged(
    arch: Architecture,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
) -> tuple[Row, ...]:
    """The rows of a verdict: as ``select``, by default at the four depths that say something
    (not the given stem's own variance, nor the gradient at the last state), cosines against the
    stem and between successive of those writes."""
    names = (
        [name for name in known(arch) if QUANTITIES[name].judged]
        if quantities is None
        else known(arch, quantities)
    )
    if applications is not None:
        return select(arch, names, applications)
    at = spread(arch.depth, 5)
    rows = [
        row
        for name in names
        for row in _rows(Asked(arch, at[:-1] if QUANTITIES[name].backward else at[1:], False), name)
    ]
    if arch.lanes > 1:
        return tuple(rows)
    # other rows say what stem and read-out would, of a state with one lane
    return tuple(
        row for row in rows if row.quantity != "weight_gradient" or row.group in arch.weights
    )


def select(
    arch: Architecture,
    quantities: Sequence[str] | None = None,
    applications: Sequence[int] | None = None,
) -> tuple[Row, ...]:
    """The rows of these quantities at these applications (0..D); the default is every application,
    diagonals only.

    With ``applications`` given, cosines come for all pairs of them; without, against the stem
    (state_cosine) and between neighbours (write_cosine). Token pairs: upper triangle. Raises
    ``InputError``.
    """
    names = check_quantities(quantities)
    at = default_applications(arch.depth) if applications is None else _asked(arch, applications)
    _require(arch, names, at)
    asked = Asked(arch, at, applications is not None)
    return tuple(row for name in names for row in _rows(asked, name))


def token_means(
    rows: Sequence[Row],
) -> tuple[tuple[Row, ...], Float[np.ndarray, "means R"]]:
    """Name the means of rows that differ in tokens alone; also each row's weight in every mean."""
    of = [replace(row, token=None, token_2=None) for row in rows]
    means = tuple(dict.fromkeys(of))
    place = {row: k for k, row in enumerate(means)}
    weights = np.zeros((len(means), len(rows)))
    weights[[place[row] for row in of], np.arange(len(rows))] = 1.0
    return means, weights / weights.sum(axis=1, keepdims=True)


def _rows(asked: Asked, name: str) -> list[Row]:
    return QUANTITIES[name].shape(name, asked)


def _asked(arch: Architecture, applications: Sequence[int]) -> tuple[int, ...]:
    if not len(applications):
        raise InputError(
            f"applications={applications!r}; accepted: None for all, or numbers from 0 to "
            f"{arch.depth}"
        )
    for a in applications:
        if not 0 <= a <= arch.depth:
            raise InputError(f"applications={a}; accepted: 0 (the stem's output) to {arch.depth}")
    return tuple(sorted(set(applications)))


def require_rows(arch: Architecture, quantities: Sequence[str] | None, rows: Sequence[Row]) -> None:
    """Raise ``InputError`` for a quantity that was asked for and has no row among ``rows``."""
    present = {row.quantity for row in rows}
    for name in quantities or ():
        if name not in present:
            have = ", ".join(name for name in askable(arch) if select(arch, [name]))
            raise InputError(f"quantity={name} has no row in {arch.name}; accepted: {have}")


def _require(arch: Architecture, names: Sequence[str], at: tuple[int, ...]) -> None:
    """Raise ``InputError`` where the rows of token pairs are more than memory holds."""
    pairs = arch.tokens * (arch.tokens - 1) // 2
    for name in names:
        memory.require(
            ROW_BYTES * pairs * QUANTITIES[name].paired(arch, len(at)),
            f"tokens={arch.tokens}, quantity={name}: rows of {pairs} pairs of tokens",
        )
