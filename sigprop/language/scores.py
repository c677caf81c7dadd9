"""One head's scores: their scale, their mask, and how many coordinates a head has. Static:
nothing here is random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError

DROPPED = -1e30
"""Added to the scores of keys that are not seen: their weight is 0 beside any that is."""
MASKS = ("none", "causal")
SCALES = ("sqrt", "linear", "zero_query")


@dataclass(frozen=True)
class Scores:
    """S_ts = scale q_t . k_s over head_dim coordinates; Omega = softmax of S over the tokens s that
    t may attend to.

    head_dim: coordinates of a head, kept as the width grows, or ``inf``, the limit of Gaussian
    scores; scale: 'sqrt', 1/sqrt(head_dim); 'linear', 1/head_dim with ``heads`` heads whose
    head_dim grows with the width, so that scores vanish; 'zero_query', queries that are zero,
    likewise uniform over the mask; mask: 'none', 'causal', or rows of booleans [T][T],
    allowed[t][s]; qk_norm: queries and keys are divided by their rms over the head's coordinates
    (before a rotation); rotary: coordinates j and j + m/2 of queries and keys are turned by the
    angle t base^(-2j/m) at token t, j < m/2, of the first m = ``turned`` (None: all). A row that
    allows no token raises ``InputError``.
    """

    head_dim: float = math.inf
    scale: str = "sqrt"
    mask: str | tuple[tuple[bool, ...], ...] = "none"
    heads: int | None = None
    rotary: bool = False
    qk_norm: bool = False
    turned: int | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"score_scale={self.scale!r}; accepted: {', '.join(SCALES)}")
        if not 1 <= self.head_dim <= math.inf or (
            math.isfinite(self.head_dim) and self.head_dim != int(self.head_dim)
        ):
            raise InputError(f"head_dim={self.head_dim!r}; accepted: an integer from 1 on, or inf")
        if isinstance(self.mask, str) and self.mask not in MASKS:
            raise InputError(
                f"mask={self.mask!r}; accepted: {', '.join(MASKS)}, or rows of booleans"
            )
        if not isinstance(self.mask, str):
            empty = [t for t, row in enumerate(self.mask) if not any(row)]
            if empty:
                raise InputError(
                    f"mask: token {empty[0]} may attend to no token; accepted: at least one "
                    f"allowed token in every row"
                )
        if self.rotary and (math.isinf(self.head_dim) or self.head_dim % 2) and not self.uniform:
            raise InputError(
                f"head_dim={self.head_dim} at positions=rotary; accepted: an even number (its "
                f"Gaussian limit has no closed form)"
            )
        if self.turned is not None and (
            not self.rotary or self.turned % 2 or not 2 <= self.turned <= self.head_dim
        ):
            raise InputError(
                f"rotary_dim={self.turned!r}; accepted: with positions=rotary, an even number "
                f"up to head_dim = {self.head_dim}"
            )
        if self.qk_norm and self.scale == "zero_query":
            raise InputError(
                "qk_norm=True at score_scale=zero_query; accepted: one of the two (a query that "
                "is zero has no direction)"
            )
        if self.scale == "linear" and self.heads is None:
            raise InputError(
                "heads=None at score_scale=linear; accepted: a number of heads (head_dim grows "
                "with the width)"
            )

    def triangular(self, tokens: int) -> bool:
        """Whether a head is sampled turned so that 2T of its coordinates say all
        (``theory.attention.draws``)."""
        return not self.rotary and not self.qk_norm and 2 * tokens <= self.head_dim < math.inf

    @property
    def turned_features(self) -> int:
        """How many of a head's coordinates rotary positions turn."""
        return int(self.head_dim) if self.turned is None else self.turned

    @property
    def uniform(self) -> bool:
        """Whether all allowed tokens get the same weight in the wide limit."""
        return self.scale != "sqrt"

    @property
    def power(self) -> float:
        """scale^2 head_dim in the wide limit: what the variance of a score's gradient by q or k
        is multiplied with."""
        return 0.0 if self.scale == "linear" else 1.0

    def allowed(self, tokens: int) -> NDArray[np.bool_]:
        """[T, T] bool; raises ``InputError`` for a mask of another size."""
        if self.mask == "none":
            return np.ones((tokens, tokens), dtype=bool)
        if self.mask == "causal":
            return np.tril(np.ones((tokens, tokens), dtype=bool))
        table = np.array(self.mask, dtype=bool)
        if table.shape != (tokens, tokens):
            raise InputError(
                f"mask of shape {table.shape}; accepted: tokens x tokens = ({tokens}, {tokens})"
            )
        return table


def as_mask(value: object) -> str | tuple[tuple[bool, ...], ...]:
    """'none', 'causal', or a T x T table of 0 and 1; raises ``ValueError``."""
    if isinstance(value, str):
        if value not in MASKS:
            raise ValueError
        return value
    table = np.atleast_2d(np.asarray(value))
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not np.isin(table, (0, 1)).all():
        raise ValueError
    return tuple(tuple(bool(entry) for entry in row) for row in table)
