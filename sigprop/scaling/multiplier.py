"""How depth enters what is prescribed: the multiplier eps(N, L) of residual branches, and what
variances carry beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sympy as sp
from sympy.core.function import AppliedUndef

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.scaling.residual_rule import ADDITIVE, residual_rule
from sigprop.scaling.sizes import APPLICATION, BLOCK, L, varying
from sigprop.scaling.slots import pattern
from sigprop.scaling.writes import Writes, sizes_read, writes


class Multiplier(NamedTuple):
    """scale: eps (N, L), the factor of every write; normed: whether a norm stands between the
    write and eps; gradients {weight: what variances above and before it put into its gradient's
    entries, beside eps}; stds {weight: what its own variance puts into its std}; writes: into
    the largest write."""

    scale: sp.Expr
    normed: bool
    gradients: Mapping[str, sp.Expr]
    stds: Mapping[str, sp.Expr]
    writes: sp.Expr


def multiplier(arch: Architecture) -> Multiplier:
    """eps of h <- h + eps f, in N and L, and the powers of N and L in the variances.

    Raises ``InputError`` where the count of pairs does not hold or eps is not known as a function
    of size: no skip, a norm after the sum, a rotation, several lanes or bands, a skip whose
    factors' product vanishes with depth, numbers that differ between blocks.
    """
    rule = residual_rule(arch)
    if rule.form != ADDITIVE:
        raise InputError(
            "residual rule: not h + eps f; accepted in depth and loops: pre-norm, sandwich or "
            "un-normalised skips with a multiplier"
        )
    scales = {sizes_read(arch).number(scalar) for scalar in rule.added}
    if len(scales) > 1 or len(set(rule.normed)) > 1:
        raise InputError(
            "residual rule: different ones in one network; accepted: one multiplier for all "
            "sub-blocks"
        )
    scale: Any = scales.pop()
    _check_skip(arch, sizes_read(arch).number(rule.kept))
    if not scale.is_positive:
        raise InputError(f"residual_scale: {scale}; accepted: a multiplier above 0")
    read = _checked(arch)
    own = varying(scale)
    gradients = {name: sp.sqrt(square) / own for name, square in read.gradients.items()}
    largest: Any = max(
        (sp.sqrt(write.square) / own for write in read.writes),
        key=lambda e: float(e.subs({s: 10**9 for s in e.free_symbols})),
    )
    return Multiplier(
        scale,
        read.rule.normed[0],
        gradients,
        {name: sp.sqrt(c) for name, c in read.variances.items()},
        largest,
    )


def _checked(arch: Architecture) -> Writes:
    """What is written; raises ``InputError`` where depth cannot be prescribed for."""
    read = writes(arch, trained=True)
    for square in (
        *read.variances.values(),
        *read.gradients.values(),
        *(added**2 for added in read.added),
    ):
        if square.has(BLOCK, APPLICATION):
            raise InputError(
                f"{square}: differs between blocks; accepted in depth and loops: functions of N "
                f"and L (a rate for each block is not prescribed)"
            )
        if inside := square.atoms(AppliedUndef):
            raise InputError(
                f"{inside.pop().func}: its argument changes with size by no power; accepted in "
                f"depth and loops: numbers inside it of no size"
            )
    return read


def _check_skip(arch: Architecture, skip: Any) -> None:
    if skip != 1:
        vanishes = (
            arch.parameters.get("loops") is not None
            or not sp.limit(L * sp.log(skip), L, sp.oo).is_finite
        )
        if vanishes:
            raise InputError(
                f"skip_scale: {skip} leaves nothing of the first state in a deep or looped "
                f"network; accepted: 1, or 1 - O(1/L) untied"
            )


def unknown_in_depth(arch: Architecture) -> str | None:
    """Why depth and loops cannot be prescribed for; None where they can."""
    try:
        multiplier(arch)
        for weight in arch.weights:
            pattern(arch, weight)
    except InputError as error:
        return str(error)
    return None
