"""How much memory one network takes while it is trained: an estimate, of arrays kept for the
reverse pass and of parameters, their moments and gradients."""

from __future__ import annotations

from sigprop.description.architecture import Architecture
from sigprop.language.expression import Attend
from sigprop.language.traversal import rows_of, walk
from sigprop.simulations.learning.grid import Plan
from sigprop.simulations.network.attention import heads_of
from sigprop.simulations.network.weights import shapes

COPIES = 6  # of a parameter: itself before and after, its gradient, two moments, an update
TWICE = 2  # of vectors: a cotangent each


def member_bytes(arch: Architecture, width: int, plan: Plan) -> int:
    """Return roughly the bytes of one network of a grid. Raises ``InputError`` as
    ``weights.shapes``."""
    weights = shapes(arch, width)
    outside = (2 * plan.words + arch.tokens) * width
    params = COPIES * (outside + sum(s.size for s in weights))
    handed = TWICE * arch.depth * sum(s.used for s in weights)
    sides = sum(s.copies * sum(s.shape) for s in weights)
    sequence = arch.tokens * (
        (arch.depth + 1) * (width * (2 * arch.lanes + 4) + sides) + 4 * plan.words
    )
    scores = [
        heads_of(node.scores, int(width * rows_of(node.query))) * arch.tokens**2
        for block in arch.sub_blocks
        for node in walk(block.branch)
        if isinstance(node, Attend)
    ]
    sequence += 3 * arch.depth * max(scores, default=0)
    return 4 * (params + handed + TWICE * plan.batch * sequence)
