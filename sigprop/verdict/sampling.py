"""Drawing networks in chunks of bounded memory, every chunk with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sigprop.verdict.moments import Floats, Moments, weigh

Sampler = Callable[[int, int, int], Floats]
"""(width, samples, stream) -> float64 [samples, R]; each line one independent network; the same
call, the same numbers."""

# the samples; deviations, weights and temporaries keep the whole near 100 MB
CHUNK_BYTES = 32 * 2**20
CHUNK_MOST = 65536


class Draw(NamedTuple):
    """One call of the sampler; phase: 'pilot', 'main' or 'extension'."""

    phase: str
    width: int
    samples: int
    stream: int


@dataclass
class Source:
    """Counts streams 0, 1, 2, ... (none is used twice), logs every draw and adds up what it
    cost."""

    sampler: Sampler
    theory: Floats
    scale: Floats
    cost: Callable[[int], float]
    progress: Callable[[str, int, int], None] | None = None
    log: list[Draw] = field(default_factory=list[Draw])
    spent: float = 0.0

    def draw(self, phase: str, width: int, samples: int) -> Moments:
        """Moments of ``samples`` fresh networks of this width. Raises ``Diverged``;
        ``ValueError`` on a wrong shape."""
        most = int(np.clip(CHUNK_BYTES // (8 * len(self.theory)), 1, CHUNK_MOST))
        total: Moments | None = None
        done = 0
        while done < samples:
            count = min(most, samples - done)
            stream = len(self.log)
            self.log.append(Draw(phase, width, count, stream))
            values = np.asarray(self.sampler(width, count, stream), dtype=np.float64)
            if values.shape != (count, len(self.theory)):
                raise ValueError(
                    f"sampler: shape {values.shape}; accepted: {(count, len(self.theory))}"
                )
            with np.errstate(invalid="ignore", over="ignore"):
                part = Moments.of(
                    (values - self.theory) / self.scale, weigh(values, self.theory, self.scale)
                )
            total = part if total is None else total + part
            done += count
            self.spent += count * self.cost(width)
            if self.progress is not None:
                self.progress(f"{phase} width {width}", done, samples)
        assert total is not None
        return total
