"""1 - rho^2 carried beside the Grams: exact at the start, and through every map the angle to
rounding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from many_digits import KERNELS, leaky

from sigprop.description.sub_block import Part
from sigprop.language.activations import find
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.gaussian.closed import ONE
from sigprop.theory.gaussian.gaps import Pair, activated, from_values, joined, multiplied

EPSILON = 2.0**-52


def exact(gram: np.ndarray) -> float:
    """1 - c^2 / (qa qb) of the given floats, at least 0."""
    with mp.workdps(80):
        qa, c, qb = (mp.mpf(float(v)) for v in (gram[0, 0], gram[0, 1], gram[1, 1]))
        return float(max(1 - c * c / (qa * qb), mp.mpf(0)))


@pytest.mark.parametrize(
    "scales", [(1.0, 1.0), (1e-200, 1e-200), (1e150, 1e-150), (3e-7, 2e9), (1e154, 1.0)]
)
def test_the_first_gap_is_the_given_floats(scales: tuple[float, float]):
    rng = np.random.default_rng(0)
    for _ in range(200):
        rho = rng.choice([-1, 1]) * (1 - 10.0 ** rng.uniform(-16, -0.1))
        qa, qb = rng.uniform(0.5, 2, 2) * scales
        c = rho * np.sqrt(qa) * np.sqrt(qb)
        gram = np.array([[qa, c], [c, qb]])
        found = begin({"stem": Part(1.0, gram)})
        assert found.gap[0, 1] == pytest.approx(exact(gram), rel=1e-14, abs=1e-31)
        mantissa = found.gram[0, 1] * np.exp(found.log[0] + found.log[1])
        assert mantissa == pytest.approx(c, rel=1e-12) and 1e-61 < found.gram[0, 0] < 1e61


def test_parts_of_a_stem_are_added_exactly():
    """Equal words at two positions of variance 1e-20: nothing is left of these in the rounded
    Gram."""
    parts = {"embedding": Part(0.02**2, np.ones((2, 2))), "position": Part(1e-20, np.eye(2))}
    assert begin(parts).gap[0, 1] == pytest.approx(2e-20 / 0.02**2, rel=1e-12)
    assert from_values(*(jnp.asarray(v) for v in (0.02**2, 0.02**2, 0.02**2))) == 0


def points(count: int, seed: int = 0) -> list[tuple[float, float, float, int]]:
    """(qa, qb, gap, sign): equal, nearly equal and unlike lengths, gaps from 1e-28 on."""
    rng, found = np.random.default_rng(seed), []
    for k in range(count):
        qa = 10.0 ** rng.uniform(-6, 6) if k % 2 else 10.0 ** rng.uniform(-40, 40)
        near = qa * (1 + 10.0 ** rng.uniform(-16, -1))
        qb = (qa, near, float(qa * 10.0 ** rng.uniform(-3, 3)))[k % 3]
        found.append(
            (
                float(qa),
                float(qb),
                0.0 if k % 7 == 0 else float(10.0 ** rng.uniform(-28, 0)),
                int(rng.choice([-1, 1])),
            )
        )
    return found


@pytest.mark.parametrize("name", ["relu", "leaky-relu(0.2)", "leaky-relu(-0.7)", "erf", "gelu"])
def test_angles_keep_an_absolute_error_of_rounding(name: str):
    """sqrt(gap) of phi(x), phi(y) against 400 digits; where phi is smooth and lengths differ, to
    a root of rounding."""
    kernel = KERNELS.get(name) or leaky("-0.7")
    kinked = name.startswith(("relu", "leaky"))
    run = jax.jit(lambda pair: activated(find(name), pair, ONE, 0.0))
    for qa, qb, gap, sign in points(120):
        with mp.workdps(400):
            a, b = mp.mpf(qa), mp.mpf(qb)
            c = sign * mp.sqrt(a * b * (1 - mp.mpf(gap)))
            cross = kernel(a, c, b, 0)
            expected = max(1 - cross**2 / (kernel(a, a, a, 0) * kernel(b, b, b, 0)), mp.mpf(0))
            found = run(Pair(*(jnp.asarray(v, dtype=jnp.float64) for v in (qa, float(c), qb, gap))))
            off = abs(float(mp.sqrt(mp.mpf(float(found))) - mp.sqrt(expected)))
        # smooth at its scale, so that lengths which differ may tell vectors apart by no more than
        # values hold
        rough = 0.0 if kinked or qa == qb else 2 * (EPSILON * min(1.0, min(qa, qb) ** -0.5)) ** 0.5
        assert off < 2 * EPSILON + rough, (qa, qb, gap, sign, off)


def test_values_alone_lose_the_angle():
    """Companion: read off rounded values, the angle of nearly parallel vectors is off by 1e-8."""
    qa = qb = 1.0
    c = float(np.sqrt(1 - 1e-18))
    assert abs(np.sqrt(float(from_values(*(jnp.asarray(v) for v in (qa, c, qb))))) - 1e-9) > 5e-10


def test_sums_and_products():
    rng = np.random.default_rng(1)
    for _ in range(100):
        pairs, total, product = [], [mp.mpf(0)] * 3, mp.mpf(1)
        with mp.workdps(60):
            for _ in range(2):
                qa, qb, gap = (
                    mp.mpf(float(v))
                    for v in (
                        rng.uniform(0.1, 9),
                        rng.uniform(0.1, 9),
                        10.0 ** rng.uniform(-25, -1),
                    )
                )
                c = mp.sqrt(qa * qb * (1 - gap)) * int(rng.choice([-1, 1]))
                pairs.append(Pair(*(jnp.asarray(float(v)) for v in (qa, c, qb, gap))))
                total = [x + y for x, y in zip(total, (qa, c, qb), strict=True)]
                product *= 1 - gap
            expected = mp.sqrt(1 - total[1] ** 2 / (total[0] * total[2]))
            assert float(joined(pairs).gap) ** 0.5 == pytest.approx(
                float(expected), abs=4 * EPSILON
            )
            assert float(multiplied(pairs[0].gap, pairs[1].gap)) == pytest.approx(
                float(1 - product), rel=4 * EPSILON
            )
