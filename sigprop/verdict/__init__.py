"""The statistical verdict: does a finite network's limit agree with a theory to a stated tolerance?
(docs/verdict.md)

Nothing here knows about networks. A sampler hands over independent vectors of rows; ``judge``
returns a ``Judgement``.
"""

from sigprop.verdict.judge import judge
from sigprop.verdict.judgement import (
    CONFIRMED,
    IDENTITY,
    INCONCLUSIVE,
    REJECTED,
    Judgement,
    Predicted,
    overall,
)
from sigprop.verdict.sampling import Draw, Sampler

__all__ = [
    "CONFIRMED",
    "IDENTITY",
    "INCONCLUSIVE",
    "REJECTED",
    "Draw",
    "Judgement",
    "Predicted",
    "Sampler",
    "judge",
    "overall",
]
