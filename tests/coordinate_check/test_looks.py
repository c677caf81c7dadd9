"""Several looks at one ladder: the stated confidence holds over all of them together."""

from __future__ import annotations

import math

import numpy as np

from sigprop.verdict.judgement import CONFIRMED, REJECTED
from sigprop.verdict.slope import TOLERANCE, Known, fit, judge, level, looks, point

SIZES, TIMES = (64, 128, 256), (4, 2, 1)


def test_numbers_of_networks_double_until_there_are_most():
    assert looks(8, 256) == (8, 16, 32, 64, 128, 256)
    assert looks(8, 100) == (8, 16, 32, 64, 100) and looks(12, 12) == (12,)
    assert level(1) == 0.95 and level(5) == 1 - 0.05 / 5


def ladder(random: np.random.Generator, heavy: bool, slope: float, count: int) -> list[np.ndarray]:
    """Squared changes of three rungs, of the last of so many networks: of one network's rms some 20
    %, or of one normal number."""
    found = []
    for n, times in zip(SIZES, TIMES, strict=True):
        normal = random.standard_normal(times * count)
        found.append((n**slope * (normal if heavy else 1 + 0.2 * normal)) ** 2)
    return found


def test_all_looks_together_hold_the_slope():
    """All intervals hold the slope in 95 % of 600 repetitions or more, at the margin itself no more
    than 5 % of slopes are decided, and on the reference itself no more than 5 % rejected (two
    binomial errors), though what is looked at next depends on what was seen; verdicts also where
    squares are those of one normal number, whose intervals hold with 92 %."""
    random, planned, repetitions = np.random.default_rng(1), looks(8, 64), 600
    confidence = level(len(planned))
    bound = 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    for heavy in (False, True):
        missed, decided = 0, {0.0: 0, TOLERANCE: 0}
        for slope in decided:
            wrong = {REJECTED} if slope == 0 else {CONFIRMED, REJECTED}
            for _ in range(repetitions):
                squares = ladder(random, heavy, slope, planned[-1])
                lines = [
                    fit(
                        SIZES,
                        [
                            point(x[: times * count])
                            for x, times in zip(squares, TIMES, strict=True)
                        ],
                        [Known(0.0)] * 3,
                        confidence,
                    )
                    for count in planned
                ]
                missed += any(abs(line.slope - slope) > line.half for line in lines)
                decided[slope] += not wrong.isdisjoint(map(judge, lines))
        assert max(decided.values()) / repetitions < bound, decided
        assert heavy or missed / repetitions < 2 * bound
    # the companion: 95 % at each look is not 95 % at all
    assert confidence > 0.98
