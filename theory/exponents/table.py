"""``exponents``: the symbolic law of every quantity in depth, loops, the number of tokens and the
sizes of the width, beside the exact recursion's own slopes and their limit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sigprop.description.architecture import Architecture, check_described
from sigprop.description.family import Family, loops_vary, own_sizes
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, NoRule
from sigprop.language.expression import Normalise, State
from sigprop.language.traversal import walk
from sigprop.scaling.growth_rows import Key, mixes, silent
from sigprop.tables.table import Table
from sigprop.theory.exponents.ladder import logarithms
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW, ZERO, Law
from sigprop.theory.exponents.laws_of import FamilyLaws, laws_of
from sigprop.theory.exponents.numerical.reach import doublings, farthest
from sigprop.theory.exponents.numerical.rows import FAR, Growth, row_of
from sigprop.theory.exponents.tokens.growth import TOKENS, growth_of_tokens
from sigprop.theory.exponents.width import entering, size_rows
from sigprop.theory.recursion.program import Room, needed

LADDER, MIXING = (2, 4, 8, 16, 32), (2, 4, 8)
"""Sizes unless asked; fewer where attention mixes tokens, whose recursion is dear."""
MOST_TIED = 4096  # applications
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
    doubling), limit with limit_error, method (of a law; 'numerical': estimated from the recursion;
    'none: ' and why), and logs, the ladder itself.

    arch: a registered architecture, or one with a ``Family``; variables: 'depth', 'loops' (default:
    those it has), 'tokens', or width, mlp_ratio, head_dim, vocabulary, ... where they enter
    (``sizes``: symbols alone); sizes: the ladder; numbers: also the recursion's. residual_rms and
    update are rms values, gradient, weight_gradient and ntk squares. An architecture without a
    family has numbers and no exponents: ``InputError`` says so. Source: derived
    (docs/exponents.md).
    """
    check_described(arch)
    family = _family(arch, family)
    check_ladder(sizes)
    looped, others = loops_vary(arch, family), entering(arch)
    chosen = _variables(variables, looped, (*others, TOKENS))
    family.checked(looped, arch)
    notes: dict[str, Any] = {"symbols": {}, "ladders": {}, "why": {}}
    rows, laws = [], {}
    for variable in chosen:
        if variable in others:
            rows += size_rows(arch, variable, others[variable])
            notes["symbols"][variable] = {"s": 1.0}
            continue
        growth = _growth(arch, family, variable, sizes, numbers)
        notes["symbols"][variable] = {str(s): float(value) for s, value in growth.laws.at.items()}
        notes["ladders"][variable] = list(growth.ladder)
        found = {key: _law(key, variable, growth, arch) for key in _keys(arch, variable, growth)}
        rows += [row_of(key, variable, law, growth) for key, law in found.items()]
        notes["why"] |= _why(variable, found, growth)
        laws |= {(*key, variable): law for key, law in found.items() if law is not None}
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


def _growth(
    arch: Architecture,
    family: Family,
    variable: str,
    given: Sequence[int] | None,
    numbers: bool,
) -> Growth:
    """Read the laws, and run the recursion where numbers are asked for."""
    if variable == TOKENS:
        return growth_of_tokens(arch, family, given, numbers)
    laws, ladder = laws_of(arch, family, variable), tuple(given or default_ladder(arch))
    tied = variable == "loops" or any(entry.uses not in ("1", "N") for entry in family.classes)
    doubled, last = (), FAR * ladder[-1]
    if numbers and any(law_of(key, laws, arch) is None for key in _expected(arch)):
        depth, loops = own_sizes(arch)
        each = arch.depth // (depth if variable == "depth" else loops)
        doubled = doublings(last if given else max(last, farthest(arch, each, tied)))
    sizes = sorted({*ladder, last, *doubled})
    logs = _logs(arch, family, variable, sizes, last) if numbers else {}
    there = {key: found for key, found in logs.items() if found.keys() >= {*ladder, last}}
    return Growth(laws, ladder, doubled, there, tied)


def _expected(arch: Architecture) -> list[Key]:
    """Return the quantities that a recursion has numbers for."""
    names = ("residual_rms",) if arch.norm_lane else ("residual_rms", "update")
    states: list[Key] = [(name, None) for name in names]
    if not arch.gradients_known:
        return states
    groups = [("weight_gradient", name) for name in (*arch.weights, READOUT, *arch.stem_parts)]
    kernels = [] if mixes(arch) else [("ntk", name) for name in (*arch.groups, None)]
    return [*states, ("gradient", None), *groups, *kernels, *((name, None) for name in CHANGES)]


def _law(key: Key, variable: str, growth: Growth, arch: Architecture) -> Law | None:
    """Return the law of a quantity and group, if there is one."""
    laws = growth.laws
    return laws.laws.get(key) if variable == TOKENS else law_of(key, laws, arch)


def _why(variable: str, found: Mapping[Key, Law | None], growth: Growth) -> dict[str, str]:
    """Return why some quantity has no law: what the laws say, or that nobody has derived it."""
    without = dict.fromkeys(key[0] for key, law in found.items() if law is None)
    reasons = list(growth.laws.why.values())
    if without and not reasons:
        reasons = [f"no law of {', '.join(without)}: not derived for this rule"]
    return {variable: "; ".join(reasons)} if reasons else {}


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
            raise InputError(f"variable={name!r}; accepted: {', '.join((*accepted, *others))}")
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
    arch: Architecture, family: Family, variable: str, sizes: Sequence[int], last: int
) -> dict[Key, dict[int, float]]:
    """Return ln of every quantity by size; those of a first step where there is a rule for it.
    Beyond ``last`` only as far as values are finite."""
    from sigprop.theory.first_step.response import descents

    every: dict[Key, dict[int, float]] = {}
    members = [sized(arch, family, variable, size) for size in sizes]
    if members[-1].tied and members[-1].depth > MOST_TIED:
        raise InputError(
            f"sizes={tuple(sizes)}: {members[-1].depth} tied applications, and as many squared "
            f"kernels; accepted: up to {MOST_TIED} at the last"
        )
    room = room_of(members)
    for size, member in zip(sizes, members, strict=True):
        try:
            logs = logarithms(member, room)
        except InputError:
            if size <= last:
                raise
            break
        if ("ntk", None) in logs:
            logs["output_change_sgd", None] = logs["ntk", None]
        with contextlib.suppress(NoRule, InputError):
            found = descents(member, "adam", room=room)
            logs["output_change_adam", None] = math.log(sum(float(x.value) for x in found.values()))
        for key, value in logs.items():
            every.setdefault(key, {})[size] = value
    return every


def _keys(arch: Architecture, variable: str, growth: Growth) -> list[Key]:
    """Return the quantities that have rows: those with numbers, or with laws."""
    laws = growth.laws
    if growth.logs or variable == TOKENS:
        return list(growth.logs or laws.laws)
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
