"""A family: what an architecture is at other depths and loop counts. Exponents are statements
about families, never about one table of slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from sigprop.description.checks import MOST_APPLICATIONS
from sigprop.description.structure import Structure
from sigprop.description.sub_block import Part
from sigprop.errors import InputError
from sigprop.language.formula import Formula, agrees, formula, of_its_order
from sigprop.language.grammar import SIZES, parse, resolve
from sigprop.language.scalar import Number

S = TypeVar("S", bound=Structure)

TRIED = ((4, 4), (8, 4), (4, 8))
"""(L, N) at which what a family says of itself is compared with what it builds."""


@dataclass(frozen=True)
class SlotClass:
    """``slots`` weight sets of a matrix, each used ``uses`` times: expressions in N, L, S such
    as ``N/2`` (``grammar``)."""

    slots: str
    uses: str


@dataclass(frozen=True, eq=False)
class Family(Generic[S]):
    """build(L, N) -> the architecture with L distinct blocks looped N times.

    classes: how its slots and their uses grow, for every matrix alike (untied: S slots used once;
    looped: S slots used N times); formulas: named numbers as expressions in N, L, S, l, a, where
    the description does not keep them; powers: named numbers v a^-p, a = 1..D, as (expression for
    v, p); tokens: T -> the architecture of the same sizes at T tokens (None: nobody says what it
    is). Raises ``InputError`` from ``checked`` where one of them is not what ``build`` builds.
    """

    build: Callable[[int, int], S]
    classes: tuple[SlotClass, ...] = (SlotClass("S", "N"),)
    formulas: Mapping[str, object] = field(default_factory=dict[str, object])
    powers: Mapping[str, tuple[str | float, float]] = field(
        default_factory=dict[str, tuple[str | float, float]]
    )
    tokens: Callable[[int], S] | None = None

    def __post_init__(self) -> None:
        for entry in self.classes:
            parse(entry.slots, "slots", SIZES)
            parse(entry.uses, "uses", SIZES)
        if not self.classes:
            raise InputError("classes: none; accepted: one SlotClass(slots, uses) or more")

    def formulas_of(self, arch: Structure) -> dict[str, Formula]:
        """Every number's formula: the family's where it has one, else the description's."""
        own = {name: formula(name, given) for name, given in self.formulas.items()}
        placed = {
            name: formula(name, formula(name, v).scalar * Number("a") ** -p)
            for name, (v, p) in self.powers.items()
        }
        return {**arch.formulas, **own, **placed}

    def member(self, arch: S, depth: int, loops: int) -> S:
        """The family's network of L blocks and N loops, with whatever ``arch`` differs in from what
        the family builds at arch's own sizes.

        So a network whose numbers, read-out or stem were replaced (``dataclasses.replace``) stays
        what it is at other sizes. Raises ``InputError`` for differences that do not say what they
        are at other sizes: lists, slots, kinds, token tables of every application.
        """
        built = self._built(depth, loops)
        base = self._built(*own_sizes(arch))
        return built if base.depth != arch.depth else overlaid(built, arch, base)

    def lengthened(self, arch: S, tokens: int) -> S:
        """``arch`` at another number of tokens, with whatever it differs in from what the family
        builds. Raises ``InputError`` where the family does not say, or inputs are its own."""
        if self.tokens is None:
            raise InputError(
                f"variable='tokens': what {arch.name} is at other numbers of tokens is not said; "
                f"accepted: sp.Family(..., tokens=...)"
            )
        built, base = self.tokens(tokens), self.tokens(arch.tokens)
        if not same_parts(arch.stem_parts, base.stem_parts):
            raise InputError(
                f"stem: inputs of {arch.name} are not what its family builds; accepted over "
                f"tokens: those of sp.Family(..., tokens=...)"
            )
        return overlaid(built, arch, base)

    def _built(self, depth: int, loops: int) -> S:
        arch = self.build(depth, loops)
        if not hasattr(arch, "applications_of"):
            raise InputError(
                f"family: build({depth}, {loops}) gave {type(arch).__name__}; accepted: a "
                f"function (L, N) -> Architecture"
            )
        return arch

    def checked(self, loops: bool, arch: S | None = None) -> Family[S]:
        """The family, after its classes and every number's formula were compared with what it
        builds (``loops``: also at N > 1); arch: whose formulas, and what it differs in from what
        the family builds (default: one that it builds)."""
        arch = self._built(TRIED[0][0], TRIED[0][1] if loops else 1) if arch is None else arch
        formulas = self.formulas_of(arch)
        stem = None
        for depth, n in TRIED:
            member = self.member(arch, depth, n if loops else 1)
            sizes = member_sizes(member, depth, n if loops else 1)
            self._check_classes(member, sizes)
            _check_numbers(member, formulas, sizes)
            parts = {name: part.variance for name, part in member.stem_parts.items()}
            if stem is not None and parts != stem:
                raise InputError(
                    f"stem: variances {stem} at one size, {parts} at another; accepted: a stem "
                    f"that does not depend on N and L"
                )
            stem = parts
        return self

    def _check_classes(self, arch: Structure, sizes: dict[str, int]) -> None:
        said: Counter[int] = Counter()
        for entry in self.classes:
            said[round(resolve(entry.uses, "uses", sizes))] += round(
                resolve(entry.slots, "slots", sizes)
            )
        for weight in arch.weights:
            built = Counter(len(used) for used in arch.applications_of(weight).values())
            share = sum(len(used) for used in arch.applications_of(weight).values()) / arch.depth
            if any(abs(built[uses] - share * slots) > 1e-9 for uses, slots in said.items()) or set(
                built
            ) - set(said):
                raise InputError(
                    f"classes: {_shown(said)} at N={sizes['N']}, L={sizes['L']} but weight "
                    f"{weight!r} has {_shown(built)}; accepted: what is built"
                )


