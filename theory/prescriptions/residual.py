"""How a network's depth enters: the multiplier of its residual branches, and how often each weight is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import sympy as sp

from sigprop.architecture import Architecture
from sigprop.errors import InputError
from sigprop.expression import Dropout, Normalise, State, Sum, Vector, Write
from sigprop.expression import Scale as Scaled
from sigprop.scalar import Constant, Number, Scalar
from sigprop.theory.prescriptions.symbols import L, N, as_sympy
from sigprop.traversal import walk
from sigprop.truncation import Truncate


class Pattern(NamedTuple):
    """Slots of a weight, and uses of each: D = slots uses applications, P = slots uses^2 pairs of one slot."""

    slots: sp.Expr
    uses: sp.Expr


PATTERNS = (Pattern(L, N), Pattern(N * L, sp.Integer(1)), Pattern(sp.Integer(1), N * L), Pattern(N, L))
"""Patterns as families; where sizes of 1 leave several, loops share weights and blocks do not."""


def pattern(arch: Architecture, weight: str) -> Pattern:
    """The family that the weight's slots belong to, of (L, N), (N L, 1), (1, N L), (N, L).

    Raises ``InputError`` for other tables: one table does not say how it goes on at other sizes.
    """
    at = {L: arch.sizes.get("L", 0), N: arch.sizes.get("N", 1)}
    uses = {len(applications) for applications in arch.applications_of(weight).values()}
    slots = len(arch.applications_of(weight))
    for family in PATTERNS:
        if uses == {family.uses.subs(at)} and slots == family.slots.subs(at):
            return family
    raise InputError(
        f"slots of {weight!r}: {slots} used {sorted(uses)} times at sizes N={at[N]}, L={at[L]}; accepted: L used N times, N L once, one N L times, N L times"
    )


class Residual(NamedTuple):
    """eps (N, L), the factor of every write; normed: whether a norm stands between the write and eps."""

    scale: sp.Expr
    normed: bool


def residual(arch: Architecture) -> Residual:
    """eps of h <- h + eps f, in N and L, read off the residual rule and the parameter that it names.

    Raises ``InputError`` where the count of pairs does not hold or eps is not known as a function of size: no skip, a norm after the sum, a rotation,
    several lanes, a skip whose factors' product vanishes with depth.
    """
    found = {_one(arch, block.rule) for block in arch.sub_blocks}
    if len(found) > 1:
        raise InputError("residual rule: different ones in one network; accepted: one multiplier for all sub-blocks")
    return found.pop()


def known(arch: Architecture) -> str | None:
    """Why depth and loops cannot be prescribed for; None where they can."""
    try:
        residual(arch)
        for weight in arch.weights:
            pattern(arch, weight)
    except InputError as error:
        return str(error)
    return None


def _one(arch: Architecture, rule: tuple[Vector, ...]) -> Residual:
    terms = rule[0].terms if isinstance(rule[0], Sum) else (rule[0],)
    writes = [term for term in terms if any(isinstance(node, Write) for node in walk(term))]
    states = [term for term in terms if any(isinstance(node, State) for node in walk(term))]
    if len(rule) > 1 or not states or len(writes) != 1 or len(states) != 1 or writes == states:
        raise InputError("residual rule: not h + eps f; accepted in depth and loops: pre-norm, sandwich or un-normalised skips with a multiplier")
    blocks = arch.sizes.get("S", 1) // arch.sizes.get("L", 1)
    skip = _product(arch, _factors(states[0], (Truncate,)), blocks)
    if skip != 1:
        vanishes = arch.parameters.get("loops") is not None or not sp.limit(L * sp.log(skip), L, sp.oo).is_finite
        if vanishes:
            raise InputError(f"skip_scale: {skip} leaves nothing of the first state in a deep or looped network; accepted: 1, or 1 - O(1/L) untied")
    scale: Any = _product(arch, _factors(writes[0], (Truncate, Normalise, Dropout)), blocks)
    if not scale.is_positive:
        raise InputError(f"residual_scale: {scale}; accepted: a multiplier above 0")
    return Residual(scale, any(isinstance(node, Normalise) for node in walk(writes[0])))


def _factors(term: Vector, through: tuple[type, ...]) -> Iterator[Scalar]:
    """The scalars that multiply a state or a write."""
    while not isinstance(term, (State, Write)):
        if isinstance(term, Scaled):
            yield term.factor
        elif not isinstance(term, through):
            raise InputError(f"residual rule: {type(term).__name__} of a state; accepted in depth and loops: skips that are added to")
        term = term.of  # type: ignore[attr-defined]


def _product(arch: Architecture, factors: Iterator[Scalar], blocks: int) -> Any:
    product: Any = sp.Integer(1)
    for factor in factors:
        if isinstance(factor, Constant):
            product *= as_sympy(factor.value, "factor")
        elif isinstance(factor, Number) and arch.parameters.get(factor.name) is not None:
            product *= as_sympy(arch.parameters[factor.name], factor.name, blocks)
        else:
            name = factor.name if isinstance(factor, Number) else "a factor"
            raise InputError(f"residual rule: {name} is not a parameter in N, L, S; accepted: a multiplier such as residual_scale='1/(N*sqrt(L))'")
    return product
