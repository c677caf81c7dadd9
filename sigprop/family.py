"""A family: what an architecture is at other depths and loop counts. Exponents are statements about families, never about one table of slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError
from sigprop.grammar import parse, resolve

if TYPE_CHECKING:
    from sigprop.architecture import Architecture

TRIED = ((4, 4), (8, 4), (4, 8))
"""(L, N) at which what a family says of itself is compared with what it builds."""


@dataclass(frozen=True)
class SlotClass:
    """``slots`` weight sets of a matrix, each used ``uses`` times: expressions in N, L, S such as ``N/2`` (``grammar``)."""

    slots: str
    uses: str


@dataclass(frozen=True, eq=False)
class Family:
    """build(L, N) -> the architecture with L distinct blocks looped N times.

    classes: how its slots and their uses grow, for every matrix alike (untied: S slots used once; looped: S slots used N times);
    formulas: named numbers as expressions in N, L, S; powers: named numbers that vary over applications as v l^-p, l = 1..D, as
    (expression for v, p). Raises ``InputError`` from ``checked`` where one of them is not what ``build`` builds.
    """

    build: Callable[[int, int], Architecture]
    classes: tuple[SlotClass, ...] = (SlotClass("S", "N"),)
    formulas: Mapping[str, str | float] = field(default_factory=dict)
    powers: Mapping[str, tuple[str | float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in self.classes:
            parse(entry.slots, "slots")
            parse(entry.uses, "uses")
        if not self.classes:
            raise InputError("classes: none; accepted: one SlotClass(slots, uses) or more")

    def checked(self, loops: bool) -> Family:
        """The family, after its classes and formulas were compared with what it builds (``loops``: also at N > 1)."""
        for depth, n in TRIED:
            n = n if loops else 1
            arch = self.build(depth, n)
            if not hasattr(arch, "applications_of"):
                raise InputError(f"family: build({depth}, {n}) gave {type(arch).__name__}; accepted: a function (L, N) -> Architecture")
            sizes = {"N": n, "L": depth, "S": depth * (arch.sizes.get("S", depth) // max(arch.sizes.get("L", depth), 1))}
            self._check_classes(arch, sizes)
            self._check_numbers(arch, sizes)
        return self

    def _check_classes(self, arch: Architecture, sizes: dict[str, int]) -> None:
        said: Counter[int] = Counter()
        for entry in self.classes:
            said[round(resolve(entry.uses, "uses", sizes))] += round(resolve(entry.slots, "slots", sizes))
        for weight in arch.weights:
            built = Counter(len(used) for used in arch.applications_of(weight).values())
            share = sum(len(used) for used in arch.applications_of(weight).values()) / arch.depth
            if any(abs(built[uses] - share * slots) > 1e-9 for uses, slots in said.items()) or set(built) - set(said):
                raise InputError(
                    f"classes: {_shown(said)} at N={sizes['N']}, L={sizes['L']} but weight {weight!r} has {_shown(built)}; accepted: what is built"
                )

    def _check_numbers(self, arch: Architecture, sizes: dict[str, int]) -> None:
        tables = arch.number_tables
        expected: dict[str, Any] = {name: [resolve(text, name, sizes)] * arch.depth for name, text in self.formulas.items()}
        for name, (text, power) in self.powers.items():
            expected[name] = [resolve(text, name, sizes) * (a + 1) ** -power for a in range(arch.depth)]
        for name, values in expected.items():
            if name not in tables or any(abs(x - y) > 1e-9 * max(abs(y), 1e-300) for x, y in zip(tables[name], values, strict=True)):
                raise InputError(f"formulas: {name!r} is not what is built at N={sizes['N']}, L={sizes['L']}; accepted: the number's own expression in N, L, S")


def _shown(counts: Counter[int]) -> str:
    return ", ".join(f"{slots} slots used {uses} times" for uses, slots in sorted(counts.items()) if slots)
