"""Stated errors where gaps are read off Grams: loops of one weight, and tokens that attention
mixes, next to recursions in 50 digits."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from edge_grams import LARGEST, gram
from many_digits import KERNELS

import sigprop as sp
from sigprop.description.shapes import Row
from sigprop.theory.predictions.evaluate import evaluate, unscaled

A = sp.architectures
LOOPS, BLOCKS = 6, 3


def moderate(rng: np.random.Generator) -> np.ndarray:
    """A Gram of unit variances: nearly parallel, opposite, and any."""
    given = gram(rng)
    size = np.sqrt(np.diag(given))
    return given / size[:, None] / size[None, :]


def deviations(
    arch: sp.Architecture, rows: tuple[Row, ...], expected: dict[Row, Any]
) -> tuple[float, float]:
    """The worst deviation over stated error, and the worst stated error over the row's scale."""
    found, ratio, stated = evaluate(arch, rows), 0.0, 0.0
    for row, value, scale, error in zip(
        rows, found.values, found.scales, found.errors, strict=True
    ):
        off = abs(float(mp.mpf(value[0]) * mp.exp(mp.mpf(value[1])) - expected[row]))
        assert error
        ratio, stated = max(ratio, off / error), max(stated, error / (unscaled(*scale) or 1.0))
    return ratio, stated


def looped(activation: str, c_w: float, scale: float, given: np.ndarray) -> dict[Row, Any]:
    """h + scale W phi(h), one W: all overlaps of states and writes at two times and two tokens."""
    c_w, scale = mp.mpf(c_w), mp.mpf(scale)
    start = {(t, s): mp.mpf(float(given[t, s])) for t in range(2) for s in range(2)}
    states: dict[Any, Any] = {(0, 0, *key): value for key, value in start.items()}  # (a, b, t, s)
    tokens = [(t, s) for t in range(2) for s in range(2)]
    writes: dict[Any, Any] = {}
    for a in range(LOOPS):
        for b in range(a + 1):
            for t, s in tokens:
                v = KERNELS[activation](
                    states[a, a, t, t], states[a, b, t, s], states[b, b, s, s], 0
                )
                writes[a, b, t, s] = writes[b, a, s, t] = c_w * v
        cross = {
            (b, t, s): scale * sum((writes[a, q, t, s] for q in range(b)), mp.mpf(0))
            for b in range(a + 2)
            for t, s in tokens
        }
        for b in range(a + 1):
            for t, s in tokens:
                states[a + 1, b, t, s] = states[b, a + 1, s, t] = (
                    states[a, b, t, s] + scale * cross[b, t, s]
                )
        for t, s in tokens:
            own = (
                states[a, a, t, s]
                + scale * (cross[a, t, s] + cross[a, s, t])
                + scale**2 * writes[a, a, t, s]
            )
            states[a + 1, a + 1, t, s] = own
    return {
        Row("token_covariance", a, token=0, token_2=1): states[a, a, 0, 1]
        for a in range(1, LOOPS + 1)
    }


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_loops_of_one_weight(activation: str):
    rng = np.random.default_rng(0)
    for _ in range(10):
        given, c_w, scale = (
            moderate(rng),
            float(10 ** rng.uniform(-1, 0.5)),
            float(10 ** rng.uniform(-2, 0)),
        )
        arch = A.looped_mlp(
            depth=1,
            loops=LOOPS,
            matrices=1,
            norm="none",
            activation=activation,
            c_w=c_w,
            residual_scale=scale,
            input_gram=given,
        )
        with mp.workdps(50):
            expected = looped(activation, c_w, scale, given)
            ratio, stated = deviations(arch, tuple(expected), expected)
        assert ratio < 1 and stated < LARGEST, (given.tolist(), c_w, scale, ratio, stated)


def causal(given: np.ndarray, c: dict[str, float], scale: float, activation: str) -> dict[Row, Any]:
    """Pre-norm blocks of causal attention with queries zero (token 1 sees the mean of both) and
    an MLP."""
    gram = mp.matrix(given.tolist())
    mixing = mp.matrix([[1, 0], [mp.mpf(1) / 2, mp.mpf(1) / 2]])
    rows: dict[Row, Any] = {}
    for a in range(2 * BLOCKS):
        divide = mp.matrix(2, 2)
        for t in range(2):
            divide[t, t] = 1 / mp.sqrt(gram[t, t])
        read = divide * gram * divide
        if a % 2 == 0:
            write = mixing * read * mixing.T * mp.mpf(c["c_v"]) * mp.mpf(c["c_u"])
        else:
            hidden = read * mp.mpf(c["c_w"])
            write = mp.matrix(2, 2)
            for t in range(2):
                for s in range(2):
                    write[t, s] = mp.mpf(c["c_x"]) * KERNELS[activation](
                        hidden[t, t], hidden[t, s], hidden[s, s], 0
                    )
        gram = gram + mp.mpf(scale) ** 2 * write
        rows[Row("token_covariance", a + 1, token=0, token_2=1)] = gram[0, 1]
    return rows


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_causal_attention(activation: str):
    rng = np.random.default_rng(1)
    for _ in range(10):
        given, scale = moderate(rng), float(10 ** rng.uniform(-1.5, 0.3))
        c = {name: float(10 ** rng.uniform(-0.5, 0.5)) for name in ("c_v", "c_u", "c_w", "c_x")}
        arch = A.transformer(
            depth=BLOCKS,
            mask="causal",
            score_scale="zero_query",
            activation=activation,
            residual_scale=scale,
            input_gram=given,
            **c,
        )
        with mp.workdps(50):
            expected = causal(given, c, scale, activation)
            ratio, stated = deviations(arch, tuple(expected), expected)
        assert ratio < 1 and stated < LARGEST, (given.tolist(), c, scale, ratio, stated)
