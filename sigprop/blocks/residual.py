"""Pieces that several architectures are built from: resolved numbers, input Grams, slot tables,
residual stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from sigprop.blocks import rules
from sigprop.blocks.parameters import Numbers, Parameters, Sizes
from sigprop.blocks.stems import head, stem_parts
from sigprop.description.architecture import Architecture
from sigprop.description.family import looped_slots
from sigprop.description.structure import NORM_EPSILON
from sigprop.description.sub_block import Readout, SubBlock
from sigprop.language.expression import Normalise, State, Stem, Vector

RULES = {"post": rules.post_norm, "sandwich": rules.sandwich}


class Residual(NamedTuple):
    """How writes join the state: what branches read, the next state (of the k-th kind of
    sub-block), the first one, the numbers these name (formulas, ``sigprop.language.formula``),
    and whether the head undoes the norms (``Head``)."""

    read: Vector
    rule: Callable[[int], Vector]
    initial: Vector
    numbers: Numbers
    inverse_temperature: bool = False


def every(rule: Vector) -> Callable[[int], Vector]:
    """The same next state for every kind of sub-block."""

    def of_kind(kind: int) -> Vector:
        return rule

    return of_kind


def skip(p: Parameters, size: Sizes) -> Residual:
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
    return Residual(read, every(rule), Stem(), scales | {"norm_eps": p["norm_eps"] or 0.0})


def residual_stack(
    name: str,
    branches: Sequence[Vector],
    numbers: Numbers,
    size: Sizes,
    p: Parameters,
    residual: Residual | None = None,
    tables: Mapping[str, object] | None = None,
) -> Architecture:
    """Residual sub-blocks with these branches in turn, L blocks looped N times; untied is looped
    with N = 1 (a law, tested).

    numbers: formulas (``sigprop.language.formula``); p: the user's parameters (tokens, ...,
    readout); residual: by default ``skip``, with the user's parameters; tables: of tokens, by name.
    """
    residual = residual or skip(p, size)
    return Architecture(
        name=name,
        sub_blocks=tuple(
            SubBlock(residual.read, branch, (residual.rule(kind),))
            for kind, branch in enumerate(branches)
        ),
        initial=(residual.initial,),
        slots=looped_slots(size),
        numbers=numbers | residual.numbers,
        token_tables=tables or {},
        input_gram=stem_parts(p),
        head=head(p, residual.inverse_temperature),
        readout=Readout(
            p["readout"],
            Normalise(State(0), p["norm_kind"], NORM_EPSILON) if p.get("final_norm") else State(0),
        ),
        ensemble=p["weights"],
        sizes=size,
        sgd_factors=p.get("sgd_factors") or {},
    )
