"""Which laws an architecture follows in depth or in loops: its growth, its counts, and the
values of the free exponents."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.errors import NoRule
from sigprop.language.expression import Normalise
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import walk
from sigprop.scaling.powers import degree, place_power
from sigprop.scaling.residual_rule import OTHER, ROTATION, ResidualRule, residual_rule
from sigprop.scaling.sizes import APPLICATION, BLOCK, VARIABLES, exact, varying
from sigprop.scaling.sizes import L as DEPTH
from sigprop.scaling.sizes import N as LOOPS
from sigprop.scaling.slots import Count, application_power, counts, pair_power
from sigprop.scaling.writes import Write, Writes, sizes_read, writes
from sigprop.theory.exponents import laws
from sigprop.theory.exponents.branch_map import BranchMap, branch_map
from sigprop.theory.exponents.laws import (
    ALPHA,
    ALPHA_0,
    CHI,
    GAIN,
    GAMMA,
    MODULATOR,
    POWER,
    TIED,
    UNTIED,
    Law,
    Values,
)
from sigprop.theory.exponents.placed import Power, deciding, placed
from sigprop.theory.exponents.tied_limit import ALIGNED, TiedLimit, tied_limit

ANY = Power(0, 0)
"""The power of writes that all count alike."""


@dataclass(frozen=True)
class FamilyLaws:
    """Laws by quantity (or quantity and group) in one variable; at: the free symbols' values
    here; why: quantity -> why it has no law; limit: of tied networks, ``tied_limit``."""

    laws: dict[Any, Law]
    at: Values
    why: dict[str, str] = field(default_factory=dict)
    limit: TiedLimit | None = None


def laws_of(arch: Architecture, family: Family, variable: str) -> FamilyLaws:
    """The laws of ``arch``'s family in 'depth' or 'loops'. Raises ``InputError`` where sizes
    enter it by no power."""
    rule, size = residual_rule(arch), VARIABLES[variable]
    if rule.form == OTHER or rule.homogeneity not in (0, 1):
        return _none(rule.why or "writes grow by no power of the state, or by its square")
    sub_blocks = arch.sizes.get("S", 1) // max(arch.sizes.get("L", 1), 1)
    counted, written = counts(family.classes, size, sub_blocks), writes(arch, family)
    if rule.form == ROTATION:
        return _rotation(written, arch, _pattern(counted), size)
    scaling = _scaling(arch, size, counted, written)
    if min(power.size for power in scaling.powers.values()) < 0:
        at: Values = {ALPHA: scaling.first.size}
        return _none(f"what the rule adds grows with {variable}: laws are for alpha >= 0", at)
    kept = sizes_read(arch, family).number(rule.kept)
    if kept != 1:
        return _damped(scaling, rule, kept)
    if rule.homogeneity == 1:
        return _multiplied(scaling)
    return _alike(scaling) if scaling.even else _placed(scaling)


@dataclass(frozen=True)
class _Scaling:
    """A family in one of its sizes: how often slots are used, and the powers of what is written.

    powers: of each write; groups: of what multiplies each group's gradient.
    """

    arch: Architecture
    size: Any
    counts: tuple[Count, ...]
    written: Writes
    powers: Mapping[Write, Power]
    groups: Mapping[str, Power]

    @property
    def first(self) -> Power:
        """The power of the write that grows fastest."""
        return self.powers[self.written.writes[deciding(list(self.powers.values()))]]

    @property
    def even(self) -> bool:
        """Tell if every write has one power of the size, and none of its place."""
        return self.first.place == 0 and all(power == self.first for power in self.powers.values())

    @property
    def pattern(self) -> str | None:
        """Tied, untied, or neither."""
        return _pattern(self.counts)

    @functools.cached_property
    def _mapped(self) -> tuple[BranchMap | None, dict[str, str]]:
        return _branch(self.arch, self.written, self.powers, self.first)

    @property
    def branch(self) -> BranchMap | None:
        """The map of the branches that decide, where there is one."""
        return self._mapped[0]

    @property
    def why(self) -> dict[str, str]:
        """Why the branches have no map."""
        return self._mapped[1]

    @property
    def at(self) -> Values:
        """The values of the free exponents here."""
        chi = {} if self.branch is None else {CHI: _whole(self.branch.chi)}
        return {ALPHA: self.first.size} | chi


def _scaling(
    arch: Architecture, size: Any, counted: tuple[Count, ...], written: Writes
) -> _Scaling:
    """Read the powers of what is written."""
    powers = {write: _power(write.square, arch, size) for write in written.writes}
    groups = {
        name: _power(square, arch, size)
        for name, square in written.gradients.items()
        if square != 0
    }
    return _Scaling(arch, size, counted, written, powers, groups)


def _placed(scaling: _Scaling) -> FamilyLaws:
    """Return the laws of writes whose powers differ, or change with their place."""
    at = scaling.at
    if scaling.pattern != UNTIED:
        return _none("writes of several powers in a tied network", at)
    by_place = placed(list(scaling.powers.values()), scaling.groups, at.get(CHI), at)
    why = (
        {}
        if scaling.branch is not None
        else {"": f"no law of gradients: {scaling.why.get('', '')}"}
    )
    return FamilyLaws(_read_out(by_place, scaling.arch, at), at, why)


def _power(square: Any, arch: Architecture, size: Any) -> Power:
    """Return its powers of 1/size (halved) and of 1/l (halved); over loops, blocks are
    what they are."""
    loops = arch.sizes.get("N", 1)
    each = arch.depth // arch.sizes.get("L", arch.depth) if loops == 1 and size == DEPTH else None
    place, rest = (
        (sympy.Integer(0), square.subs(BLOCK, 1))
        if size == LOOPS and not square.has(APPLICATION)
        else place_power(square, each)
    )
    return Power(-degree(rest, size) / 2, place / 2)


def _alike(scaling: _Scaling) -> FamilyLaws:
    """Return the laws where every write has one power of the size and none of its place; a group
    whose gradient has another differs by that power."""
    arch, at, pattern, branch = scaling.arch, scaling.at, scaling.pattern, scaling.branch
    pairs = pair_power(scaling.counts)
    states, limit = laws.state(pairs, at), None
    if pattern == TIED and branch is not None:
        limit = tied_limit(branch)
        at = at | {GAMMA: _whole(limit.gamma)}
    if pattern is None or branch is None:
        reason = scaling.why.get("") or "slots of several kinds of growth"
        flat = at[ALPHA] >= sympy.Rational(pairs) / 2 and all(
            group.size >= at[ALPHA] for group in scaling.groups.values()
        )
        rest = {name: Law(laws.BOUNDED, laws.ZERO) for name in ("gradient", "ntk")} if flat else {}
        why = {"": f"no law of gradients off the critical exponent: {reason}"}
        return FamilyLaws(_read_out(states | rest, arch, at), at, why, limit)
    rest = laws.tied(at) if pattern == TIED else laws.untied(at)
    shifts = {name: at[ALPHA] - group.size for name, group in scaling.groups.items()}
    every = states | laws.shifted(rest, shifts, at)
    return FamilyLaws(_read_out(every, arch, at), at, {}, limit)


def _none(why: str, at: Values = None) -> FamilyLaws:
    """Return no laws, and why."""
    return FamilyLaws({}, at or {}, {"": f"no law: {why}"})


def _read_out(rows: dict[Any, Law], arch: Architecture, at: Values) -> dict[str, Law]:
    """A read-out that sees the last state over its norm divides every gradient by that norm."""
    return (
        laws.normalised(rows, at)
        if any(isinstance(node, Normalise) for node in walk(arch.readout.read))
        else rows
    )


def _pattern(counted: tuple[Count, ...]) -> str | None:
    """Tell if the classes that decide P are used once (untied) or by all (tied)."""
    decisive = {
        (count.slots, count.uses) for count in counted if count.pairs == pair_power(counted)
    }
    kinds: Any = {((1, 0),): UNTIED, ((0, 1),): TIED}
    return kinds.get(tuple(decisive)) if application_power(counted) == 1 else None


def _branch(
    arch: Architecture, read: Writes, powers: Mapping[Write, Power], first: Power
) -> tuple[BranchMap | None, dict[str, str]]:
    """Map the kinds of sub-blocks that decide, their writes counting as they do in the
    first block."""
    kinds = {write.kind for write, power in powers.items() if power == first}
    if (
        len({write.kind for write in read.writes}) == len(kinds)
        and len({read.added[kind] for kind in kinds}) > 1
    ):
        return None, {"": "sub-blocks whose writes have factors of their own"}
    try:
        return branch_map(arch, [float(kind in kinds) for kind in range(len(arch.sub_blocks))]), {}
    except NoRule as error:
        return None, {"": str(error)}


def _whole(value: float) -> Any:
    """Return 1 for what is 1 to rounding, so that laws see it."""
    return sympy.Integer(1) if abs(value - 1) <= ALIGNED else sympy.Float(value)


def _constant(arch: Architecture, value: Any, power: Any, size: Any) -> float:
    """Return c in value = c size^-power, the other size as it is here."""
    here = {LOOPS: arch.sizes.get("N", 1), DEPTH: arch.sizes.get("L", 1)} | {
        size: sympy.Integer(10) ** 30
    }
    return float(sympy.N(sympy.simplify(value * size**power).subs(here)))


def _multiplied(scaling: _Scaling) -> FamilyLaws:
    """Return the laws of homogeneous branches without a norm: g is what a step of the variable
    adds, a block of all kinds untied, a loop of all blocks tied."""
    arch, written, at = scaling.arch, scaling.written, scaling.at
    pattern, branch = scaling.pattern, scaling.branch
    if not scaling.even:
        return _none("no norm, and writes of several powers", at)
    depth, loops = arch.sizes.get("L", 1), arch.sizes.get("N", 1)
    if branch is None or pattern is None or (pattern == UNTIED and loops > 1):
        why = scaling.why or {"": "no law: slots of several kinds of growth"}
        return FamilyLaws({}, at, why)
    square = written.writes[0].square
    # what the numbers of this network, and so the branch's gain, hold of it
    here = float(square.subs({LOOPS: loops, DEPTH: depth}))
    added = float(written.added[0].subs({LOOPS: loops, DEPTH: depth}))
    slots = len(arch.sub_blocks) * (depth if pattern == TIED else 1)
    gain = _constant(arch, square, 2 * at[ALPHA], scaling.size) / here * added**2 * branch.gain
    at = at | {GAIN: _whole(gain * (depth if pattern == TIED else 1))}
    return FamilyLaws(_read_out(laws.multiplied(pattern, at, slots == 1), arch, at), at)


def _damped(scaling: _Scaling, rule: ResidualRule, kept: Any) -> FamilyLaws:
    """Return the laws of h' = lambda h + eps f with lambda < 1: writes count for a memory of
    1/(1 - lambda) applications."""
    arch, at = scaling.arch, scaling.at
    if not (scaling.even and _one_factor(scaling.written)):
        return _none("lambda h + eps f of numbers that depend on size", at)
    here = float(
        evaluate(rule.kept, {name: table[0] for name, table in arch.number_tables.items()})
    )
    if kept.has(BLOCK, APPLICATION) or abs(here) >= 1 or rule.homogeneity != 0:
        return _none(
            "lambda h + eps f with lambda >= 1, or with writes that are not behind a norm", at
        )
    memory = min(sympy.Integer(1), -degree(1 - kept**2, scaling.size))
    fades, pairs = memory < 1, pair_power(scaling.counts) * memory
    grown = pairs / 2 - ALPHA
    states = {"residual_rms": laws.power_law(grown if fades else laws.positive(grown), at)}
    if _balanced(scaling, kept):
        states = {"residual_rms": Law(laws.BOUNDED, laws.ZERO)}
    steady = not fades and grown.subs(at) <= 0
    rest = {"gradient": Law(laws.BOUNDED, laws.ZERO)} if steady else {}
    why = {} if steady else {"": "no law of gradients where lambda < 1 and writes add up"}
    return FamilyLaws(_read_out(states | rest, arch, at), at, why)


def _one_factor(written: Writes) -> bool:
    """Tell if the squares of all that is added are those of the writes, as functions of size."""
    return all(
        varying(added) ** 2 == write.square for write in written.writes for added in written.added
    )


def _balanced(scaling: _Scaling, kept: Any) -> bool:
    """Tell if lambda^2 + eps^2 = 1 at unit gain: a fixed point of variance 1, whatever the
    memory."""
    branch, added = scaling.branch, scaling.written.added[0]
    return (
        scaling.pattern == UNTIED
        and branch is not None
        and abs(branch.gain - 1) < 1e-6
        and sympy.simplify(kept**2 + added**2 - 1) == 0
    )


def _rotation(read: Writes, arch: Architecture, pattern: str | None, size: Any) -> FamilyLaws:
    """A rotation's gain alpha_0 m l^-p, l over k = D/size applications a step of the variable."""
    if read.rule.learned:
        return _none("a learned modulator's gain is a random number of order one")
    if len(set(read.added)) > 1:
        return _none("gains that differ between kinds of sub-blocks")
    added = (
        read.added[0].subs(BLOCK, APPLICATION)
        if arch.depth == arch.sizes.get("L")
        else read.added[0]
    )
    if added.has(BLOCK):
        return _none("a gain that depends on the block, of several applications each")
    power, rest = place_power(added.subs(APPLICATION, BLOCK), 1)
    at: dict[sympy.Symbol, Any] = {ALPHA: -degree(rest, size)}
    if at[ALPHA] < 0:
        return _none("gains that grow with size: laws are for alpha >= 0", at)
    branch, why = _branch(arch, read, dict.fromkeys(read.writes, ANY), ANY)
    fixed = float(arch.number_tables["modulator"][0]) if "modulator" in arch.number_tables else 1.0
    gain = _constant(arch, rest, at[ALPHA], size)
    each = arch.depth // (arch.sizes.get("L", 1) if size == DEPTH else arch.sizes.get("N", 1))
    at |= {POWER: power, MODULATOR: exact(fixed), ALPHA_0: exact(gain / fixed if fixed else 0.0)}
    at[CHI] = _whole(branch.chi) if branch is not None else sympy.Integer(1)
    missing = (
        {} if pattern == UNTIED else {"": "no law of gradients: one slot at several rotations"}
    )
    return FamilyLaws(
        laws.rotation(at, pattern if branch is not None else None, each), at, missing or why
    )
