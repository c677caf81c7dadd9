"""Matrices that are never formed: consistent with one matrix to rounding, and in law what formed
ones are."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sigprop.simulations.engines.conditional import LAWS, Seen
from sigprop.simulations.network import directions
from sigprop.simulations.network.weights import Shape, draw

SAMPLES = 4000
# of a Kolmogorov-Smirnov test: 5 such tests in 10,000 runs fail by chance at each of 24 places
LEAST = 1e-4
CASES = [*itertools.product(LAWS, [(8, 8), (4, 8)]), ("gaussian", (2, 2))]


class Asked:
    """One matrix, asked in any order from either side."""

    def __init__(self, law: Any, rows: int, columns: int, key: Any, most: int = 16):
        self.law, self.rows, self.columns, self.key, self.count, self.most = (
            law,
            rows,
            columns,
            key,
            0,
            most,
        )
        self.m, self.n = law.sides(rows, columns)

        def zeros(side):
            return jnp.zeros((most, side), dtype=jnp.float32)

        self.forward, self.back = (
            Seen(zeros(self.n), zeros(self.m)),
            Seen(zeros(self.m), zeros(self.n)),
        )

    def _ask(self, own: Seen, other: Seen, x: Any, side: int, out: int) -> tuple[Any, Seen]:
        row, self.count = self.count, self.count + len(x)
        fresh = jax.random.normal(
            jax.random.fold_in(self.key, row), (len(x), out), dtype=jnp.float32
        )
        y, new = self.law.ask(
            own, other, jnp.pad(x, ((0, 0), (0, side - x.shape[1]))), fresh, jnp.int32(row)
        )
        return y, Seen(
            *(array.at[row : row + len(x)].set(rows) for array, rows in zip(own, new, strict=True))
        )

    def times(self, x: Any) -> Any:
        y, self.forward = self._ask(self.forward, self.back, x, self.n, self.m)
        return y[:, : self.rows]

    def transposed(self, g: Any) -> Any:
        y, self.back = self._ask(self.back, self.forward, g, self.m, self.n)
        return y[:, : self.columns]


class Formed:
    """The same interface for a matrix that is there."""

    def __init__(self, law: str, rows: int, columns: int, key: Any):
        self.w = draw(key, Shape("w", 1, (rows, columns)), 0, law)

    def times(self, x: Any) -> Any:
        return x @ self.w.T

    def transposed(self, g: Any) -> Any:
        return g @ self.w


def conversation(w: Any, rows: int, columns: int) -> dict[str, Any]:
    """Queries that depend on earlier answers, equal vectors among them: more of them than a
    narrow matrix has dimensions."""
    x = jnp.ones((2, columns), dtype=jnp.float32).at[1, 0].set(-1)
    y = w.times(x)
    g = w.transposed(jnp.tanh(y))
    again = w.times(jax.nn.relu(g))
    back = w.transposed(
        jnp.concatenate([jnp.sign(again), jnp.ones((1, rows), dtype=jnp.float32), y[:1]])
    )
    last = w.times(jnp.concatenate([back[:2], x[::-1]]))
    pairs = {
        "forward": (y**2).sum(),
        "back": (g**2).sum(),
        "again": (again**2).sum(),
        "twice": (back**2).sum(),
        "last": (last[:2] ** 2).sum(),
    }
    inner = {
        "y.again": (y[0] * again[0]).sum(),
        "g.back": (g[0] * back[1]).sum(),
        "one.back": back[2].sum() ** 2,
    }
    adjoint = {
        "adjoint": jnp.abs(
            x @ back.T
            - y
            @ jnp.concatenate([jnp.sign(again), jnp.ones((1, rows), dtype=jnp.float32), y[:1]]).T
        ).max()
    }
    return (
        {k: jnp.log(v) for k, v in pairs.items()}
        | inner
        | adjoint
        | {"same": jnp.abs(last[2:] - y[::-1]).max()}
    )


@functools.cache
def found(law: str, rows: int, columns: int, free: bool, seed: int) -> dict[str, np.ndarray]:
    make = (
        (lambda key: Asked(LAWS[law], rows, columns, key))
        if free
        else (lambda key: Formed(law, rows, columns, key))
    )
    every = jax.jit(jax.vmap(lambda key: conversation(make(key), rows, columns)))(
        jax.random.split(jax.random.key(seed), SAMPLES)
    )
    return {name: np.asarray(value, dtype=np.float64) for name, value in every.items()}


@pytest.mark.parametrize(("law", "size"), CASES)
def test_answers_are_those_of_one_matrix(law: str, size: tuple[int, int]):
    """<g, W x> = <W^T g, x> for every pair asked, and the same vector has the same image: in
    every network, to rounding."""
    values = found(law, *size, True, 1)
    scale = np.exp(values["back"] / 2).max() + 10
    assert np.quantile(values["adjoint"], 0.999) < 1e-3 * scale
    assert np.quantile(values["same"], 0.999) < 1e-3 * scale


def distances(values: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> dict[str, float]:
    """p-values that both have one distribution; of numbers that are the same in every network, 1
    where they agree."""
    result = {}
    for name in set(values) - {"adjoint", "same"}:
        u, v = values[name], other[name]
        fixed = max(u.std(), v.std()) < 1e-5
        result[name] = (
            float(abs(u.mean() - v.mean()) < 1e-4) if fixed else float(stats.ks_2samp(u, v).pvalue)
        )
    return result


@pytest.mark.parametrize(("law", "size"), CASES)
def test_law_is_that_of_formed_matrices(law: str, size: tuple[int, int]):
    """The distribution of every observable (Kolmogorov-Smirnov), and their covariances, within
    4.5 standard errors."""
    free, formed = found(law, *size, True, 1), found(law, *size, False, 2)
    assert min(distances(free, formed).values()) > LEAST
    names = [n for n in sorted(free) if n not in ("adjoint", "same") and formed[n].std() > 1e-5]
    for one, two in itertools.combinations(names, 2):
        products = [
            (d[one] - formed[one].mean()) * (d[two] - formed[two].mean()) for d in (free, formed)
        ]
        error = np.hypot(*(p.std() / SAMPLES**0.5 for p in products))
        assert abs(products[0].mean() - products[1].mean()) < 4.5 * error, (one, two)


def test_a_transposed_query_that_forgets_the_forward_ones_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The companion, at n = 8: without the projection the law is another one."""
    true = LAWS["gaussian"]

    class Forgetful:
        sides = true.sides

        @staticmethod
        def ask(own: Any, other: Any, x: Any, fresh: Any, used: Any = None) -> Any:
            (a,), b, r = directions.extend([(own.directions, None)], x)
            images = fresh + (b @ other.images.T) @ other.directions
            return r @ images + a @ own.images, Seen(b, images)

    monkeypatch.setitem(LAWS, "gaussian", Forgetful)
    values = found.__wrapped__("gaussian", 8, 8, True, 1)
    assert min(distances(values, found("gaussian", 8, 8, False, 2)).values()) < LEAST


