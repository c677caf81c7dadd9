"""Rows of exponents: a quantity's law beside the recursion's numbers, or where it has none the
limit that is estimated from them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sympy

from sigprop.scaling.growth_rows import Key
from sigprop.theory.exponents.ladder import end_to_end, slope
from sigprop.theory.exponents.laws import BOUNDED, POWER_LAW, Law
from sigprop.theory.exponents.laws_of import FamilyLaws
from sigprop.theory.exponents.numerical.limit import FEWEST, limit_of

# times the ladder's largest size: where the local exponent is taken, from there back to the largest
FAR = 2


class Growth(NamedTuple):
    """An architecture in one variable: its laws, the ladder of sizes, the doublings that limits
    are estimated from (none where every row has a law), and ln of every quantity by size (empty:
    laws alone); tied: whether the variable counts uses of one weight; fewest: doublings that an
    estimate needs."""

    laws: FamilyLaws
    ladder: tuple[int, ...]
    doubled: tuple[int, ...]
    logs: dict[Key, dict[int, float]]
    tied: bool
    fewest: int = FEWEST


def row_of(key: Key, variable: str, law: Law | None, growth: Growth) -> dict[str, Any]:
    """Show a quantity's law beside the recursion's numbers, or where it has none the limit that
    is estimated from them."""
    row: dict[str, Any] = {"quantity": key[0], "group": key[1], "variable": variable}
    row |= symbols_of(law, growth.laws)
    logs = growth.logs.get(key)
    if logs is None:
        return row
    wanted = (*growth.ladder, FAR * growth.ladder[-1])
    numbers = numbers_of(law, growth.laws, growth.ladder, [logs[n] for n in wanted])
    return row | numbers | (_estimated(key, growth, logs) if law is None else {})


def _estimated(key: Key, growth: Growth, logs: Mapping[int, float]) -> dict[str, Any]:
    """Show the limit of a quantity without a law."""
    gradient = key[0] not in ("residual_rms", "update")
    # a quantity that vanishes far out has no logarithm there
    sizes = list(itertools.takewhile(logs.__contains__, growth.doubled))
    found = limit_of(sizes, [logs[n] for n in sizes], gradient, growth.tied, growth.fewest)
    shown = {"kind": found.kind, "leading": found.leading}
    shown |= {} if found.rate is None else {"rate_value": found.rate}
    return shown | {"limit": found.value, "limit_error": found.error, "method": found.method}


def symbols_of(law: Law | None, laws: FamilyLaws) -> dict[str, Any]:
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


def numbers_of(
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
