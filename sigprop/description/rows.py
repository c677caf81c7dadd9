"""Rows: which numbers a table holds. Theory and simulation fill the same rows, so they can be
compared one by one."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.checks import EMBEDDING
from sigprop.description.quantities import QUANTITIES
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError, near_miss
from sigprop.language.expression import Activate, Linear
from sigprop.language.scalar import Constant
from sigprop.language.traversal import walk
from sigprop.runtime import memory

PAIRED = ("token_covariance", "gradient_covariance", "band_covariance", "angle_exponent")
ROW_BYTES = 1000  # of a row, from its keys to its line of a table


@dataclass(frozen=True)
class Row:
    """What a number is: quantity, application (0: the stem's output), and where they apply the
    others."""

    quantity: str
    application: int | None = None
    application_2: int | None = None
    token: int | None = None
    token_2: int | None = None
    group: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The row's keys that apply."""
        return {key: value for key, value in self.__dict__.items() if value is not None}

    def __str__(self) -> str:
        keys = self.to_dict()
        return f"{keys.pop('quantity')}[{', '.join(f'{k}={v}' for k, v in keys.items())}]"


def check_quantities(quantities: Sequence[str] | None) -> tuple[str, ...]:
    """Return the asked quantities (None: all); raises ``InputError`` for an empty list and for
    one that is not known."""
    if quantities is None:
        return tuple(QUANTITIES)
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


def known(arch: Architecture, quantities: Sequence[str] | None = None) -> tuple[str, ...]:
    """The asked quantities (None: all) that theory has for ``arch``; raises ``InputError`` for
    one it was asked for and has not."""
    without = (
        ()
        if arch.gradients_known
        else tuple(name for name, quantity in QUANTITIES.items() if quantity.backward)
    )
    for name in quantities or ():
        if name in QUANTITIES and not QUANTITIES[name].predicted:
            raise InputError(
                f"quantity={name}: theory has no value for it; accepted: measure has it"
            )
        if name in without:
            where = (
                "accepted: with weights of their own, without attention, and readout=each, "
                "or modulator as a number; measure has it"
            )
            raise InputError(
                f"quantity={name} at modulator=learned: its own Jacobian has no rule here; {where}"
            )
    return tuple(
        name
        for name in check_quantities(quantities)
        if name not in without and QUANTITIES[name].predicted
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
        for row in _rows(arch, name, at[:-1] if QUANTITIES[name].backward else at[1:], False)
    ]
    # other rows say what stem and read-out would
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
    return tuple(row for name in names for row in _rows(arch, name, at, applications is not None))


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
            have = ", ".join(name for name in known(arch) if select(arch, [name]))
            raise InputError(f"quantity={name} has no row in {arch.name}; accepted: {have}")


def _require(arch: Architecture, names: Sequence[str], at: tuple[int, ...]) -> None:
    """Raise ``InputError`` where the rows of token pairs are more than memory holds."""
    pairs = arch.tokens * (arch.tokens - 1) // 2
    of = {"ntk": len(arch.groups) + 1, **dict.fromkeys(PAIRED, len(at))}
    for name in names:
        memory.require(
            ROW_BYTES * pairs * of.get(name, 0),
            f"tokens={arch.tokens}, quantity={name}: rows of {pairs} pairs of tokens",
        )


def _rows(arch: Architecture, name: str, at: tuple[int, ...], asked: bool) -> list[Row]:
    """The rows of one quantity."""
    tokens = range(arch.tokens)
    if name in ("residual_variance", "gradient_variance"):
        return [Row(name, a, token=t) for a in at for t in tokens]
    if name in ("token_covariance", "gradient_covariance"):
        return [
            Row(name, a, token=t, token_2=s) for a in at for t in tokens for s in tokens if t < s
        ]
    if name in BANDED:
        bands = arch.band_names if len(arch.bands) > 1 else ()
        return [
            replace(row, quantity=name, group=band)
            for row in _rows(arch, BANDED[name], at, asked)
            for band in bands
        ]
    if name == "matrix_entropy":
        return [Row(name, a) for a in at] if arch.tokens > 1 else []
    if name == "participation_ratio":
        return [
            Row(name, a, group=w)
            for w in hidden(arch)
            for a in _held(arch, lambda block, w=w: w in block.weights, at, asked)
        ]
    if name == "log_norm":
        return [Row(name, a, token=t) for a in at for t in tokens] if arch.norm_lane else []
    if name in ("modulator", "skip_rate"):

        def shows(block):
            return any(
                name == "modulator" or node.skip_below != Constant(0)
                for node in block.modulators.values()
            )

        return [Row(name, a, token=t) for a in _held(arch, shows, at, asked) for t in tokens]
    if name == "rotation":
        return [Row(name, a, token=t) for a in at for t in tokens if a > 0]
    if name in ("state_cosine", "write_cosine"):
        return _cosines(arch, name, at, asked)
    if name == "weight_gradient":
        return _weights(arch, at, asked)
    if name in ("logit_variance", "logit_contact", "cross_entropy"):
        if (name == "logit_contact" and EMBEDDING not in arch.stem_parts) or (
            name == "cross_entropy" and arch.head.vocabulary is None
        ):
            return []
        return [Row(name, token=t) for t in tokens]
    if name == "participation":
        return [
            Row(name, a, token=t)
            for a in _held(arch, lambda block: block.attention, at, asked)
            for t in tokens
        ]
    if name == "angle_exponent":
        g = arch.input_gram
        # equal tokens stay equal
        pairs = [
            (t, s) for t in tokens for s in tokens if t < s and g[t, s] ** 2 < g[t, t] * g[s, s]
        ]
        return [Row(name, a, token=t, token_2=s) for a in at if a < arch.depth for t, s in pairs]
    if name == "gradient_exponent":
        return [Row(name)]
    return [
        Row(name, group=g, token=t, token_2=s)
        for g in (*arch.groups, None)
        for t in tokens
        for s in tokens
        if t <= s
    ]


BANDED = {
    "band_variance": "residual_variance",
    "band_covariance": "token_covariance",
    "band_gradient": "gradient_variance",
}
"""Rows of a band, and what they are over all coordinates."""


def hidden(arch: Architecture) -> tuple[str, ...]:
    """The matrices that are applied to hidden units: activations that come from another matrix."""

    def activated(of):
        return any(isinstance(node, Activate) for node in walk(of)) and any(
            isinstance(node, Linear) for node in walk(of)
        )

    return tuple(
        name
        for name, node in arch.weights.items()
        if isinstance(node, Linear) and activated(node.of)
    )


def _held(
    arch: Architecture, shows: Callable[[SubBlock], Any], at: tuple[int, ...], asked: bool
) -> list[int]:
    """The applications whose sub-block shows it; when applications are asked for, the nearest to
    them."""
    shown = [bool(shows(block)) for block in arch.sub_blocks]
    found = [a for a, kind in enumerate(arch.kind_table or ()) if shown[kind]]
    return nearest(found, at) if found and (asked or len(found) > len(at)) else found


def nearest(found: Sequence[int], at: Sequence[int]) -> list[int]:
    """Of ascending numbers those nearest to each of ``at``, the lower of two, each once."""
    lower = [max(bisect(found, a) - 1, 0) for a in at]
    sides = [found[i : i + 2] for i in lower]
    return sorted(
        {min(two, key=lambda f, a=a: abs(f - a)) for two, a in zip(sides, at, strict=True)}
    )


def _cosines(arch: Architecture, name: str, at: tuple[int, ...], asked: bool) -> list[Row]:
    if name == "write_cosine":
        at = tuple(a for a in at if a > 0)
    if asked:
        pairs = [(a, b) for i, a in enumerate(at) for b in at[i + 1 :]]
    elif name == "state_cosine":
        pairs = [(0, a) for a in at if a > 0]
    else:
        pairs = list(zip(at[:-1], at[1:], strict=True))
    return [Row(name, a, b, token=t) for a, b in pairs for t in range(arch.tokens)]


def _weights(arch: Architecture, at: tuple[int, ...], asked: bool) -> list[Row]:
    """One row a weight and slot (when applications are asked for, the slots nearest to them);
    the read-out; the stem's parts."""
    rows = []
    for weight in arch.weights:
        firsts = [used[0] for used in arch.applications_of(weight).values()]
        if asked or len(firsts) > len(at):
            firsts = nearest(sorted(firsts), at)
        rows += [Row("weight_gradient", a, group=weight) for a in firsts]
    rows += [Row("weight_gradient", arch.readout.at[0], group=READOUT)]
    return rows + [Row("weight_gradient", 0, group=part) for part in arch.stem_parts]
