"""Attention heads of a module as ``Attend``: legs, scale, positions, mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sigprop.errors import InputError
from sigprop.language.expression import Attend, Normalise, Vector
from sigprop.language.scores import Scores
from sigprop.modules.patterns import table_of
from sigprop.modules.terms import Attention, Gain, Matrix, Norm, Pointwise, Term, Turned
from sigprop.reading.converter import Converter
from sigprop.reading.stem import mean_square, where

MASKED = -1e4  # scores below it are of keys that are not seen


@dataclass(frozen=True)
class Leg:
    """Queries or keys: the matrix's outputs, a constant gain, whether each head is normalised, and
    the base of its rotary positions."""

    of: Vector
    gain: float
    normed: Norm | None
    base: float | None


def _leg(converter: Converter, term: Term, head_dim: int) -> Leg:
    gain, base, normed = 1.0, None, None
    while True:
        if isinstance(term, Turned):
            if term.features != head_dim:
                raise InputError(
                    f"{where(term)}: rotary positions of {term.features} of {head_dim} features; "
                    f"accepted: of all of a head's"
                )
            base, term = term.base, term.of
        elif isinstance(term, Gain) and isinstance(term.of, Norm):
            gain *= math.sqrt(mean_square(converter.stem.law(term.parameter), term))
            term = term.of
        elif isinstance(term, Pointwise) and term.function.factor is not None:
            gain, term = gain * term.function.factor, term.of
        elif isinstance(term, Norm) and term.length == head_dim and term.kind == "rms":
            normed, term = term, term.of
        else:
            if (
                isinstance(term, Norm)
                and isinstance(term.of, Matrix)
                and term.length == term.of.rows
            ):
                return _normed_over_heads(converter, term, gain, base)
            return Leg(converter.vector(term), gain, normed, base)


def _normed_over_heads(converter: Converter, term: Norm, gain: float, base: float | None) -> Leg:
    """A norm over all heads: of W r it divides by sqrt(c) |r| (c: the matrix's variance) as the
    width grows, so it is W r / sqrt(c) with r normalised."""
    matrix = term.of
    assert isinstance(matrix, Matrix)
    if term.kind != "rms" or matrix.bias is not None:
        raise InputError(
            f"{where(term)}: a norm of queries or keys with means or biases; accepted: an RMS norm "
            f"of a matrix's outputs"
        )
    law = converter.stem.law(matrix.parameter)
    variance = law.variance * matrix.columns
    inner = Normalise(
        converter.vector(matrix.of), "rms", converter.number(term.epsilon / variance, "epsilon")
    )
    return Leg(
        converter.matrix(matrix, 0, matrix.rows, inner), gain / math.sqrt(variance), None, base
    )


def attention(converter: Converter, term: Attention) -> Vector:
    if term.shape[-2] != converter.stem.tokens:
        raise InputError(
            f"{where(term)}: attention over {term.shape[-2]} of {converter.stem.tokens} tokens; "
            f"accepted: over all tokens"
        )
    legs = [_leg(converter, side, term.head_dim) for side in (term.query, term.key)]
    query, key = legs
    if (query.normed is None) != (key.normed is None) or query.base != key.base:
        raise InputError(
            f"{where(term)}: queries and keys are treated differently; accepted: both normalised, "
            f"both turned, or neither"
        )
    scale = term.scale * math.sqrt(term.head_dim) * query.gain * key.gain
    scale = 1.0 if math.isclose(scale, 1.0, rel_tol=1e-9) else scale  # roots are rounded
    normed = query.normed is not None
    if normed and scale != 1.0:
        raise InputError(
            f"{where(term)}: normalised queries and keys at a scale of {term.scale:.4g}; accepted: "
            f"1/sqrt(head_dim) = {term.head_dim**-0.5:.4g}"
        )
    scores = Scores(
        term.head_dim,
        "sqrt",
        _mask(converter, term),
        rotary=query.base is not None,
        qk_norm=normed,
    )
    return Attend(
        query.of if normed else converter.times(scale, query.of),
        key.of,
        converter.vector(term.value),
        scores,
        cap=None if term.cap is None else converter.number(term.cap, "softcap"),
        base=None if query.base is None else converter.number(query.base, "rope_base"),
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
    value = converter.stem.graph.value(term.mask.node)
    allowed = table.astype(bool) if str(value.dtype) == "torch.bool" else table > MASKED
    if str(value.dtype) != "torch.bool" and table[allowed].any():
        raise InputError(f"{where(term)}: a bias on scores; accepted: a mask")
    if allowed.all():
        return "none"
    causal = np.tril(np.ones((tokens, tokens), dtype=bool))
    return "causal" if (allowed == causal).all() else tuple(map(tuple, allowed.tolist()))
