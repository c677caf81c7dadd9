"""Which laws an architecture follows in depth or in loops: its growth, its counts, and the values of the free exponents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sympy

from sigprop.architecture import Architecture
from sigprop.errors import InputError, NoRule
from sigprop.expression import Normalise
from sigprop.family import Family
from sigprop.scalar import Scalar, evaluate, names
from sigprop.theory.exponents import laws
from sigprop.theory.exponents.branch_map import BranchMap, branch_map
from sigprop.theory.exponents.counts import Count, application_power, counts, pair_power
from sigprop.theory.exponents.degrees import DEPTH, LOOPS, VARIABLES, degree
from sigprop.theory.exponents.growth import OTHER, ROTATION, Growth, growth
from sigprop.theory.exponents.laws import ALPHA, ALPHA_0, CHI, GAIN, GAMMA, MODULATOR, POWER, TIED, UNTIED, Law, Values
from sigprop.theory.exponents.tied_limit import ALIGNED, TiedLimit, tied_limit
from sigprop.theory.prescriptions.symbols import as_sympy, exact
from sigprop.traversal import walk


@dataclass(frozen=True)
class Found:
    """Laws by quantity in one variable; at: the free symbols' values here; why: quantity -> why it has no law; limit: ``tied_limit``, if tied."""

    laws: dict[str, Law]
    at: Values
    why: dict[str, str] = field(default_factory=dict)
    limit: TiedLimit | None = None


def laws_of(arch: Architecture, family: Family, variable: str) -> Found:
    """The laws of ``arch``'s family in 'depth' or 'loops'. Raises ``InputError`` where sizes enter it by no power."""
    seen, sub_blocks = growth(arch), arch.sizes.get("S", 1) // max(arch.sizes.get("L", 1), 1)
    size = VARIABLES[variable]
    if seen.form == OTHER or seen.degree not in (0, 1):
        return _none("the rule is neither h + eps f nor a rotation" if seen.form == OTHER else "writes grow by no power of the state, or by its square")
    found = counts(family.classes, size, sub_blocks)
    added, kept = (_symbolic(scalar, family, arch, sub_blocks) for scalar in (seen.added, seen.kept))
    if added == 0:
        raise InputError(f"{', '.join(sorted(number.name for number in names(seen.added)))}=0: nothing is written; accepted: above 0")
    at: dict[sympy.Symbol, Any] = {ALPHA: -degree(added, size)}
    if at[ALPHA] < 0:
        return _none(f"what the rule adds grows with {variable}: laws are for alpha >= 0", at)
    pattern = _pattern(found)
    branch, why = _branch(arch)
    if branch is not None:
        at |= {CHI: _whole(branch.chi)}
    if seen.form == ROTATION:
        return _rotation(seen, family, arch, added, at, pattern, why, size)
    if kept != 1:
        return _damped(kept, added, at, found, size, branch, seen, arch)
    if seen.degree == 1:
        return _multiplied(arch, added, at, pattern, branch, why, size)
    known, limit = laws.state(pair_power(found), at), None
    if pattern == TIED and branch is not None:
        limit = tied_limit(branch)
        at |= {GAMMA: _whole(limit.gamma)}
    if pattern is None or branch is None:
        reason = why.get("") or "slots of several kinds of growth"
        flat = at[ALPHA] >= sympy.Rational(pair_power(found)) / 2
        rest = {name: Law(laws.BOUNDED, laws.ZERO) for name in ("gradient", "ntk")} if flat else {}
        return Found(_read_out(known | rest, arch, at), at, {"": f"no law of gradients off the critical exponent: {reason}"}, limit)
    return Found(_read_out(known | (laws.tied(at) if pattern == TIED else laws.untied(at)), arch, at), at, {}, limit)


def _none(why: str, at: Values = None) -> Found:
    return Found({}, at or {}, {"": f"no law: {why}"})


def _read_out(found: dict[str, Law], arch: Architecture, at: Values) -> dict[str, Law]:
    """A read-out that sees the last state over its norm divides every gradient by that norm."""
    return laws.normalised(found, at) if any(isinstance(node, Normalise) for node in walk(arch.readout.read)) else found


def _pattern(found: tuple[Count, ...]) -> str | None:
    """Whether the classes that decide P are used once or by all."""
    deciding = {(count.slots, count.uses) for count in found if count.pairs == pair_power(found)}
    kinds: Any = {((1, 0),): UNTIED, ((0, 1),): TIED}
    return kinds.get(tuple(deciding)) if application_power(found) == 1 else None


