"""Attention heads of a module as ``Attend``: legs, scale, positions, mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.language.expression import Attend, Normalise, PositionBias, TokenTable, Vector
from sigprop.language.scores import Scores
from sigprop.language.traversal import rows_of
from sigprop.modules.patterns import buckets_of, tables_of
from sigprop.modules.terms import (
    UNSEEN,
    Attention,
    Gain,
    Matrix,
    Norm,
    Numbers,
    Part,
    Pointwise,
    Term,
    Turned,
    Unseen,
)
from sigprop.reading.converter import Converter
from sigprop.reading.stem import mean_square, where

BIASES = "drawn numbers on scores; accepted: one for every head and pair of tokens, rows of a table"
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
            gain *= math.sqrt(mean_square(converter.stem.spread(term.parameter), term))
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
    added = _added(converter, term, rows_of(query.of) * converter.width)
    scores = Scores(
        term.head_dim,
        "sqrt",
        added.mask,
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
        bias=added.bias,
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


class Added(NamedTuple):
    """What is added to scores: 'causal', 'none' or rows of booleans; a bias."""

    mask: Any
    bias: TokenTable | PositionBias | None


def _added(converter: Converter, term: Attention, rows: Fraction) -> Added:
    """Read masks and biases on the scores of queries of so many coordinates."""
    tokens, heads = converter.stem.tokens, int(rows / term.head_dim)
    if not term.masks:
        return Added("causal" if term.causal else "none", None)
    allowed = np.ones((tokens, tokens), dtype=bool)
    fixed = np.zeros((1, tokens, tokens))
    drawn: list[PositionBias] = []
    for mask in term.masks:
        value = converter.stem.graph.array(mask.node) if not isinstance(mask, Numbers) else None
        if isinstance(mask, Numbers):
            value, bias = _drawn(converter, mask, heads, Fraction(rows, converter.width))
            drawn += [] if bias is None else [bias(term.head_dim)]
        seen, numbers = _seen(converter, mask, tables_of(value, heads, tokens), where(term))
        allowed, fixed = allowed & seen, fixed + numbers
    tables = _from_the_largest(fixed, allowed)
    if len(drawn) + (tables is not None) > 1:
        raise InputError(f"{where(term)}: several biases on scores; accepted: one, fixed or drawn")
    if tables is not None:
        return Added(_as_mask(allowed), converter.table(tables))
    return Added(_as_mask(allowed), drawn[0] if drawn else None)


def _seen(
    converter: Converter, mask: Term, tables: Any, at: str
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """([T, T] which keys are seen, [heads or 1, T, T] what is added to their scores) of one mask;
    raises ``InputError`` where keys that are seen differ between heads."""
    if tables is None:
        raise _refused(at)
    boolean = tables.dtype == bool
    seen = tables if boolean else tables > UNSEEN
    seen = ~seen if isinstance(mask, Unseen) else seen
    if (seen != seen[:1]).any():
        raise _refused(at)
    return seen[0], np.zeros((1, 1, 1)) if boolean else np.where(seen, tables, 0.0)


def _refused(at: str) -> InputError:
    """Return the error for masks that are no tables of tokens."""
    return InputError(
        f"{at}: a mask that differs between heads or inputs; accepted: one table of tokens x "
        f"tokens, or biases of every head"
    )


def _from_the_largest(
    fixed: NDArray[np.float64], allowed: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """What is added to scores less its largest in every row, which a softmax does not see; one
    table where all heads have the same; None where nothing is left."""
    largest = np.where(allowed, fixed, -np.inf).max(axis=-1, keepdims=True)
    left = np.where(allowed, fixed - largest, 0.0)
    if not left.any():
        return None
    return left[0] if (left == left[:1]).all() else left


def _as_mask(allowed: NDArray[np.bool_]) -> Any:
    """'none', 'causal' or rows of booleans."""
    if allowed.all():
        return "none"
    causal = np.tril(np.ones_like(allowed))
    return "causal" if (allowed == causal).all() else tuple(map(tuple, allowed.tolist()))


def _drawn(
    converter: Converter, numbers: Numbers, heads: int, rows: Fraction
) -> tuple[Any, Callable[[int], PositionBias] | None]:
    """(What is fixed of it, the bias of heads of so many coordinates, None where all numbers are
    one); raises ``InputError`` unless every pair of tokens has one row of the parameter, and every
    head a column."""
    at, tokens = where(numbers), converter.stem.tokens
    size = converter.stem.parameters[numbers.parameter].shape
    law = converter.stem.law(numbers.parameter)
    fixed, entries = buckets_of(numbers, converter.stem.graph, (size[0], size[1]))
    tables = tables_of(entries, heads, tokens)
    hidden = tables_of(fixed, heads, tokens)
    if tables is None or hidden is None or size[1] != heads:
        raise InputError(f"{at}: {BIASES}")
    tables = np.where(hidden > UNSEEN, tables, np.arange(heads)[:, None, None])
    rows_chosen, columns = tables // heads, tables % heads
    if (columns != np.arange(heads)[:, None, None]).any() or (rows_chosen != rows_chosen[:1]).any():
        raise InputError(f"{at}: {BIASES}")
    if law.variance == 0:
        return fixed, None
    return fixed, lambda head_dim: converter.position_bias(
        numbers.parameter, law, rows_chosen[0], size=head_dim, rows=rows
    )
