"""``critical`` of an architecture: the powers that make chosen quantities order one, as a table
beside the ones it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy

from sigprop.description.architecture import Architecture, check_described
from sigprop.description.family import Family, loops_vary
from sigprop.errors import InputError
from sigprop.language.expression import Linear, Vector
from sigprop.language.traversal import children
from sigprop.scaling.residual_rule import OTHER, ROTATION, residual_rule
from sigprop.scaling.sizes import APPLICATION, BLOCK
from sigprop.scaling.writes import writes
from sigprop.tables.table import Table
from sigprop.theory.exponents.critical_powers import CRITERIA, NONE, Answer, critical_powers
from sigprop.theory.exponents.laws import POWER
from sigprop.theory.exponents.laws_of import laws_of

NORM_POWER = "norm_power"
"""A rotation's norm grows as a power of depth: sum l^-2p is a logarithm."""


def critical(
    arch: Architecture,
    criteria: Sequence[str] = ("variance",),
    per_class: bool = False,
    fixed_rate: bool = False,
) -> Table:
    """Rows: variable, kind (unique, family, none), eps and rate (powers of 1/variable of what the
    rule adds and of the rate, a class each), here (the power the architecture has), because.

    criteria: names of ``theory.critical_powers.CRITERIA``, or norm_power for rotations (p of the
    gain alpha_0 l^-p); per_class, fixed_rate: as ``critical_powers``. The classes are the family's.
    Raises ``InputError`` for an architecture without one, or a criterion that is not known.
    """
    check_described(arch)
    family = _family(arch)
    looped, turned = loops_vary(arch, family), _rotates(arch)
    family.checked(looped, arch)
    names = _names(criteria)
    if NORM_POWER in names and not turned:
        raise InputError(
            f"criterion={NORM_POWER!r}: {arch.name} keeps no norm apart from a rotated direction; "
            f"accepted: {', '.join(CRITERIA)}"
        )
    rows = [_norm_power(arch)] if NORM_POWER in names else []
    counted = [name for name in names if name != NORM_POWER]
    if counted:
        _check_counted(arch, counted, turned)
        answers = critical_powers(
            family.classes,
            counted,
            per_class=per_class,
            matrices=_matrices(arch),
            sub_blocks=arch.sizes.get("S", 1) // max(arch.sizes.get("L", 1), 1),
            fixed_rate=fixed_rate,
        )
        rows += [_row(arch, answers[name]) for name in answers if looped or name == "depth"]
    notes = {"criteria": {name: CRITERIA[name].help for name in counted}}
    return Table(arch.name, dict(arch.parameters), rows, "critical", notes=notes)


def _family(arch: Architecture) -> Family:
    """Return the architecture's family, or raise ``InputError`` where it has none."""
    if arch.family is None:
        raise InputError(
            f"{arch.name}: one table of slots has no powers; accepted: family=sp.Family(build, "
            f"classes)"
        )
    return arch.family


def _rotates(arch: Architecture) -> bool:
    """Tell if the rule rotates a direction, or raise ``InputError`` where it is of another form."""
    rule = residual_rule(arch)
    if rule.form == OTHER:
        raise InputError(
            f"{arch.name}: {rule.why}, so no number multiplies what its rule adds to the state; "
            f"accepted: h + eps f, or a rotation"
        )
    return rule.form == ROTATION


def _names(criteria: Sequence[str]) -> list[str]:
    """Split what was asked for at its commas."""
    texts = (criteria,) if isinstance(criteria, str) else criteria
    return [part.strip() for text in texts for part in text.split(",")]


def _check_counted(arch: Architecture, criteria: Sequence[str], turned: bool) -> None:
    """Raise ``InputError`` where pairs of one eps say nothing: writes that differ between blocks
    or kinds, or rates beside gradients that do."""
    read = writes(arch, _family(arch))
    squares = {write.square for write in read.writes}
    if any(square.has(BLOCK, APPLICATION) for square in squares):
        accepted = f"{NORM_POWER}, or alpha_exponent=0" if turned else "functions of N and L"
        what = "gains that fall as l^-p" if turned else "writes that change from block to block"
        raise InputError(
            f"criterion={criteria[0]!r}: {what} are not counted in pairs; accepted: {accepted}"
        )
    if len(squares) > 1:
        raise InputError(
            f"criterion={criteria[0]!r}: writes of {' and '.join(sorted(map(str, squares)))} are "
            f"not counted together; accepted: one power"
        )
    apart = sorted(name for name, square in read.gradients.items() if square not in (0, *squares))
    for name in criteria:
        if apart and not turned and (CRITERIA[name].rate or name == "weight"):
            raise InputError(
                f"criterion={name!r}: gradients of {', '.join(apart)} have powers of their own; "
                f"accepted: variance, memory (rates: prescribe)"
            )


def _row(arch: Architecture, answer: Answer) -> dict[str, Any]:
    """Show an answer beside the power that the architecture has."""
    at = laws_of(arch, _family(arch), answer.variable).at
    here = next((str(value) for symbol, value in at.items() if symbol.name == "alpha"), None)

    def listed(powers: Sequence[sympy.Expr]) -> str | None:
        return None if answer.kind == NONE else ", ".join(map(str, powers))

    # eps and here: of all that writes are multiplied by, variances included
    return {
        "variable": answer.variable,
        "kind": answer.kind,
        "eps": listed(answer.eps),
        "here": here,
        "rate": listed(answer.rate),
        "because": "; ".join(answer.because),
    }


def _norm_power(arch: Architecture) -> dict[str, Any]:
    """Solve 1 - 2 p = 0, between gains whose squares' sum grows as a power and those whose sum
    converges."""
    solutions: Any = sympy.linsolve([1 - 2 * POWER], POWER)
    ((p,),) = solutions
    here = laws_of(arch, _family(arch), "depth").at[POWER]
    because = "norm_power: ln norm = (alpha_0 m)^2/2 sum l^(-2 p), a logarithm where 1 - 2 p = 0"
    return {
        "variable": "p",
        "kind": "unique",
        "eps": str(p),
        "here": str(here),
        "rate": None,
        "because": because,
    }


def _matrices(arch: Architecture) -> int:
    """Count the most matrices that stand one inside the other in a branch."""

    def nested(u: Vector) -> int:
        return int(isinstance(u, Linear)) + max((nested(child) for child in children(u)), default=0)

    return max(nested(block.branch) for block in arch.sub_blocks)
