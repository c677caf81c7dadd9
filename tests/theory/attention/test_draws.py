"""The points that heads are sampled on: antithetic pairs, their law, and how many there are."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.language.scores import Scores
from sigprop.theory.attention import mixing, sampling
from sigprop.theory.attention.draws import (
    FEWEST,
    MOST,
    Amount,
    Law,
    draws,
    leg_points,
    points,
)
from sigprop.theory.attention.heads import Form, Leg

KINDS = [
    Scores(math.inf),
    Scores(4),
    Scores(32),
    Scores(4, rotary=True, qk_norm=True),
    Scores(8, mask="causal", rotary=True),
]


@pytest.mark.parametrize("scores", KINDS)
def test_every_second_head_is_the_one_before_with_its_scores_reversed(scores: Scores):
    z = draws(scores, 3, 0)
    one, other = z[::2], z[1::2]
    np.testing.assert_array_equal(one[:, :, 0], -other[:, :, 0])
    np.testing.assert_array_equal(one[:, :, 1:], other[:, :, 1:])
    # the companion: neighbours that are no pair differ
    assert (z[1:-1:2, :, 0] != -z[2::2, :, 0]).any()


@pytest.mark.parametrize("scores", KINDS)
def test_one_applications_numbers_are_the_first_of_two(scores: Scores):
    one, two = (draws(scores, 3, 5, Amount(places)) for places in (1, 2))
    np.testing.assert_array_equal(one, two[:, : one.shape[1], :, : one.shape[3]])


@pytest.mark.parametrize("tokens", [3, 24])
def test_queries_and_keys_are_standard(tokens: int):
    """E q q^T / d is the identity, of Sobol coordinates (T = 3) and of plain ones beyond (T = 24:
    4608 of them): the mean over 16 sets, within 5 standard errors (one in some 10^4 such tests
    fails). The companion: within one it is not."""
    scores = Scores(64 if tokens == 3 else 48, rotary=tokens == 24)
    sets = []
    for seed in range(16):
        q = draws(scores, tokens, seed, Amount())[:64, :, 0]
        sets.append(np.einsum("kti,ksi->ts", q, q) / len(q) / scores.head_dim)
    mean, se = np.mean(sets, axis=0), np.std(sets, axis=0, ddof=1) / 4
    apart = abs(mean - np.eye(2 * tokens)) / np.maximum(se, 1e-12)
    assert apart.max() < 5 * math.sqrt(1 + math.log(tokens)) and apart.max() > 1


def test_counts_are_powers_of_two_and_shrink_with_work():
    """More tokens and more partners take fewer heads, normalised scores more; ``finer`` multiplies
    them; legs that are contracted as vectors take fewer, others as many."""
    counts = [points(Law(Scores(64)), tokens) for tokens in (2, 8, 32, 64, 128, 256)]
    assert counts[0] == MOST and counts[-1] >= FEWEST
    assert all(a >= b and not a & (a - 1) for a, b in zip(counts, counts[1:], strict=False))
    tied = [points(Law(Scores(64)), 32, Amount(2, partners)) for partners in (0, 1, 8, 32)]
    assert tied[0] == tied[1] > tied[2] > tied[3] >= FEWEST
    assert points(Law(Scores(64)), 32, Amount(finer=4)) == 4 * points(Law(Scores(64)), 32)
    assert points(Law(Scores(64, qk_norm=True)), 32) > points(Law(Scores(64)), 32)
    assert points(Law(Scores(scale="linear", heads=2)), 32, Amount(finer=4)) == 1
    assert leg_points(Scores(64), 32, 512) == 512 == leg_points(Scores(math.inf), 32, 512)
    fewer = leg_points(Scores(64, rotary=True), 32, 512)
    assert FEWEST <= fewer < 512 and not fewer & (fewer - 1)
    assert leg_points(Scores(64, rotary=True), 32, 1) == 1


@pytest.mark.parametrize("scores", KINDS)
def test_chunks_do_not_matter(scores: Scores, monkeypatch: pytest.MonkeyPatch):
    """Sums over 32 heads at once, and one after the other: to rounding."""
    gram = jnp.asarray([[[1.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 2.0]]])
    leg, form = (
        Leg(gram, gram, gram, jnp.zeros(1), jnp.zeros(1)),
        Form(base=jnp.full((1, 1, 1), 9.0)),
    )
    z = jnp.asarray(draws(scores, 3, 0, Amount(1))[:32])

    def sums() -> dict[str, Any]:
        return sampling.expectation(
            scores, form, z, leg, leg, True, lambda head: mixing.backward(head, gram, gram)
        )

    at_once = sums()
    monkeypatch.setattr(sampling, "CHUNK", 1)
    for name, value in sums().items():
        np.testing.assert_allclose(value, at_once[name], rtol=1e-12, atol=1e-14)
        assert abs(value).max() > 1e-3
