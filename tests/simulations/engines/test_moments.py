"""Moments that more networks are added to: those of one run over all, to the bit where batches have
one size; plain data and back; what is damaged is refused; batches of one size on every machine."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import numpy as np
import pytest
from engine_rows import MEMORY, engine
from hypothesis import given, settings
from hypothesis import strategies as st

import sigprop as sp
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.simulations.engines.batches import MOST_LANES
from sigprop.simulations.engines.engine import KEPT, Engine
from sigprop.simulations.engines.moments import Moments, Sums
from sigprop.simulations.engines.monte_carlo import chunks, engine_for, missing, moments, sample
from tests.helpers.twins import any_twin

ARCH = sp.architectures.looped_mlp(depth=1, loops=2)
MANY = 11  # networks, in batches of four
BOTH = ["residual_variance", "gradient_variance"]
ENGINES = {
    "dense": ("dense", "float32", False, BOTH),
    "matrix-free, double": ("matrix-free", "float64", False, BOTH[:1]),
    "dense, with a twin": ("dense", "float32", True, BOTH[:1]),
}


def engine_of(name: str, size: int = 4) -> Engine:
    kind, dtype, control, quantities = ENGINES[name]
    rows = select(ARCH, quantities)
    twin = any_twin(ARCH, len(rows)) if control else None
    found = engine_for(kind, ARCH, rows, 16, 64, dtype=dtype, twin=twin)
    found.batch_size = size
    return found


def back(found: Moments) -> Moments:
    """What a store would give back."""
    return Moments.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))


def same(one: Moments, other: Moments) -> None:
    assert one.to_dict() == other.to_dict()  # nan is text there, -0.0 == 0.0


@pytest.mark.parametrize("name", ENGINES)
def test_a_run_that_goes_on_leaves_what_one_run_would(name: str):
    """To the bit, wherever it stopped: at the end of a batch, within one, within the first, twice
    within the same; and by way of a store."""
    found = engine_of(name)
    whole = moments(found, MANY, 3)
    assert whole.count == MANY and whole.whole.count == 8 and whole.columns == found.columns
    for stops in ((4,), (8,), (6,), (2,), (1,), (5, 7, 10), (8, 9)):
        now: Moments | None = None
        for stop in (*stops, MANY):
            now = moments(found, stop, 3, kept=None if now is None else back(now))
            assert now.count == stop
        assert now is not None
        same(now, whole)


@pytest.mark.parametrize("start", [0, 3, 4, 10])
def test_networks_are_those_of_one_run(start: int):
    """Of every index once, to the bit, in the same batches."""
    found, begun = engine_of("dense"), []
    whole, batch = sample(found, MANY, 3), found.batch

    def told(seed: int, stream: int, samples: np.ndarray) -> Any:
        begun.append(int(samples[0]))
        return batch(seed, stream, samples)

    found.batch = told  # type: ignore[method-assign]
    parts = [rows for rows, _ in chunks(found, MANY, 3, start=start)]
    assert np.array_equal(np.concatenate(parts), whole[start:])
    assert sorted(begun) == [a for a in (0, 4, 8) if a + 4 > start]


@pytest.mark.parametrize(("first", "then"), [(4, 8), (8, 4)])
def test_other_batches_change_rounding_alone(first: int, then: int):
    """Six networks kept of batches of another size: they are not sampled again but for a batch."""
    name = "matrix-free, double"
    kept = moments(engine_of(name, first), 6, 3)
    found = engine_of(name, then)
    one, other = moments(found, MANY, 3, kept=kept), moments(found, MANY, 3)
    assert one.count == other.count == MANY and missing(found, MANY, kept) <= MANY - 6 + then
    for of in ("mean", "error"):
        values = [found.statistics()[of] for found in (one, other)]
        np.testing.assert_allclose(*values, rtol=1e-12, atol=0)


def test_moments_are_those_of_the_networks():
    found = engine_of("dense")
    rows = sample(found, MANY, 3)
    kept = moments(found, 6, 3)
    statistics = moments(found, MANY, 3, kept=kept).statistics()
    np.testing.assert_allclose(statistics["mean"], rows.mean(axis=0), rtol=1e-12)
    error = rows.std(axis=0, ddof=1) / MANY**0.5
    np.testing.assert_allclose(statistics["error"], error, rtol=1e-12)
    assert statistics["diverged"] is None


def test_where_there_are_enough_none_is_sampled(monkeypatch: pytest.MonkeyPatch):
    found = engine_of("dense")
    kept = moments(found, 6, 3)
    monkeypatch.setattr(Engine, "batch", None)
    for samples in (2, 6):
        assert moments(found, samples, 3, kept=kept) is kept
        assert missing(found, samples, kept) == 0


def test_progress_counts_what_is_sampled():
    found, done = engine_of("dense"), []
    kept = moments(found, 6, 3)
    moments(found, MANY, 3, done.append, kept)
    assert sum(done) == missing(found, MANY, kept) == MANY - 4
    assert missing(found, MANY, None) == MANY


def test_a_divergence_is_kept():
    """Networks that leave float32 at application 2, in whole and in part of a batch."""
    arch = sp.architectures.residual_mlp(depth=3, norm="none", residual_scale=1e15)
    found = engine(arch, 16, select(arch, BOTH[:1]))
    found.batch_size = 4
    whole = moments(found, 7, 0)
    for stop in (4, 5):
        kept = back(moments(found, stop, 0))
        assert kept.diverged == 2
        same(moments(found, 7, 0, kept=kept), whole)
    assert not np.isfinite(whole.every.mean).all()


def test_a_network_that_diverges_later_is_noticed():
    """One of further networks, as the batches that are left say so; the earliest stays."""
    kept = Moments.none("dense", 1)
    for diverged, said in (([5, 5], None), ([4, 5], 4), ([5, 3], 3), ([5, 5], 3)):
        kept = kept.and_of(np.ones((2, 1)), np.array(diverged), size=2, depth=4)
        assert kept.diverged == back(kept).diverged == said


def test_what_is_of_other_networks_is_refused():
    found = engine_of("dense")
    kept = moments(found, 4, 3)
    narrow = kept._replace(unit=kept.unit[1:])
    for other, says in (
        (narrow, f"kept: moments of {found.columns - 1} columns; accepted: of {found.columns}"),
        (kept._replace(engine="matrix-free"), "kept: networks of engine=matrix-free; accepted"),
    ):
        for samples in (2, 8):
            with pytest.raises(InputError) as caught:
                moments(found, samples, 3, kept=other)
            assert says in str(caught.value)


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308])


@st.composite
def sums(draw: st.DrawFn, columns: int, least: int, most: int) -> Sums:
    mean = np.array(draw(st.lists(ANY, min_size=columns, max_size=columns)))
    scatter = np.abs(draw(st.lists(ANY, min_size=columns, max_size=columns)))
    scatter[~np.isfinite(mean)] = np.nan
    return Sums(draw(st.integers(least, most)), mean, scatter)


@st.composite
def any_moments(draw: st.DrawFn) -> Moments:
    columns = draw(st.integers(1, 4))
    exponents = draw(st.lists(st.integers(-1074, 1023), min_size=columns, max_size=columns))
    every = draw(sums(columns, 2, 2**32 - 1))
    parts = st.just(every) | st.just(Sums.none(columns)) | sums(columns, 1, every.count - 1)
    diverged = draw(st.none() | st.integers(0, 10**6))
    return Moments(draw(st.text()), np.ldexp(1.0, exponents), every, draw(parts), diverged)


@given(any_moments())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_plain_data_and_back(found: Moments):
    read = back(found)
    assert read.to_dict() == found.to_dict()
    for one, other in ((read.every, found.every), (read.whole, found.whole)):
        assert one.count == other.count
        for values in zip(one[1:], other[1:], strict=True):
            number = ~np.isnan(values[1])
            assert np.array_equal(number, ~np.isnan(values[0]))
            assert values[0][number].tobytes() == values[1][number].tobytes()
    assert read.unit.tobytes() == found.unit.tobytes() and read.diverged == found.diverged


GOOD: dict[str, Any] = {
    "engine": "dense",
    "unit": [1.0, 0.5],
    "every": {"count": 6, "mean": [1.5, -0.25], "scatter": [0.5, 0.0]},
    "whole": {"count": 4, "mean": [1.5, 1], "scatter": [0.5, "inf"]},
    "diverged": None,
}
DAMAGE: list[tuple[str, Any]] = [
    ("engine", 3),
    ("unit", [1.0]),
    ("unit", []),
    ("unit", [1.0, 0.75]),
    ("unit", [1.0, 0.0]),
    ("unit", [1.0, -1.0]),
    ("unit", [1.0, "inf"]),
    ("unit", "1.0"),
    ("every", None),
    ("every", [6, [1.5, -0.25], [0.5, 0.0]]),
    ("every.count", 0),
    ("every.count", 4),
    ("every.count", 6.0),
    ("every.count", True),
    ("every.count", 2**32),
    ("every.mean", [1.5]),
    ("every.mean", [1.5, None]),
    ("every.mean", [1.5, "1.5"]),
    ("every.mean", [1.5, True]),
    ("every.mean", [1.5, 10**400]),
    ("every.mean", ["nan", -0.25]),
    ("every.scatter", [0.5, -1e-300]),
    ("every.scatter", [0.5, 0.0, 0.0]),
    ("whole.count", 0),
    ("whole.count", -1),
    ("whole.count", 7),
    ("diverged", -1),
    ("diverged", 2.0),
    ("diverged", False),
]


@pytest.mark.parametrize(("place", "value"), DAMAGE)
def test_damaged_data_is_refused(place: str, value: Any):
    data = copy.deepcopy(GOOD)
    Moments.from_dict(data)
    *outer, last = place.split(".")
    (data[outer[0]] if outer else data)[last] = value
    with pytest.raises(InputError, match=r"^moments.*; accepted: ") as caught:
        Moments.from_dict(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "{}", {}, GOOD | {"more": 1}, {"unit": [1.0]}])
def test_other_data_is_refused(data: Any):
    with pytest.raises(InputError, match=r"^moments=.*; accepted: engine, unit, every, whole"):
        Moments.from_dict(data)


@pytest.mark.parametrize("kind", ["dense", "matrix-free"])
@pytest.mark.parametrize("mib", [1, 8, 64, 1024])
def test_batches_are_of_one_size_on_every_machine(
    kind: str, mib: int, monkeypatch: pytest.MonkeyPatch
):
    """Whatever its cores are; what is in flight stays below the ceiling."""
    arch = sp.architectures.residual_mlp(depth=4)
    sizes, lanes = set(), []
    for cores in (1, 2, 8, 64):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found = engine_for(kind, arch, select(arch), 64, mib)
        sizes.add(found.batch_size)
        lanes.append(found.lanes)
        held = found.lanes * found.batch_size * found.bytes_per_network
        assert held <= mib * 2**20 or found.lanes == found.batch_size == 1
    assert len(sizes) == 1 and lanes == sorted(lanes)
    assert mib > 1 or max(lanes) >= 1


def test_the_memory_that_is_usual_leaves_batches_as_they_are():
    """They are bound by what the C library keeps, whatever the cores."""
    assert MEMORY // MOST_LANES >= KEPT
