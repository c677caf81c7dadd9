"""``exponents``: the symbolic law of every quantity in depth and loops, beside the exact
recursion's own slopes and their limit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family, loops_vary, own_sizes
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Normalise, State
from sigprop.language.traversal import walk
from sigprop.scaling.growth_rows import Key, mixes, silent
from sigprop.tables.table import Table
from sigprop.theory.exponents.ladder import end_to_end, logarithms, slope
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW, ZERO, Law
from sigprop.theory.exponents.laws_of import FamilyLaws, laws_of
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
    family = _family(arch, family)
    check_ladder(sizes)
    looped, others = loops_vary(arch, family), entering(arch)
    chosen = _variables(variables, looped, tuple(others))
    family.checked(looped, arch)
    notes: dict[str, Any] = {"symbols": {}, "ladders": {}, "why": {}}
    rows, laws = [], {}
    for variable in chosen:
        if variable in others:
            rows += size_rows(arch, variable, others[variable])
            notes["symbols"][variable] = {"s": 1.0}
            continue
        growth = _growth(arch, family, variable, tuple(sizes or default_ladder(arch)), numbers)
        notes["symbols"][variable] = {str(s): float(value) for s, value in growth.laws.at.items()}
        notes["ladders"][variable] = list(growth.ladder)
        notes["why"] |= {variable: "; ".join(growth.laws.why.values())} if growth.laws.why else {}
        for key in _keys(arch, growth.logs, growth.laws):
            law = law_of(key, growth.laws, arch)
            rows.append(_row(key, variable, law, growth))
            laws |= {} if law is None else {(*key, variable): law}
    return Exponents(arch.name, dict(arch.parameters), rows, "exponents", notes=notes, laws=laws)


def _family(arch: Architecture, family: Family | None) -> Family:
    """Return the family asked for or the architecture's own, or raise ``InputError``."""
    family = family or arch.family
    if family is None:
        raise InputError(
            f"{arch.name}: one table of slots has numbers and no exponents, which are about all "
            f"sizes; accepted: family=sp.Family(build, classes)"
        )
    return family


class _Growth(NamedTuple):
    """An architecture in one variable: its laws, the ladder of sizes, and ln of every quantity
    at these and one more (empty: laws alone)."""

    laws: FamilyLaws
    ladder: tuple[int, ...]
    logs: dict[Key, list[float]]


def _growth(
    arch: Architecture, family: Family, variable: str, ladder: tuple[int, ...], numbers: bool
) -> _Growth:
    """Read the laws, and run the recursion where numbers are asked for."""
    laws = laws_of(arch, family, variable)
    logs = _logs(arch, family, variable, (*ladder, FAR * ladder[-1])) if numbers else {}
    return _Growth(laws, ladder, logs)


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
    """Return the variables asked for, or all there are; raise ``InputError`` for others."""
    accepted = ("depth", "loops") if looped else ("depth",)
    asked = [
        part.strip()
        for text in ((asked,) if isinstance(asked, str) else asked or ())
        for part in text.split(",")
    ]
    for name in asked:
        if name not in (*accepted, *others):
            remark = (
                " (powers of the number of tokens are an open question)" if name == "tokens" else ""
            )
            raise InputError(
                f"variable={name!r}{remark}; accepted: {', '.join((*accepted, *others))}"
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
    """Return ln of every quantity at every size; those of a first step where there is a rule
    for it."""
    from sigprop.theory.first_step.response import descents

    every: dict[Key, list[float]] = {}
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
            found = descents(member, "adam", room=room)
            logs["output_change_adam", None] = math.log(sum(float(x.value) for x in found.values()))
        for key, value in logs.items():
            every.setdefault(key, []).append(value)
    return {key: values for key, values in every.items() if len(values) == len(sizes)}


def _keys(arch: Architecture, logs: dict[Key, list[float]], laws: FamilyLaws) -> list[Key]:
    """Return the quantities that have rows: those with numbers, or with laws."""
    if logs:
        return list(logs)
    alone = [(name, None) for name in ("residual_rms", "update", "gradient") if name in laws.laws]
    names = {key if isinstance(key, str) else key[0] for key in laws.laws}
    groups = [
        (name, g)
        for name in ("weight_gradient", "ntk")
        if name in names
        for g in arch.groups
        if g not in silent(arch)
    ]
    changes = [(name, None) for name, law in CHANGES.items() if law in laws.laws]
    return [*alone, *groups, *([("ntk", None)] if "ntk" in laws.laws else []), *changes]


def law_of(key: Key, laws: FamilyLaws, arch: Architecture) -> Law | None:
    """The law of a quantity and group: matrices follow weight_gradient, the stem the gradient
    there, the read-out the last state's square."""
    name, group = key
    if group is None:
        return laws.laws.get(CHANGES.get(name, name))
    if group in arch.weights:
        return laws.laws.get(("weight_gradient", group), laws.laws.get("weight_gradient"))
    if group != READOUT:
        return laws.laws.get("gradient")
    state = laws.laws.get("residual_rms")
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


def _row(key: Key, variable: str, law: Law | None, growth: _Growth) -> dict[str, Any]:
    """Show a quantity's law beside the recursion's numbers."""
    row: dict[str, Any] = {"quantity": key[0], "group": key[1], "variable": variable}
    logs = growth.logs.get(key)
    numbers = {} if logs is None else _numbers(law, growth.laws, growth.ladder, logs)
    return row | _symbols(law, growth.laws) | numbers


def _symbols(law: Law | None, laws: FamilyLaws) -> dict[str, Any]:
    """Show the law's expressions, and their values here."""
    if law is None:
        return {"kind": None, "exponent": None, "log_exponent": None, "leading": None}
    value = law.exponent.subs(laws.at)
    log = None if law.log_exponent is None else str(law.log_exponent.subs(laws.at))
    rate = (
        {}
        if law.rate is None
        else {"rate": str(law.rate), "rate_value": float(sympy.N(law.rate.subs(laws.at)))}
    )
    return {
        "kind": law.kind,
        "exponent": str(law.exponent),
        "log_exponent": log,
        "leading": float(value),
    } | rate


def _numbers(
    law: Law | None, laws: FamilyLaws, ladder: Sequence[int], logs: list[float]
) -> dict[str, Any]:
    """Return effective and local slopes, and the limit: the law's value, whose uncertainty is
    what a logarithm leaves open at the largest size."""
    numbers: dict[str, Any] = {
        "logs": logs[:-1],
        "effective": slope(ladder, logs[:-1]),
        "local": end_to_end((1, FAR), logs[-2:]),
    }
    if law is None or law.kind not in (POWER_LAW, BOUNDED):
        return numbers
    logarithm = law.log_exponent is None or law.log_exponent.subs(laws.at) != 0
    largest = FAR * ladder[-1]
    error = 1 / math.log(largest) if logarithm else (laws.limit.gamma_error if laws.limit else 0.0)
    method = (
        "ground state" if laws.limit is not None and "gamma" in str(law.exponent) else "closed form"
    )
    return numbers | {
        "limit": float(law.exponent.subs(laws.at)),
        "limit_error": error,
        "method": method,
    }
