"""Several looks at one ladder: the stated confidence holds over all of them together."""

from __future__ import annotations

import math

import numpy as np

from sigprop.verdict.slope import TOLERANCE, fit, judge, level, looks, point


def test_numbers_of_networks_double_until_there_are_most():
    assert looks(8, 256) == (8, 16, 32, 64, 128, 256)
    assert looks(8, 100) == (8, 16, 32, 64, 100) and looks(12, 12) == (12,)
    assert level(1) == 0.95 and level(5) == 1 - 0.05 / 5


def test_all_looks_together_hold_the_slope():
    """Squares of a changes' usual scatter (of one network's rms 20 %), looked at until decided or
    at every look: all intervals hold the slope in 95 % of 600 repetitions or more, and at the
    margin itself no more than 5 % of slopes are decided (two binomial errors)."""
    random, planned, sizes = np.random.default_rng(1), looks(8, 64), (64, 128, 256)
    confidence, repetitions = level(len(planned)), 600
    missed = decided = 0
    for _ in range(repetitions):
        scatter = 1 + 0.2 * random.standard_normal((len(sizes), planned[-1]))
        squares = [(n**TOLERANCE * x) ** 2 for n, x in zip(sizes, scatter, strict=True)]
        lines = [
            fit(sizes, [point(x[:count]) for x in squares], [0.0] * 3, confidence)
            for count in planned
        ]
        missed += any(abs(line.slope - TOLERANCE) > line.half for line in lines)
        decided += any(judge(line) != "inconclusive" for line in lines)
    bound = 0.05 + 2 * math.sqrt(0.05 * 0.95 / repetitions)
    assert missed / repetitions < bound and decided / repetitions < bound
    # the companion: 95 % at each look is not 95 % at all
    assert level(len(planned)) > 0.98