def own_sizes(arch: Structure) -> tuple[int, int]:
    """(L, N) of an architecture."""
    return arch.sizes.get("L", arch.depth), arch.sizes.get("N", 1)


def member_sizes(arch: Structure, depth: int, loops: int) -> dict[str, int]:
    """N, L, S of a member built at these sizes, and what else it has."""
    return {
        "S": depth * (arch.sizes.get("S", depth) // max(arch.sizes.get("L", depth), 1)),
        **arch.sizes,
        "N": loops,
        "L": depth,
    }


def overlaid(built: S, arch: Structure, base: Structure) -> S:
    """``built``, with what differs between ``arch`` and ``base`` (of the same sizes) as arch has
    it."""
    changed = {
        name: entry for name, entry in arch.formulas.items() if base.formulas.get(name) != entry
    }
    numbers: dict[str, Any] = dict(built.numbers)
    for name, entry in changed.items():
        if len(entry.entries) > 1 and not np.array_equal(
            arch.numbers[name], base.numbers.get(name, np.nan)
        ):
            raise InputError(
                f"{name}: a list of {len(entry.entries)} values; accepted at other sizes: an "
                f"expression in N, L, S, l, a"
            )
        numbers[name] = built.numbers[name] if len(entry.entries) > 1 else entry
    fixed: dict[str, Any] = {} if not changed else {"numbers": numbers}
    for name in ("sub_blocks", "initial", "head", "ensemble", "bands", "sgd_factors"):
        if getattr(arch, name) != getattr(base, name):
            fixed[name] = getattr(arch, name)
    if arch.slots != base.slots or arch.kinds != base.kinds:
        raise InputError(
            f"slots of {arch.name} are not what its family builds; accepted at other sizes: a "
            f"family of its own (sp.Family)"
        )
    if arch.readout != base.readout:
        fixed["readout"] = replace(
            arch.readout, at=tuple(-1 if a == arch.depth else a for a in arch.readout.at)
        )
    if not same_parts(arch.stem_parts, base.stem_parts):
        fixed["input_gram"] = arch.stem_parts
    if tables := {
        name: table
        for name, table in arch.token_tables.items()
        if not np.array_equal(table, base.token_tables.get(name, np.nan))
    }:
        fixed["token_tables"] = {**built.token_tables, **tables}
    return replace(built, **fixed) if fixed else built


def same_parts(one: Mapping[str, Part], other: Mapping[str, Part]) -> bool:
    """Whether two stems have the same parts."""
    return one.keys() == other.keys() and all(
        part.variance == other[k].variance and np.array_equal(part.gram, other[k].gram)
        for k, part in one.items()
    )


def _check_numbers(arch: Structure, formulas: Mapping[str, Formula], sizes: dict[str, int]) -> None:
    for name, entry in formulas.items():
        compare = of_its_order if entry.order is not None or len(entry.entries) > 1 else agrees
        if name not in arch.numbers or not compare(entry, arch.numbers[name], sizes, arch.depth):
            where = f"N={sizes['N']}, L={sizes['L']}"
            accepted = (
                "accepted: the number's own expression in N, L, S, l, a (Family(formulas=...))"
            )
            raise InputError(f"formulas: {entry} is not what is built at {where}; {accepted}")


def _shown(counts: Counter[int]) -> str:
    return ", ".join(
        f"{slots} slots used {uses} times" for uses, slots in sorted(counts.items()) if slots
    )


def sizes(depth: int, loops: int = 1, sub_blocks: int = 1) -> dict[str, int]:
    """N, L and S = L s; raises when there are more than 10^6 applications."""
    if depth * loops * sub_blocks > MOST_APPLICATIONS:
        raise InputError(
            f"depth={depth} x loops={loops} x {sub_blocks} sub-blocks > 10^6; accepted: at most "
            f"10^6 applications"
        )
    return {"N": loops, "L": depth, "S": depth * sub_blocks}


def loops_vary(arch: S, family: Family[S]) -> bool:
    """Whether the number of loops is a size of the family: what a registered system's parameters
    say (a weight that all blocks share is no loop), else shared slots or the classes."""
    if "depth" in arch.parameters:
        return "loops" in arch.parameters
    return arch.tied or any(entry.uses not in ("1", "N") for entry in family.classes)


def looped_slots(sizes: dict[str, int]) -> tuple[int, ...]:
    """slot(a) = a mod S over N S applications: loops outermost; N = 1 is the untied table."""
    return tuple(range(sizes["S"])) * sizes["N"]