def test_a_matrix_is_known_once_its_space_is_spanned():
    """After n independent queries nothing new is drawn: the answer to any other is what
    linearity says."""
    w = Asked(LAWS["gaussian"], 3, 4, jax.random.key(0))
    images = w.times(jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), dtype=jnp.float32))
    x = jnp.asarray([[1.0, -2.0, 0.5, 3.0]], dtype=jnp.float32)
    before = w.forward
    y, new = w.law.ask(before, w.back, x, jnp.full((1, 3), 100.0, dtype=jnp.float32))
    assert not np.any(new.directions)
    basis = np.asarray(
        jnp.linalg.solve(
            jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)), dtype=jnp.float32).T, x[0]
        )
    )
    np.testing.assert_allclose(y[0], basis @ np.asarray(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("apart", "tokens"), [(1e-2, 6), (1e-4, 6), (1e-4, 3)])
def test_directions_of_nearly_equal_vectors_are_orthonormal(apart: float, tokens: int):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1, 64)) + apart * rng.normal(size=(tokens, 64))
    _, b, r = directions.extend([], jnp.asarray(x, dtype=jnp.float32))
    np.testing.assert_allclose(b @ b.T, np.eye(tokens), atol=1e-5)
    np.testing.assert_allclose(r @ b, x, atol=1e-5)


def test_equal_vectors_have_one_direction():
    x = jnp.broadcast_to(jnp.arange(1, 9, dtype=jnp.float32)[None], (3, 8))
    _, b, r = directions.extend([], x)
    assert np.count_nonzero(np.asarray(b).any(axis=1)) == 1
    np.testing.assert_allclose(r @ b, x, rtol=1e-6)


@pytest.mark.parametrize("law", LAWS)
def test_blocks_of_rows_change_nothing_but_rounding(law: str, monkeypatch: pytest.MonkeyPatch):
    """Known rows gone through in blocks, and only as far as they are in use, both ways, to
    float32 rounding; unused rows are really not read."""

    def answers() -> list[Any]:
        w = Asked(LAWS[law], 48, 32, jax.random.key(3))
        rng = np.random.default_rng(3)
        return [
            w.times(jnp.asarray(rng.normal(size=(2, 32)), dtype=jnp.float32)) for _ in range(3)
        ] + [
            w.transposed(jnp.asarray(rng.normal(size=(2, 48)), dtype=jnp.float32)) for _ in range(3)
        ]

    whole = answers()
    monkeypatch.setattr(directions, "NEAR", 1)
    monkeypatch.setattr(directions, "LEAST", 3)
    for blocked, found in zip(answers(), whole, strict=True):
        np.testing.assert_allclose(blocked, found, atol=1e-4)
    rows = jnp.eye(12, 32, dtype=jnp.float32).at[6:].set(jnp.nan)
    along, left = directions.freed(jnp.ones((1, 32), dtype=jnp.float32), rows, jnp.int32(5))
    np.testing.assert_array_equal(np.asarray(left[0]), [0] * 6 + [1] * 26)
    np.testing.assert_array_equal(np.asarray(along[0]), [1] * 6 + [0] * 6)
