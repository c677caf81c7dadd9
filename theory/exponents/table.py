"""``exponents``: the symbolic law of every quantity in depth and loops, beside the exact
recursion's own slopes and their limit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family, loops_vary, own_sizes
from sigprop.description.growth_rows import Key, mixes, silent
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Normalise, State
from sigprop.language.traversal import walk
from sigprop.tables.table import Table
from sigprop.theory.exponents.ladder import end_to_end, logarithms, slope
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW, ZERO, Law
from sigprop.theory.exponents.laws_of import Found, laws_of
from sigprop.theory.exponents.width import entering, size_rows
from sigprop.theory.recursion.program import Room, needed

LADDER, MIXING = (2, 4, 8, 16, 32), (2, 4, 8)
"""Sizes unless asked; fewer where attention mixes tokens, whose recursion is dear."""
MOST_TIED = 4096  # applications
# times the ladder's largest size: where the local exponent is taken, from there back to the largest
FAR = 2
CHANGES = {"output_change_sgd": "ntk", "output_change_adam": "adam"}
"""Change of the output by the first step at a fixed rate -> the law it follows: SGD's is the
tangent kernel."""


@dataclass(frozen=True, eq=False, repr=False)
class Exponents(Table):
    """A table of exponents; laws: (quantity, group, variable) -> ``Law``, whose exponent is the
    sympy object that the row prints."""

    laws: Mapping[tuple[str, str | None, str], Law] = field(default_factory=dict)


def exponents(
    arch: Architecture,
    variables: Sequence[str] | None = None,
    sizes: Sequence[int] | None = None,
    family: Family | None = None,
    numbers: bool = True,
) -> Exponents:
    """Rows: quantity, group, variable, kind, exponent and log_exponent (sympy, as printed), leading
    (the exponent's value here), rate; effective (least squares over ``sizes``), local (of the last
    doubling), limit with limit_error, method, and logs, the ladder itself.

    arch: a registered architecture, or one with a ``Family``; variables: 'depth', 'loops' (default:
    those it has), or width, mlp_ratio, head_dim, vocabulary, ... where they enter (``sizes``:
    symbols alone); sizes: the ladder; numbers: also the recursion's. residual_rms and update are
    rms values, gradient, weight_gradient and ntk squares. An architecture without a family has
    numbers and no exponents: ``InputError`` says so. Source: derived (docs/exponents.md).
    """
    family = family or arch.family
    if family is None:
        raise InputError(
            f"{arch.name}: one table of slots has numbers and no exponents, which are about all "
            f"sizes; accepted: family=sp.Family(build, classes)"
        )
    check_ladder(sizes)
    looped, others = loops_vary(arch, family), entering(arch)
    found, rows = _variables(variables, looped, tuple(others)), []
    family.checked(looped, arch)
    notes: dict[str, Any] = {"symbols": {}, "ladders": {}, "why": {}}
    for variable in found:
        if variable in others:
            rows += [(row, None) for row in size_rows(arch, variable, others[variable])]
            notes["symbols"][variable] = {"s": 1.0}
            continue
        seen = laws_of(arch, family, variable)
        ladder = tuple(sizes or default_ladder(arch))
        logs = _logs(arch, family, variable, (*ladder, FAR * ladder[-1])) if numbers else {}
        notes["symbols"][variable] = {
            str(symbol): float(value) for symbol, value in seen.at.items()
        }
        notes["ladders"][variable] = list(ladder)
        notes["why"] |= {variable: "; ".join(seen.why.values())} if seen.why else {}
        rows += [
            _row(arch, key, variable, seen, ladder, logs.get(key))
            for key in _keys(arch, logs, seen)
        ]
    laws = {
        (row["quantity"], row["group"], row["variable"]): law
        for row, law in rows
        if law is not None
    }
    return Exponents(
        arch.name,
        dict(arch.parameters),
        [row for row, _ in rows],
        "exponents",
        notes=notes,
        laws=laws,
    )


def check_ladder(sizes: Sequence[int] | None) -> None:
    """Raise ``InputError`` unless there are three whole sizes or more, smallest first (None: the
    default)."""
    if sizes is None:
        return
    whole = all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes
    )
    if (
        not whole
        or len(sizes) < 3
        or any(a >= b for a, b in zip(sizes, list(sizes)[1:], strict=False))
    ):
        raise InputError(
            f"sizes={tuple(sizes)}; accepted: three sizes or more that ascend, such as 2, 4, 8"
        )


def default_ladder(arch: Architecture) -> tuple[int, ...]:
    """The sizes that slopes are taken over."""
    return MIXING if mixes(arch) else LADDER


def _variables(asked: Sequence[str] | None, looped: bool, others: Sequence[str]) -> tuple[str, ...]:
    accepted = ("depth", "loops") if looped else ("depth",)
    asked = [
        part.strip()
        for text in ((asked,) if isinstance(asked, str) else asked or ())
        for part in text.split(",")
    ]
    for name in asked:
        if name not in (*accepted, *others):
            open_one = (
                " (powers of the number of tokens are an open question)" if name == "tokens" else ""
            )
            raise InputError(
                f"variable={name!r}{open_one}; accepted: {', '.join((*accepted, *others))}"
            )
    return tuple(asked or accepted)


def sized(arch: Architecture, family: Family, variable: str, size: int) -> Architecture:
    """The family's member with one of its sizes changed."""
    depth, loops = own_sizes(arch)
    return (
        family.member(arch, size, loops)
        if variable == "depth"
        else family.member(arch, depth, size)
    )


