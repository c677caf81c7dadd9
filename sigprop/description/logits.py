"""The head: which logits a network gives at initialisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sigprop.errors import InputError


@dataclass(frozen=True)
class Head:
    """Logits zeta_w = n^-1/2 e_w . o_t of words w = 1..V, o_t what the read-out sees of token t.

    variance: C_head, of e's entries (2304.02034, (1.80)); tied: e_w is the word's embedding, so
    that C_head is its variance and a token's own word has, beside that variance, the mean sqrt(n)
    <e_w, o_t> (``logit_contact``; the paper's contact term of order n in the second moment);
    vocabulary: V, which the initial cross-entropy needs; inverse_temperature: whether token t's
    logits are multiplied by e^(s_t), s_t the log of all that norms have divided its state by
    (2606.16112, eq. 18). Raises ``InputError``.
    """

    variance: float = 1.0
    tied: bool = False
    vocabulary: int | None = None
    inverse_temperature: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise InputError(f"c_head={self.variance}; accepted: a number >= 0")
        if self.tied and self.vocabulary is not None:
            raise InputError(
                f"vocabulary={self.vocabulary} at head=tied: the loss has no wide limit, "
                f"logit_contact is the term that grows; accepted: none"
            )
        if self.vocabulary is not None and self.vocabulary < 2:
            raise InputError(f"vocabulary={self.vocabulary}; accepted: at least 2 words")
