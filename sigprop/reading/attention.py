"""Attention heads of a module as ``Attend``: legs, scale, positions, mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sigprop.errors import InputError
from sigprop.language.expression import Attend, Normalise, Vector
from sigprop.language.scores import Scores
from sigprop.modules.patterns import table_of
from sigprop.modules.terms import (
    UNSEEN,
    Attention,
    Gain,
    Matrix,
    Norm,
    Part,
    Pointwise,
    Term,
    Turned,
)
from sigprop.reading.converter import Converter
from sigprop.reading.stem import mean_square, where

EPSILON = 1e-3
"""Of the variance of what a head's norm divides: an epsilon below it is left out."""


class Turn(NamedTuple):
    """Rotary positions: their base, and how many of a head's features they turn."""

    base: float
    features: int


@dataclass(frozen=True)
class Leg:
    """Queries or keys: the matrix's outputs, a constant gain, whether each head is normalised, and
    its rotary positions."""

    of: Vector
    gain: float
    normed: bool
    turn: Turn | None


def _leg(converter: Converter, term: Term, head_dim: int) -> Leg:
    """Read what lies between a matrix and the scores, outermost first."""
    gain, normed, turn = 1.0, False, None
    while True:
        if isinstance(term, Turned):
            turn, term = Turn(term.base, term.features), term.of
        elif isinstance(term, Gain) and isinstance(term.of, Norm):
            gain *= math.sqrt(mean_square(converter.stem.law(term.parameter), term))
            term = term.of
        elif isinstance(term, Pointwise) and term.function.factor is not None:
            gain *= math.copysign(1.0, term.function.factor) if normed else term.function.factor
            term = term.of
        elif isinstance(term, Norm) and term.length == head_dim and term.kind == "rms":
            _check_epsilon(converter, term)
            normed, term = True, term.of
        elif _over_heads(term):
            of, root = _normed_over_heads(converter, term)
            return Leg(of, gain / root, normed, turn)
        else:
            return Leg(converter.vector(term), gain, normed, turn)


def _check_epsilon(converter: Converter, term: Norm) -> None:
    """Raise ``InputError`` where a head's norm is not far above its epsilon, which ``Scores`` does
    not have."""
    matrix = term.of.of if isinstance(term.of, Part) else term.of
    if isinstance(matrix, Matrix):
        variance = converter.stem.law(matrix.parameter).variance * matrix.columns
        if term.epsilon > EPSILON * variance:
            raise InputError(
                f"{where(term)}: epsilon {term.epsilon:.3g} in a norm of queries or keys of "
                f"variance {variance:.3g}; accepted: at most {EPSILON:g} of it"
            )


def _over_heads(term: Term) -> bool:
    """Tell whether a term is a norm of all of a matrix's outputs."""
    inner = term.of if isinstance(term, Norm) else None
    return isinstance(term, Norm) and isinstance(inner, Matrix) and term.length == inner.rows


def _normed_over_heads(converter: Converter, term: Any) -> tuple[Vector, float]:
    """A norm over all heads: of W r it divides by sqrt(c) |r| (c: the matrix's variance) as the
    width grows, so it is W r / sqrt(c) with r normalised. Returns W r of the normalised r, and
    sqrt(c)."""
    matrix: Matrix = term.of
    if term.kind != "rms" or matrix.bias is not None:
        raise InputError(
            f"{where(term)}: a norm of queries or keys with means or biases; accepted: an RMS norm "
            f"of a matrix's outputs"
        )
    variance = converter.stem.law(matrix.parameter).variance * matrix.columns
    epsilon = converter.number(term.epsilon / variance, "epsilon")
    read = Normalise(converter.vector(matrix.of), "rms", epsilon)
    return converter.matrix(matrix, 0, matrix.rows, read), math.sqrt(variance)


def attention(converter: Converter, term: Attention) -> Vector:
    """Write heads of attention; raises ``InputError`` for what ``Attend`` does not say."""
    query, key = (_leg(converter, side, term.head_dim) for side in (term.query, term.key))
    scale = term.scale * math.sqrt(term.head_dim) * query.gain * key.gain
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-9) else scale  # roots are rounded
    _check(converter, term, query, key, scale)
    turn = query.turn
    part = turn is not None and turn.features < term.head_dim
    scores = Scores(
        term.head_dim,
        "sqrt",
        _mask(converter, term),
        rotary=turn is not None,
        qk_norm=query.normed,
        turned=turn.features if turn is not None and part else None,
    )
    return Attend(
        query.of if query.normed else converter.times(scale, query.of),
        key.of,
        converter.vector(term.value),
        scores,
        cap=None if term.cap is None else converter.number(term.cap, "softcap"),
        base=None if turn is None else converter.number(turn.base, "rope_base"),
    )


def _check(converter: Converter, term: Attention, query: Leg, key: Leg, scale: float) -> None:
    """Raise ``InputError`` for legs that differ, scales of normalised ones, other axes."""
    at, tokens = where(term), converter.stem.tokens
    if term.shape[-2] != tokens:
        raise InputError(
            f"{at}: attention over {term.shape[-2]} of {tokens} tokens; accepted: over all tokens"
        )
    if query.normed != key.normed or query.turn != key.turn:
        raise InputError(
            f"{at}: queries and keys are treated differently; accepted: both normalised, both "
            f"turned, or neither"
        )
    if query.normed and not math.isclose(scale, 1.0, rel_tol=1e-9):
        raise InputError(
            f"{at}: normalised queries and keys at a scale of {term.scale:.4g}; accepted: "
            f"1/sqrt(head_dim) = {term.head_dim**-0.5:.4g}"
        )


def _mask(converter: Converter, term: Attention) -> Any:
    """'causal', 'none', or rows of booleans."""
    tokens = converter.stem.tokens
    if term.mask is None:
        return "causal" if term.causal else "none"
    table = table_of(term.mask, converter.stem.graph)
    if table is None or table.shape[-1] != tokens or len(table) not in (1, tokens):
        raise InputError(
            f"{where(term)}: a mask that differs between heads or inputs; accepted: one table of "
            f"tokens x tokens"
        )
    table = np.broadcast_to(table, (tokens, tokens))
    chosen = converter.stem.graph.array(term.mask.node).dtype == bool
    allowed = table.astype(bool) if chosen else table > UNSEEN
    if not chosen and table[allowed].any():
        raise InputError(f"{where(term)}: a bias on scores; accepted: a mask")
    allowed = ~allowed if term.hides else allowed
    if allowed.all():
        return "none"
    causal = np.tril(np.ones((tokens, tokens), dtype=bool))
    return "causal" if (allowed == causal).all() else tuple(map(tuple, allowed.tolist()))
