"""The rows that growth with depth or loops is read from, by quantity and group: theory and
networks fill the same ones."""

from __future__ import annotations

from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Row
from sigprop.description.structure import READOUT
from sigprop.language.expression import Linear

Key = tuple[str, str | None]
"""(quantity, group)."""
LAST, FIRST, COSINE, LANE = "last", "first", "cosine", "lane"
"""Of states: variance at the end and at the stem, their cosine (the first token's), the log of
the norm where that has a lane."""


def mixes(arch: Architecture) -> bool:
    """Whether attention mixes several tokens: every pair of a slot's uses is then an expectation
    of its own."""
    return arch.tokens > 1 and any(block.attention for block in arch.sub_blocks)


def silent(arch: Architecture) -> frozenset[str]:
    """Matrices of queries and keys where there is one token: no gradient comes back to them, and
    what arrays hold is rounding."""
    legs = (
        leg
        for block in arch.sub_blocks
        for node in block.attention
        for leg in (node.query, node.key)
    )
    return (
        frozenset(leg.weight for leg in legs if isinstance(leg, Linear))
        if arch.tokens == 1
        else frozenset()
    )


def growth_rows(arch: Architecture) -> dict[Key, list[Row]]:
    """Rows to sum over, tokens and slots, of every quantity and group that theory has gradients
    for; the tangent kernel's where tokens do not mix."""
    tokens, last = range(arch.tokens), arch.depth
    if arch.norm_lane:
        rows: dict[Key, list[Row]] = {(LANE, None): [Row("log_norm", last, token=0)]}
    else:
        rows = {
            (name, None): [Row("residual_variance", a, token=t) for t in tokens]
            for name, a in ((LAST, last), (FIRST, 0))
        }
        rows[COSINE, None] = [Row("state_cosine", 0, last, token=0)]
    if not arch.gradients_known:
        return rows
    rows["gradient", None] = [Row("gradient_variance", 0, token=t) for t in tokens]
    for weight in arch.weights:
        rows["weight_gradient", weight] = [
            Row("weight_gradient", used[0], group=weight)
            for used in arch.applications_of(weight).values()
        ]
    rows["weight_gradient", READOUT] = [Row("weight_gradient", arch.readout.at[0], group=READOUT)]
    rows |= {
        ("weight_gradient", part): [Row("weight_gradient", 0, group=part)]
        for part in arch.stem_parts
    }
    return (
        rows
        if mixes(arch)
        else rows
        | {
            ("ntk", group): [Row("ntk", token=t, token_2=t, group=group) for t in tokens]
            for group in (*arch.groups, None)
        }
    )
