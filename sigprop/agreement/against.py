"""``verify A --against B``: network A judged by B's theory, where only the structure differs.

B takes from A every parameter that both have, the number of applications, and A's resolved numbers
(the float that ``1/(N*sqrt(L))`` was for A). What is set for B explicitly (``--against-set``) wins
over all of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import askable, known, select
from sigprop.errors import InputError
from sigprop.registry.entries import Entry

# rows of these name weights, which two structures need not share
WEIGHT_QUANTITIES = ("weight_gradient", "ntk")
_SIZES = ("depth", "loops")


def theory_of(
    network: str | Architecture,
    name: str,
    given: Mapping[str, Any] | None = None,
    against_set: Mapping[str, Any] | None = None,
) -> Architecture:
    """The architecture ``name`` whose theory judges ``network`` (an architecture, or a registered
    name with ``given``).

    Raises ``InputError`` when there is none with as many applications, or when the two have
    different rows.
    """
    arch = entry(network).build(**given or {}) if isinstance(network, str) else network
    other, chosen = entry(name), dict(against_set or {})
    numbers = {
        key: value
        for key, value in arch.numbers.items()
        if key in other.defaults and np.ndim(value) == 0
    }
    shared = {
        key: value
        for key, value in arch.parameters.items()
        if key in other.defaults and key not in _SIZES
    }
    if shared.get("token_cosine") is None:
        # the network's inputs say it; what B takes of them does too
        shared.pop("token_cosine", None)
    theory = other.build(**{**shared, **numbers, **_sizes(arch, other, chosen), **chosen})
    if theory.depth != arch.depth:
        raise InputError(
            f"against={name!r}: {theory.depth} applications where {arch.name!r} has {arch.depth}; "
            f"accepted: as many (set depth or loops with against-set)"
        )
    untouched = _plain(other, {**shared, **numbers, **_sizes(arch, other, {})})
    theory = replace(theory, numbers=_numbers(arch, theory, untouched))
    common_quantities(
        arch, theory, [name for name in _both(arch, theory) if name not in WEIGHT_QUANTITIES]
    )
    return theory


def common_quantities(
    network: Architecture, theory: Architecture, asked: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The quantities that network A can be judged by with B's theory.

    network: A; theory: B, as ``theory_of`` gives it; asked: names, each of which must do; none: of
    those that a verdict looks at unasked, the ones that do. A quantity does where theory has it for
    both and both have the same rows. Raises ``InputError`` for one that was asked for and does not.
    """
    both = _both(network, theory)
    same = [name for name in both if select(network, [name]) == select(theory, [name])]
    if not asked:
        unasked = [name for name in same if name in known(network) and QUANTITIES[name].judged]
        return tuple(name for name in unasked if select(network, [name]))
    for name in asked:
        if name not in both:
            for arch in (network, theory):
                known(arch, [name])  # which says why theory has none
        if name not in same:
            accepted = ", ".join(same) or "a theory with as many tokens and applications"
            where = f"in {network.name!r} and in {theory.name!r}"
            raise InputError(f"quantity={name!r} has different rows {where}; accepted: {accepted}")
    return tuple(asked)


def _both(network: Architecture, theory: Architecture) -> tuple[str, ...]:
    """The quantities that theory has for both."""
    return tuple(name for name in askable(network) if name in askable(theory))


def _sizes(arch: Architecture, other: Entry, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """depth (and loops) of B such that depth x loops is A's; what is chosen already is left out."""
    loops = int(arch.parameters.get("loops") or 1)
    blocks = int(arch.parameters.get("depth") or arch.depth) * loops
    if "depth" not in other.defaults:
        return {}
    if "loops" not in other.defaults:
        return {"depth": blocks}
    if "depth" in chosen and "loops" in chosen:
        return {}
    for fixed, free in (("loops", "depth"), ("depth", "loops")):
        if fixed in chosen:
            number = _whole(fixed, chosen[fixed])
            if blocks % number:
                raise InputError(
                    f"against-set {fixed}={chosen[fixed]!r} does not divide the {blocks} blocks "
                    f"of {arch.name!r}; accepted: a divisor"
                )
            return {free: blocks // number}
    return {"depth": blocks // loops, "loops": loops}


def _whole(name: str, value: Any) -> int:
    from sigprop.registry.reading import read_parameter

    return int(read_parameter(name, value))


def _plain(other: Entry, taken: Mapping[str, Any]) -> Architecture | None:
    """B before anything was set for it; None when it does not exist like that."""
    try:
        return other.build(**taken)
    except InputError:
        return None


def _numbers(
    arch: Architecture, theory: Architecture, untouched: Architecture | None
) -> dict[str, Any]:
    """B's numbers with A's in place of those that nothing set for B changed."""
    found = dict(theory.numbers)
    for name, value in arch.numbers.items():
        before = untouched.numbers.get(name) if untouched is not None else None
        if (
            name in found
            and np.ndim(value) <= 1
            and before is not None
            and np.array_equal(np.asarray(before), np.asarray(found[name]))
        ):
            found[name] = value
    return found
