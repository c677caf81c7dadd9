"""Shapes of quantities: which rows a network has of each, at the applications asked for."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sigprop.description.architecture import Architecture
from sigprop.description.checks import EMBEDDING
from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Activate, Linear, Vector
from sigprop.language.scalar import Constant
from sigprop.language.traversal import walk


@dataclass(frozen=True)
class Row:
    """What a number is: quantity, application (0: the stem's output), and where they apply the
    others."""

    quantity: str
    application: int | None = None
    application_2: int | None = None
    token: int | None = None
    token_2: int | None = None
    group: str | None = None

    def to_dict(self) -> dict[str, str | int]:
        """The row's keys that apply."""
        return {key: value for key, value in self.__dict__.items() if value is not None}

    def __str__(self) -> str:
        keys = self.to_dict()
        return f"{keys.pop('quantity')}[{', '.join(f'{k}={v}' for k, v in keys.items())}]"


class Asked(NamedTuple):
    """Of which network, at which applications (0..D), and whether the user named these."""

    arch: Architecture
    at: tuple[int, ...]
    named: bool

    @property
    def tokens(self) -> range:
        """All tokens."""
        return range(self.arch.tokens)


Shape = Callable[[str, Asked], list[Row]]
"""(name of a quantity, what is asked) -> its rows; none where the network has none of it."""


def states(name: str, asked: Asked) -> list[Row]:
    """One row a state and token."""
    return [Row(name, a, token=t) for a in asked.at for t in asked.tokens]


def written_states(name: str, asked: Asked) -> list[Row]:
    """``states`` but the stem's."""
    return [row for row in states(name, asked) if row.application]


def pairs(name: str, asked: Asked) -> list[Row]:
    """One row a state and pair of tokens."""
    both = [(t, s) for t in asked.tokens for s in asked.tokens if t < s]
    return [Row(name, a, token=t, token_2=s) for a in asked.at for t, s in both]


def banded(shape: Shape) -> Shape:
    """The rows of ``shape`` over each band of coordinates; none where there is one band."""

    def rows(name: str, asked: Asked) -> list[Row]:
        bands = asked.arch.band_names if len(asked.arch.bands) > 1 else ()
        return [replace(row, group=band) for row in shape(name, asked) for band in bands]

    return rows


def spectra(name: str, asked: Asked) -> list[Row]:
    """One row a state, of several tokens."""
    return [Row(name, a) for a in asked.at] if asked.arch.tokens > 1 else []


def hidden_units(name: str, asked: Asked) -> list[Row]:
    """One row a matrix that is applied to hidden units, at every application that has it."""
    return [
        Row(name, a, group=w)
        for w in hidden(asked.arch)
        for a in _held(asked, lambda block, w=w: w in block.weights)
    ]


def norms(name: str, asked: Asked) -> list[Row]:
    """``states`` where a lane is kept normalised."""
    return states(name, asked) if asked.arch.norm_lane else []


def modulators(name: str, asked: Asked) -> list[Row]:
    """One row a token of every application that has a modulator."""
    found = _held(asked, lambda block: block.modulators)
    return [Row(name, a, token=t) for a in found for t in asked.tokens]


def skipping(name: str, asked: Asked) -> list[Row]:
    """One row a token of every application whose modulator may skip."""

    def skips(block: SubBlock) -> bool:
        return any(node.skip_below != Constant(0) for node in block.modulators.values())

    return [Row(name, a, token=t) for a in _held(asked, skips) for t in asked.tokens]


def attending(name: str, asked: Asked) -> list[Row]:
    """One row a token of every application that attends."""
    found = _held(asked, lambda block: block.attention)
    return [Row(name, a, token=t) for a in found for t in asked.tokens]


def with_stem(name: str, asked: Asked) -> list[Row]:
    """Every state with the stem's; those that the user named all with each other."""
    at = asked.at
    return _between(name, asked, at, [(0, a) for a in at if a > 0])


def neighbours(name: str, asked: Asked) -> list[Row]:
    """Every write with the next; those that the user named all with each other."""
    at = tuple(a for a in asked.at if a > 0)
    return _between(name, asked, at, list(zip(at[:-1], at[1:], strict=True)))


def _between(
    name: str, asked: Asked, at: tuple[int, ...], short: list[tuple[int, int]]
) -> list[Row]:
    every = [(a, b) for i, a in enumerate(at) for b in at[i + 1 :]]
    return [
        Row(name, a, b, token=t) for a, b in (every if asked.named else short) for t in asked.tokens
    ]


def outputs(name: str, asked: Asked) -> list[Row]:
    """One row a token of the read-out."""
    return [Row(name, token=t) for t in asked.tokens]


def own_words(name: str, asked: Asked) -> list[Row]:
    """``outputs`` where tokens have embeddings."""
    return outputs(name, asked) if EMBEDDING in asked.arch.stem_parts else []


def losses(name: str, asked: Asked) -> list[Row]:
    """``outputs`` where there is a vocabulary."""
    return outputs(name, asked) if asked.arch.head.vocabulary is not None else []


def angles(name: str, asked: Asked) -> list[Row]:
    """``pairs`` at every state that an application follows, of tokens that are not equal."""
    g = asked.arch.input_gram
    return [
        row
        for row in pairs(name, asked)
        if row.application != asked.arch.depth
        and g[row.token, row.token_2] ** 2 < g[row.token, row.token] * g[row.token_2, row.token_2]
    ]


def one(name: str, asked: Asked) -> list[Row]:
    """One row of the whole network."""
    return [Row(name)]


def kernels(name: str, asked: Asked) -> list[Row]:
    """One row a group and pair of outputs, and one of all groups."""
    both = [(t, s) for t in asked.tokens for s in asked.tokens if t <= s]
    return [
        Row(name, group=g, token=t, token_2=s) for g in (*asked.arch.groups, None) for t, s in both
    ]


def slots(name: str, asked: Asked) -> list[Row]:
    """One row a weight and slot (when applications are asked for, the slots nearest to them);
    the read-out; the stem's parts."""
    arch, at = asked.arch, asked.at
    rows: list[Row] = []
    for weight in arch.weights:
        firsts = [used[0] for used in arch.applications_of(weight).values()]
        if asked.named or len(firsts) > len(at):
            firsts = nearest(sorted(firsts), at)
        rows += [Row(name, a, group=weight) for a in firsts]
    rows += [Row(name, arch.readout.at[0], group=READOUT)]
    return rows + [Row(name, 0, group=part) for part in arch.stem_parts]


def hidden(arch: Architecture) -> tuple[str, ...]:
    """The matrices that are applied to hidden units: activations that come from another matrix."""

    def activated(of: Vector) -> bool:
        return any(isinstance(node, Activate) for node in walk(of)) and any(
            isinstance(node, Linear) for node in walk(of)
        )

    return tuple(
        name
        for name, node in arch.weights.items()
        if isinstance(node, Linear) and activated(node.of)
    )


def _held(asked: Asked, shows: Callable[[SubBlock], object]) -> list[int]:
    """The applications whose sub-block shows it; when applications are asked for, the nearest to
    them."""
    shown = [bool(shows(block)) for block in asked.arch.sub_blocks]
    found = [a for a, kind in enumerate(asked.arch.kind_table) if shown[kind]]
    few = asked.named or len(found) > len(asked.at)
    return nearest(found, asked.at) if found and few else found


def nearest(found: Sequence[int], at: Sequence[int]) -> list[int]:
    """Of ascending numbers those nearest to each of ``at``, the lower of two, each once."""
    lower = [max(bisect(found, a) - 1, 0) for a in at]
    sides = [found[i : i + 2] for i in lower]
    return sorted(
        {min(two, key=lambda f, a=a: abs(f - a)) for two, a in zip(sides, at, strict=True)}
    )
