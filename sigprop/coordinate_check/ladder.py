"""Ladders of ``check``: one registered architecture at several widths, depths L or numbers of
loops N, the others fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.description.family import loops_vary
from sigprop.errors import InputError

VARIABLES = ("width", "depth", "loops")
SIZES: dict[str, tuple[int, ...]] = {
    "width": (128, 256, 512, 1024),
    "depth": (2, 4, 8, 16, 32),
    "loops": (2, 4, 8, 16, 32),
}
"""From 2 on: one loop is an untied point, and no part of a tied network's power law."""
SMALL = 2  # depth and loops where they are not what varies
WIDTH = 128
MUON_WIDTHS = (64, 128, 256)
"""Smaller, and the first of them on the other ladders: every step multiplies n x n matrices fifteen
times for each matrix."""


def default_width(optimizer: str) -> int:
    """n on ladders of depth and loops."""
    return MUON_WIDTHS[0] if optimizer == "muon" else WIDTH


def default_ladders(optimizer: str) -> dict[str, tuple[int, ...]]:
    """{variable: sizes}."""
    return SIZES | ({"width": MUON_WIDTHS} if optimizer == "muon" else {})


MOST_TIMES = 4
"""On a rung, as many networks as on the ladder's last, at most."""


@dataclass(frozen=True)
class Rung:
    """One size: what varies has this value; the network and its width; times: of how many networks,
    as a multiple of those of the ladder's last rung."""

    size: int
    arch: Architecture
    width: int
    times: int = 1

    @property
    def cost(self) -> int:
        """What a network's step costs, in proportion."""
        return self.arch.depth * self.width**2


def allotted(rungs: Sequence[Rung]) -> list[Rung]:
    """Give cheap rungs more networks: the slope's variance times the cost is least when numbers go
    as cost^-1/2 (equal variances)."""
    costs = [max(rungs[-1].cost / rung.cost, 1.0) for rung in rungs]
    return [
        replace(rung, times=min(MOST_TIMES, round(math.sqrt(cost))))
        for rung, cost in zip(rungs, costs, strict=True)
    ]


def variables_of(arch: Architecture, asked: Sequence[str] | None = None) -> tuple[str, ...]:
    """Of width, depth and loops, those asked for (default: all that ``arch`` has). Raises
    ``InputError``."""
    if arch.family is None:
        raise InputError(
            f"architecture {arch.name!r} has no family, and check builds it at other sizes; "
            f"accepted: Architecture(..., family=sigprop.Family(...)), registered or not"
        )
    has = tuple(v for v in VARIABLES if v != "loops" or _looped(arch))
    for name in asked or ():
        if name not in has:
            raise InputError(f"variable={name!r} of {arch.name}; accepted: {', '.join(has)}")
    return tuple(dict.fromkeys(asked)) if asked else has


def _looped(arch: Architecture) -> bool:
    """Tell if the number of loops is a size of the architecture."""
    if arch.name in entries():
        return "loops" in entry(arch.name).defaults
    return arch.family is not None and loops_vary(arch, arch.family)


class Members:
    """Members of an architecture's family. changed: numbers that are not as in ``arch``, such as
    residual_scale."""

    def __init__(self, arch: Architecture, changed: Mapping[str, Any] | None = None):
        changed = {name: value for name, value in (changed or {}).items() if name in arch.numbers}
        self.arch = replace(arch, numbers={**arch.numbers, **changed}) if changed else arch
        self.looped = _looped(arch)
        self.built: dict[tuple[int, int], Architecture] = {}

    def at(self, depth: int = SMALL, loops: int = SMALL) -> Architecture:
        """L blocks, N loops where it has loops; the same object for the same sizes."""
        assert self.arch.family is not None  # ``variables_of`` refuses
        key = (depth, loops if self.looped else 1)
        if key not in self.built:
            self.built[key] = self.arch.family.member(self.arch, *key)
            _check_sizes(self.built[key], *key)
        return self.built[key]

    def ladder(self, variable: str, sizes: Sequence[int] | None, width: int) -> list[Rung]:
        """The rungs of one variable, widths rounded up to what heads and layers divide. Raises
        ``InputError``."""
        chosen = tuple(SIZES[variable] if sizes is None else sizes)
        if (
            len(set(chosen)) < 2
            or list(chosen) != sorted(set(chosen))
            or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in chosen)
        ):
            raise InputError(
                f"{variable}={chosen}; accepted: two or more different sizes, smallest first, "
                f"such as {', '.join(map(str, SIZES[variable]))}"
            )
        if variable == "width":
            arch = self.at()
            return allotted([Rung(n, arch, n) for n in (whole(arch, size) for size in chosen)])
        members = [self.at(**{variable: size}) for size in chosen]
        applications = [arch.depth for arch in members]
        if applications != sorted(set(applications)):
            raise InputError(
                f"family of {self.arch.name}: {applications} applications at "
                f"{variable}={list(chosen)}; accepted: build(L, N) with more at larger sizes"
            )
        return allotted(
            [
                Rung(size, arch, whole(arch, width))
                for size, arch in zip(chosen, members, strict=True)
            ]
        )


def _check_sizes(arch: Architecture, depth: int, loops: int) -> None:
    """Raise ``InputError`` where a family builds other sizes than it was asked for: their ladder
    would be one network, and its slopes 0."""
    for name, asked in (("L", depth), ("N", loops)):
        if arch.sizes.get(name, asked) != asked:
            raise InputError(
                f"family of {arch.name}: build(L={depth}, N={loops}) has {name}="
                f"{arch.sizes[name]} in its sizes; accepted: what it is asked for"
            )


def whole(arch: Architecture, width: int) -> int:
    """The smallest width from this one on that the network can have."""
    from sigprop.simulations.network.weights import least_width

    least = least_width(arch, max(width, 1) * 64)
    return least * math.ceil(width / least)
