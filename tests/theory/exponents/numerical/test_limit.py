"""What grows by no power is said, never given one: exponentials, stretched ones, what is neither,
the onset of a power, ladders that are too short."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from sigprop.theory.exponents.numerical.limit import NUMERICAL, limit_of
from sigprop.theory.exponents.numerical.reach import doublings

SIZES = doublings(64)


def of(log: Callable[[int], float], sizes: tuple[int, ...] = SIZES):
    return limit_of(sizes, [log(n) for n in sizes], True, False)


@pytest.mark.parametrize("rate", [0.3, -0.2, 1.5])
def test_exponentials(rate: float) -> None:
    """Also with a power and a constant beside, which the rate does not see."""
    for beside in (0.0, 0.5, -0.3):
        found = of(lambda n, b=beside: rate * n + b * math.log(n) + 0.7)
        assert (found.kind, found.method, found.value) == ("exponential", NUMERICAL, None)
        assert found.rate == pytest.approx(rate, rel=1e-9) and found.leading == 1.0


@pytest.mark.parametrize("power", [0.3, 0.5, 0.7])
def test_stretched_exponentials(power: float) -> None:
    found = of(lambda n: 2 * n**power + 0.4)
    assert (found.kind, found.method, found.value) == ("stretched", NUMERICAL, None)
    assert found.leading == pytest.approx(power, abs=0.05)


@pytest.mark.parametrize(
    "log",
    [
        lambda n: math.log(n) ** 2,  # faster than a power, slower than either
        lambda n: math.log(1 + 1e-4 * n**2),  # the onset of a power, which looks like growth
        lambda n: 0.002 * n,  # an exponential that has not begun
        lambda n: -(n**1.6) / 20,  # faster than an exponential
    ],
)
def test_what_is_neither_has_a_reason(log: Callable[[int], float]) -> None:
    found = of(log)
    assert found.kind is found.value is found.error is None
    assert found.method.startswith("none: slopes ") and "up to 64, of no power yet" in found.method


@pytest.mark.parametrize(
    ("log", "power"),
    [
        (lambda n: 1.5 * math.log(n), 1.5),
        (lambda n: 0.5 * math.log(n) + math.log(math.log(n) + 1), 0.5),
        (lambda n: -math.log(n) + math.log(1 + 1 / n), -1.0),
        (lambda n: math.log(2 - n**-0.5), 0.0),
    ],
)
def test_powers(log: Callable[[int], float], power: float) -> None:
    """With logarithms and with corrections, within the interval, which is below 0.25."""
    found = of(log)
    assert found.kind == "power" and found.value is not None and found.error is not None
    assert abs(found.value - power) <= found.error < 0.25


def test_short_and_wild_ladders() -> None:
    assert of(math.log, (2, 4, 8)).method == "none: 3 sizes that double, of 4 at least"
    wild = limit_of((2, 4, 8, 16), [0.0, 2.0, 0.1, 2.5], False, False)
    assert wild.kind is None and wild.method.startswith("none: between ")
