"""How far a ladder goes that a limit is estimated from: as many doublings as cost little beside
the compilation."""

from __future__ import annotations

from sigprop.description.architecture import Architecture
from sigprop.scaling.growth_rows import mixes

LEAST = 16  # four sizes, 2 to 16
UNTIED, TIED = 128, 128
"""Applications at most, and where weights are used again: every pair of them has a kernel."""
UNTIED_MIXED, TIED_MIXED = 64, 32
"""The same where attention mixes tokens."""


def doublings(last: int) -> tuple[int, ...]:
    """2, 4, 8, ... up to ``last``."""
    return tuple(1 << k for k in range(1, last.bit_length()))


def farthest(arch: Architecture, applications: int, tied: bool) -> int:
    """The largest size of a default ladder of doublings; applications: that one step of the
    variable adds."""
    mixed = mixes(arch) or arch.scored
    most = (TIED_MIXED if mixed else TIED) if tied else (UNTIED_MIXED if mixed else UNTIED)
    return max(LEAST, 1 << (max(most // applications, 1).bit_length() - 1))
