"""ln of what exponents over the number of tokens are of, from the recursion at one number.

States are means over tokens; gradients are those of z, as the read-out makes it of all tokens, and
the tangent kernel is the mean of its diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.scaling.growth_rows import COSINE, FIRST, LANE, LAST, Key, growth_rows, silent
from sigprop.theory.predictions.evaluate import evaluate

TOGETHER = "token_cosine"
"""Of the last state's token in the middle and its last."""
Scaled = tuple[float, float]
"""A value and the log of its scale."""


def logarithms_of_tokens(arch: Architecture) -> dict[Key, float]:
    """ln of residual_rms, update and token_cosine of the last state, gradient, weight_gradient and
    ntk; zeros, and cosines below zero, are left out."""
    states = _state_rows(arch)
    backward = {
        key: rows
        for key, rows in growth_rows(arch).items()
        if key[0] not in (LAST, FIRST, COSINE, LANE) and key[1] not in silent(arch)
    }
    wanted = {**states, **backward}
    values, *_ = evaluate(
        arch, tuple(row for rows in wanted.values() for row in rows), sets=1
    ).required()
    at = iter(values)
    parts = {key: [next(at) for _ in rows] for key, rows in wanted.items()}
    sums = {key: total for key in backward if (total := _log_sum(parts[key])) is not None}
    means = {
        key: log - (math.log(arch.tokens) if key[0] == "ntk" else 0.0) for key, log in sums.items()
    }
    return _of_states({key[0]: parts[key] for key in states}, arch) | means


def _state_rows(arch: Architecture) -> dict[Key, list[Row]]:
    """Return rows of states: of every token, and of the middle one with the last."""
    tokens, last = range(arch.tokens), arch.depth
    pair = [Row(TOGETHER, last, token=arch.tokens // 2 - 1, token_2=arch.tokens - 1)]
    rows: dict[Key, list[Row]] = {(TOGETHER, None): pair}
    if arch.norm_lane:
        return rows | {(LANE, None): [Row("log_norm", last, token=t) for t in tokens]}
    return rows | {
        (LAST, None): [Row("residual_variance", last, token=t) for t in tokens],
        (FIRST, None): [Row("residual_variance", 0, token=t) for t in tokens],
        (COSINE, None): [Row("state_cosine", 0, last, token=t) for t in tokens],
    }


def _of_states(parts: dict[str, list[Scaled]], arch: Architecture) -> dict[Key, float]:
    """Return ln of the states' rms values, and of their cosine."""
    count = math.log(arch.tokens)
    cosine = parts[TOGETHER][0][0]
    found: dict[Key, float] = {(TOGETHER, None): math.log(cosine)} if cosine > 0 else {}
    if LANE in parts:
        norms = _log_sum([(1.0, 2 * norm) for norm, _ in parts[LANE]])
        return {("residual_rms", None): (norms or 0.0) / 2 - count / 2} | found
    last = [math.log(value) + log for value, log in parts[LAST]]
    first = [math.log(value) + log for value, log in parts[FIRST]]
    cosines = [value for value, _ in parts[COSINE]]
    total = _log_sum([(1.0, log) for log in last])
    assert total is not None
    added = _log_sum(
        [
            (1 + math.exp(b - a) - 2 * cos * math.exp((b - a) / 2), a)
            for a, b, cos in zip(last, first, cosines, strict=True)
        ]
    )
    states: dict[Key, float] = {("residual_rms", None): (total - count) / 2}
    return states | ({} if added is None else {("update", None): (added - count) / 2}) | found


def _log_sum(parts: Sequence[Scaled]) -> float | None:
    """ln of a sum; None where it is not above zero."""
    top = max(log for _, log in parts)
    amount = sum(value * math.exp(log - top) for value, log in parts)
    return math.log(amount) + top if amount > 0 else None
