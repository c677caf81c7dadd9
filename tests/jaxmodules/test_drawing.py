"""Laws that are read off a constructor's jaxpr: exact moments of every initialiser of jax, closure
under multiples, copies by key, and draws where nothing is understood."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.jaxmodules.drawing import DRAW, Drawn, Draws
from sigprop.jaxmodules.flattening import Flattener
from sigprop.jaxmodules.nodes import Graph
from sigprop.modules.laws import Law

SHAPE = (24, 40)
init = jax.nn.initializers


def drawn(function: Callable[[], Any]) -> list[Drawn]:
    """What every output of a function holds."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        jaxpr = jax.make_jaxpr(function)()
    graph = Graph()
    graph.leaves = Flattener(graph, frozenset({DRAW})).closed(jaxpr, [])
    draws = Draws(graph)
    return [draws.of(node) for node in graph.leaves]


def law(function: Callable[[Any], Any]) -> Law:
    """The law of a function of a key."""
    return drawn(lambda: function(jax.random.key(0)))[0].law


INITIALISERS: dict[str, tuple[Any, str, float]] = {
    "normal": (init.normal(0.02), "normal", 0.02**2),
    "truncated": (init.truncated_normal(0.02), "truncated normal", 0.02**2),
    "uniform": (init.uniform(0.3), "uniform", 0.3**2 / 12),
    "lecun_normal": (init.lecun_normal(), "truncated normal", 1 / 24),
    "lecun_uniform": (init.lecun_uniform(), "uniform", 1 / 24),
    "he_normal": (init.he_normal(), "truncated normal", 2 / 24),
    "he_uniform": (init.he_uniform(), "uniform", 2 / 24),
    "glorot_normal": (init.glorot_normal(), "truncated normal", 2 / 64),
    "glorot_uniform": (init.glorot_uniform(), "uniform", 2 / 64),
    "scaled": (init.variance_scaling(0.7, "fan_out", "normal"), "normal", 0.7 / 40),
    "orthogonal": (init.orthogonal(1.5), "orthogonal", 1.5**2 / 40),
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers_of_jax(name: str):
    """The mean and variance that are documented, to 1e-6; the entries that are drawn have them too,
    within 5 standard errors."""
    initialiser, kind, variance = INITIALISERS[name]
    found = law(lambda key: initialiser(key, SHAPE))
    # 'truncated' says the deviation of what it truncates
    exact = variance * 0.7737413035 if name == "truncated" else variance
    mean = 0.15 if name == "uniform" else 0.0  # from 0 up
    assert found.kind == kind
    assert found.variance == pytest.approx(exact, rel=1e-6)
    assert abs(found.mean - mean) <= 1e-6 * math.sqrt(exact)
    entries = np.asarray(initialiser(jax.random.key(1), SHAPE), np.float64)
    assert abs(entries.var() / exact - 1) < 5 * math.sqrt(2 / entries.size)
    assert abs(entries.mean() - mean) < 5 * math.sqrt(exact / entries.size)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", ["normal", "glorot_uniform", "he_normal"])
def test_initialisers_of_low_precision(name: str, dtype: Any):
    """The same, to what the ends of intervals are rounded to."""
    initialiser, kind, variance = INITIALISERS[name]
    found = law(lambda key: initialiser(key, SHAPE, dtype))
    assert found.kind == kind
    assert found.variance == pytest.approx(variance, rel=4 * float(jnp.finfo(dtype).eps))


CHANGED: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "times": (lambda w: 0.3 * w, 0.0, 0.09),
    "over": (lambda w: w / 4, 0.0, 1 / 16),
    "plus": (lambda w: 1 + w * 0.1, 1.0, 0.01),
    "minus": (lambda w: 2.0 - w, 2.0, 1.0),
    "turned": (lambda w: -w.T.reshape(-1, 3), 0.0, 1.0),
    "cut": (lambda w: w[3:9, ::2], 0.0, 1.0),
    "by jit": (jax.jit(lambda w: w * 2), 0.0, 4.0),
}


@pytest.mark.parametrize("name", CHANGED)
def test_multiples_and_sums_with_numbers(name: str):
    change, mean, variance = CHANGED[name]
    found = law(lambda key: change(jax.random.normal(key, SHAPE)))
    assert (found.kind, found.mean) == ("normal", pytest.approx(mean, rel=1e-6))
    assert found.variance == pytest.approx(variance, rel=1e-6)


UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "exp": lambda w: jnp.exp(w),
    "square": lambda w: w * w,
    "a row, repeated": lambda w: jnp.broadcast_to(w[:1], SHAPE),
    "a number an entry": lambda w: w * jnp.arange(40.0),
    "clipped": lambda w: jnp.clip(w, -1, 1),
    "mixed": lambda w: w @ w.T,
    "sorted": lambda w: jnp.sort(w),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_known_law_is_not_taken_for_one(name: str):
    found = law(lambda key: UNKNOWN[name](jax.random.normal(key, SHAPE)))
    assert not found.known and found.source


def test_integers_and_coins_are_no_normal_numbers():
    for draw in (
        lambda key: jax.random.randint(key, SHAPE, 0, 9).astype(jnp.float32),
        lambda key: jax.random.bernoulli(key, 0.5, SHAPE).astype(jnp.float32),
        lambda key: jax.random.exponential(key, SHAPE),
    ):
        assert not law(draw).known


def test_constants():
    ones, zeros = drawn(lambda: [jnp.ones(SHAPE), jnp.full(SHAPE, 0.25) * 0])
    assert (ones.law.kind, ones.law.mean, ones.law.variance) == ("constant", 1.0, 0.0)
    assert (zeros.law.kind, zeros.law.mean) == ("constant", 0.0)


def test_copies_are_known_by_their_keys():
    """The same key, shape and operations: the same entries; another of these: others."""

    def make() -> list[Any]:
        key, other = jax.random.split(jax.random.key(3))
        draw = lambda one, shape=SHAPE: 0.5 * jax.random.normal(one, shape)  # noqa: E731
        return [draw(key), draw(key), draw(other), draw(key, (40, 24)), 2 * draw(key)]

    same = [one.same for one in drawn(make)]
    assert same[0] == same[1] and len(set(same)) == 4


def test_stacked_draws_know_equal_keys():
    """Rows drawn with one key are copies of the first of them."""
    keys = lambda: jax.random.split(jax.random.key(0), 3)[jnp.array([0, 1, 0])]  # noqa: E731
    (found,) = drawn(lambda: jax.vmap(lambda key: jax.random.normal(key, (4, 5)))(keys()))
    assert found.rows == (0, 1, 0) and found.law.kind == "normal"


def test_a_loop_that_draws():
    """What a scan draws round by round is one law, apart by its keys."""

    def make() -> Any:
        keys = jax.random.split(jax.random.key(0), 3)
        return jax.lax.scan(lambda c, key: (c, jax.random.normal(key, (4,)) * 0.1), 0, keys)[1]

    (found,) = drawn(make)
    assert found.law.kind == "normal" and found.law.variance == pytest.approx(0.01)


def test_matrices_in_one_are_pieces():
    """Concatenated draws of two laws: each rectangle its own."""
    (found,) = drawn(
        lambda: jnp.concatenate(
            [s * jax.random.normal(jax.random.key(k), (3, 4)) for k, s in enumerate((0.1, 0.2))]
        )
    )
    offsets = [(offset, shape) for offset, shape, *_ in found.pieces]
    assert not found.law.known and offsets == [(0, (3, 4)), (12, (3, 4))]
    sizes = [piece[-1].variance for piece in found.pieces]
    assert sizes == pytest.approx([0.01, 0.04])
