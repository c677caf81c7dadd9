"""Networks with biases on attention's scores, in the public language: fixed slopes that differ
between heads (ALiBi, 2108.12409), and drawn numbers of relative positions (T5, 1910.10683)."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import (
    Attend,
    Linear,
    Normalise,
    PositionBias,
    Read,
    State,
    TokenTable,
    Write,
)
from sigprop.language.scalar import Number
from sigprop.language.scores import Scores

TOKENS, HEAD_DIM, SLOPES = 3, 4, (0.5, 2.0)
DISTANCES = np.arange(TOKENS)[:, None] - np.arange(TOKENS)[None]
NUMBERS = {"c_q": 1.5, "c_k": 1.0, "c_v": 0.9, "c_u": 1.2, "c_b": 1.0, "skip": 0.8}


def network(
    name: str, bias: TokenTable | PositionBias, slots: Any, scores: Scores, tables: Any = None
) -> Architecture:
    """Attention of rms-normalised states with a bias on its scores, h <- skip h + f."""
    query, key, value = (Linear(leg, Read(), Number(f"c_{leg}")) for leg in "qkv")
    branch = Linear("u", Attend(query, key, value, scores, bias=bias), Number("c_u"))
    block = SubBlock(Normalise(State(0)), branch, Number("skip") * State(0) + Write())
    zero = {"c_q": 0.0} if scores.scale == "zero_query" else {}
    return Architecture(
        name,
        (block,),
        slots,
        numbers=NUMBERS | zero,
        token_tables=tables or {},
        input_gram=0.7 * np.eye(TOKENS) + 0.3,
    )


def slopes(slots: Any, mask: str = "causal") -> Architecture:
    """Heads of two kinds, which see far tokens less: -m_h abs(t - s) on scores."""
    table = -np.array(SLOPES)[:, None, None] * abs(DISTANCES)
    bias = TokenTable("slopes", 2, len(SLOPES))
    return network("slopes", bias, slots, Scores(HEAD_DIM, mask=mask), {"slopes": table})


def buckets(slots: Any, **scores: Any) -> Architecture:
    """A number for every head and distance t - s; slots: of every weight, or by name."""
    table = tuple(map(tuple, (DISTANCES + TOKENS - 1).tolist()))
    bias = PositionBias("b", Number("c_b"), table, HEAD_DIM)
    return network("buckets", bias, slots, Scores(HEAD_DIM, **scores))


def own_but_bias(depth: int) -> dict[str, list[int]]:
    """Slots of networks whose applications share the bias alone, as T5's do."""
    own = list(range(depth))
    return {name: own for name in "qkvu"} | {"b": [0] * depth}
