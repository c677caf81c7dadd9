"""Pieces that several architectures are built from: resolved numbers, input Grams, slot tables,
residual stacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from sigprop.blocks import rules
from sigprop.blocks.parameters import Numbers, Parameters, Sizes
from sigprop.blocks.stems import head, stem_parts
from sigprop.description.architecture import Architecture
from sigprop.description.family import looped_slots
from sigprop.description.structure import NORM_EPSILON
from sigprop.description.sub_block import Readout, SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import Normalise, State, Stem, Vector

RULES = {"post": rules.post_norm, "sandwich": rules.sandwich}


Lanes = Vector | tuple[Vector, ...]
"""One expression for each lane (or read); of one, itself."""


def unchanged(kind: str, branch: Vector) -> Vector:
    """The branch."""
    return branch


class Join(NamedTuple):
    """How branches meet the state.

    reads: what they read, an expression for each Read(j); rule: the next lanes, of the k-th kind
    of sub-block; initial: the lanes before application 0; numbers: those that all of these name
    (formulas, ``sigprop.language.formula``); branch: (attention or mlp, its expression) -> the
    expression that stands instead; tied: weights of which all applications share one; readout:
    what is read out, before the final norm; inverse_temperature: whether the head undoes the norms
    (``Head``).
    """

    reads: Lanes
    rule: Callable[[int], Lanes]
    initial: Lanes
    numbers: Numbers
    branch: Callable[[str, Vector], Vector] = unchanged
    tied: tuple[str, ...] = ()
    readout: Vector = State(0)
    inverse_temperature: bool = False


def every(rule: Lanes) -> Callable[[int], Lanes]:
    """The same next state for every kind of sub-block."""

    def of_kind(kind: int) -> Lanes:
        return rule

    return of_kind


def skip(p: Parameters, size: Sizes) -> Join:
    """Skip connections with norms where p says (norm, norm_kind, norm_eps, residual_scale,
    skip_scale)."""
    plain = p["skip_scale"] == 1 and p["norm"] in ("none", "pre")
    (rule,) = (
        RULES[p["norm"]](p["norm_kind"])
        if p["norm"] in RULES
        else rules.additive()
        if plain
        else rules.weighted()
    )
    read = (
        Normalise(State(0), p["norm_kind"], NORM_EPSILON)
        if p["norm"] in ("pre", "sandwich")
        else State(0)
    )
    scales: Numbers = {scale: p[scale] for scale in ("residual_scale", "skip_scale")}
    return Join(read, every(rule), Stem(), scales | {"norm_eps": p["norm_eps"] or 0.0})


def residual_stack(
    name: str,
    branches: Sequence[Vector],
    numbers: Numbers,
    size: Sizes,
    p: Parameters,
    join: Join | None = None,
    tables: Mapping[str, object] | None = None,
) -> Architecture:
    """Residual sub-blocks with these branches in turn, L blocks looped N times; untied is looped
    with N = 1 (a law, tested).

    numbers: formulas (``sigprop.language.formula``); p: the user's parameters (tokens, ...,
    readout); join: by default ``skip``, with the user's parameters; tables: of tokens, by name.
    """
    join = join or skip(p, size)
    blocks = tuple(
        SubBlock(join.reads, branch, join.rule(kind)) for kind, branch in enumerate(branches)
    )
    return Architecture(
        name=name,
        sub_blocks=blocks,
        initial=join.initial if isinstance(join.initial, tuple) else (join.initial,),
        slots=slots_of(blocks, looped_slots(size), join.tied),
        numbers=numbers | dict(join.numbers),
        token_tables=tables or {},
        input_gram=stem_parts(p),
        head=head(p, join.inverse_temperature),
        readout=Readout(
            p["readout"],
            Normalise(join.readout, p["norm_kind"], NORM_EPSILON)
            if p.get("final_norm")
            else join.readout,
        ),
        ensemble=p["weights"],
        sizes=size,
        sgd_factors=p.get("sgd_factors") or {},
    )


def slots_of(
    blocks: Sequence[SubBlock], table: Sequence[int], tied: Collection[str]
) -> Sequence[int] | dict[str, Sequence[int]]:
    """``table`` for all weights, but for those that all applications share. Raises
    ``InputError``."""
    names = [name for block in blocks for name in block.drawn]
    if unknown := sorted(set(tied) - set(names)):
        raise InputError(f"tied={unknown[0]!r}; accepted: weights, {', '.join(names)}")
    return {name: [0] * len(table) if name in tied else table for name in names} if tied else table