def room_of(members: Sequence[Architecture]) -> Room:
    """Room for every member of a family, which then run through one compiled program."""
    rooms = [needed(member) for member in members]
    return Room(max(room.steps for room in rooms), max(room.partners for room in rooms))


def _logs(
    arch: Architecture, family: Family, variable: str, sizes: Sequence[int]
) -> dict[Key, list[float]]:
    """ln of every quantity at every size; the ones of a first step where there is a rule for it."""
    from sigprop.theory.predictions.first_step import adam, total

    found: dict[Key, list[float]] = {}
    members = [sized(arch, family, variable, size) for size in sizes]
    if members[-1].tied and members[-1].depth > MOST_TIED:
        raise InputError(
            f"sizes={tuple(sizes)}: {members[-1].depth} tied applications, and as many squared "
            f"kernels; accepted: up to {MOST_TIED} at the last"
        )
    room = room_of(members)
    for member in members:
        logs = logarithms(member, room)
        if ("ntk", None) in logs:
            logs["output_change_sgd", None] = logs["ntk", None]
        with contextlib.suppress(NoRule, InputError):
            logs["output_change_adam", None] = math.log(total(adam(member, room=room)).value)
        for key, value in logs.items():
            found.setdefault(key, []).append(value)
    return {key: values for key, values in found.items() if len(values) == len(sizes)}


def _keys(arch: Architecture, logs: dict[Key, list[float]], found: Found) -> list[Key]:
    if logs:
        return list(logs)
    alone = [(name, None) for name in ("residual_rms", "update", "gradient") if name in found.laws]
    known = {key if isinstance(key, str) else key[0] for key in found.laws}
    groups = [
        (name, g)
        for name in ("weight_gradient", "ntk")
        if name in known
        for g in arch.groups
        if g not in silent(arch)
    ]
    changes = [(name, None) for name, law in CHANGES.items() if law in found.laws]
    return [*alone, *groups, *([("ntk", None)] if "ntk" in found.laws else []), *changes]


def law_of(key: Key, found: Found, arch: Architecture) -> Law | None:
    """The law of a quantity and group: matrices follow weight_gradient, the stem the gradient
    there, the read-out the last state's square."""
    name, group = key
    if group is None:
        return found.laws.get(CHANGES.get(name, name))
    if group in arch.weights:
        return found.laws.get(("weight_gradient", group), found.laws.get("weight_gradient"))
    if group != READOUT:
        return found.laws.get("gradient")
    state = found.laws.get("residual_rms")
    if any(isinstance(node, Normalise) for node in walk(arch.readout.read)):
        return Law(BOUNDED, ZERO)
    if state is None or arch.norm_lane or arch.readout.read != State(0):
        return None
    powers = state.kind in (POWER_LAW, BOUNDED)
    return Law(
        state.kind,
        2 * state.exponent if powers else state.exponent,
        state.log_exponent,
        None if state.rate is None else 2 * state.rate,
    )


def _row(
    arch: Architecture,
    key: Key,
    variable: str,
    found: Found,
    ladder: Sequence[int],
    logs: list[float] | None,
) -> tuple[dict[str, Any], Law | None]:
    law = law_of(key, found, arch)
    row: dict[str, Any] = {"quantity": key[0], "group": key[1], "variable": variable}
    return row | _said(law, found) | _numbers(law, found, ladder, logs), law


def _said(law: Law | None, found: Found) -> dict[str, Any]:
    if law is None:
        return {"kind": None, "exponent": None, "log_exponent": None, "leading": None}
    value = law.exponent.subs(found.at)
    log = None if law.log_exponent is None else str(law.log_exponent.subs(found.at))
    rate = (
        {}
        if law.rate is None
        else {"rate": str(law.rate), "rate_value": float(sympy.N(law.rate.subs(found.at)))}
    )
    return {
        "kind": law.kind,
        "exponent": str(law.exponent),
        "log_exponent": log,
        "leading": float(value),
    } | rate


def _numbers(
    law: Law | None, found: Found, ladder: Sequence[int], logs: list[float] | None
) -> dict[str, Any]:
    """effective and local slopes; the limit: the law's value, whose uncertainty is what a
    logarithm leaves open at the largest size."""
    if logs is None:
        return {}
    numbers: dict[str, Any] = {
        "logs": logs[:-1],
        "effective": slope(ladder, logs[:-1]),
        "local": end_to_end((1, FAR), logs[-2:]),
    }
    if law is None or law.kind not in (POWER_LAW, BOUNDED):
        return numbers
    logarithm = law.log_exponent is None or law.log_exponent.subs(found.at) != 0
    largest = FAR * ladder[-1]
    error = (
        1 / math.log(largest) if logarithm else (found.limit.gamma_error if found.limit else 0.0)
    )
    method = (
        "ground state"
        if found.limit is not None and "gamma" in str(law.exponent)
        else "closed form"
    )
    return numbers | {
        "limit": float(law.exponent.subs(found.at)),
        "limit_error": error,
        "method": method,
    }