def _symbolic(scalar: Scalar, family: Family, arch: Architecture, sub_blocks: int) -> sympy.Expr:
    """A rule's scalar as a function of N and L: formulas where the family has them, else the number, which must not vary over applications."""
    values: dict[str, Any] = {}
    for number in names(scalar):
        name = number.name
        if name in family.formulas:
            values[name] = as_sympy(family.formulas[name], name, sub_blocks)
        elif name in family.powers:
            values[name] = as_sympy(family.powers[name][0], name, sub_blocks)
        else:
            table = arch.number_tables[name]
            if not (table == table[0]).all():
                raise InputError(f"{name} varies over applications; accepted: Family(powers={{{name!r}: (value, power)}}) says how")
            values[name] = exact(float(table[0]))
    return sympy.Integer(1) * evaluate(scalar, values, exact)


def _branch(arch: Architecture) -> tuple[BranchMap | None, dict[str, str]]:
    """The branches' map, all writes counting alike: one rule for all sub-blocks."""
    try:
        return branch_map(arch, [1.0] * len(arch.sub_blocks)), {}
    except NoRule as error:
        return None, {"": str(error)}


def _whole(value: float) -> Any:
    return sympy.Integer(1) if abs(value - 1) <= ALIGNED else sympy.Float(value)


def _constant(arch: Architecture, added: Any, at: Values, size: Any) -> float:
    """c in added = c size^-alpha, the other size as it is here."""
    here = {LOOPS: arch.sizes.get("N", 1), DEPTH: arch.sizes.get("L", 1)} | {size: sympy.Integer(10) ** 30}
    return float(sympy.N(sympy.simplify(added * size ** at[ALPHA]).subs(here)))


def _multiplied(arch: Architecture, added: Any, at: Values, pattern: str | None, branch: BranchMap | None, why: dict[str, str], size: Any) -> Found:
    """Homogeneous branches without a norm: g is what a step of the variable adds, a block of all kinds untied, a loop of all blocks tied."""
    depth, loops = arch.sizes.get("L", 1), arch.sizes.get("N", 1)
    if branch is None or pattern is None or (pattern == UNTIED and loops > 1):
        return Found({}, at, why or {"": "no law: slots of several kinds of growth"})
    slots = len(arch.sub_blocks) * (depth if pattern == TIED else 1)
    at = at | {GAIN: _whole(_constant(arch, added, at, size) ** 2 * branch.gain * (depth if pattern == TIED else 1))}
    return Found(_read_out(laws.multiplied(pattern, at, slots == 1), arch, at), at)


def _damped(kept: Any, added: Any, at: Values, found: tuple[Count, ...], size: Any, branch: BranchMap | None, seen: Growth, arch: Architecture) -> Found:
    """h' = lambda h + eps f with lambda < 1: writes count for a memory of 1/(1 - lambda) applications."""
    here = float(evaluate(seen.kept, {name: table[0] for name, table in arch.number_tables.items()}))
    if abs(here) >= 1 or seen.degree != 0:
        return _none("lambda h + eps f with lambda >= 1, or with writes that are not behind a norm", at)
    memory = min(sympy.Integer(1), -degree(1 - kept**2, size))
    fades, pairs = memory < 1, pair_power(found) * memory
    grown = pairs / 2 - ALPHA
    states = {"residual_rms": laws.settled(grown if fades else laws.positive(grown), at)}
    # at unit gain a fixed point of variance 1, whatever the memory
    if _pattern(found) == UNTIED and branch is not None and abs(branch.gain - 1) < 1e-6 and sympy.simplify(kept**2 + added**2 - 1) == 0:
        states = {"residual_rms": Law(laws.BOUNDED, laws.ZERO)}
    steady = not fades and grown.subs(at) <= 0
    rest = {"gradient": Law(laws.BOUNDED, laws.ZERO)} if steady else {}
    return Found(_read_out(states | rest, arch, at), at, {} if steady else {"": "no law of gradients where lambda < 1 and writes add up"})


def _rotation(seen: Growth, family: Family, arch: Architecture, added: Any, at: Values, pattern: str | None, why: dict[str, str], size: Any) -> Found:
    """A rotation's gain alpha_0 m l^-p, l over k = D/size applications a step of the variable."""
    if seen.learned:
        return _none("a learned modulator's gain is a random number of order one", at)
    power = next((sympy.Rational(str(family.powers[n.name][1])) for n in names(seen.added) if n.name in family.powers), sympy.Integer(0))
    first = {name: table[0] for name, table in arch.number_tables.items()}
    fixed = float(first.get("modulator", 1.0))
    gain = _constant(arch, added, at, size)
    each = arch.depth // (arch.sizes.get("L", 1) if size == DEPTH else arch.sizes.get("N", 1))
    at = at | {POWER: power, MODULATOR: exact(fixed), ALPHA_0: exact(gain / fixed if fixed else 0.0)}
    at.setdefault(CHI, sympy.Integer(1))
    missing = {} if pattern == UNTIED else {"": "no law of gradients: one slot at several rotations"}
    return Found(laws.rotation(at, pattern, each), at, missing or why)
