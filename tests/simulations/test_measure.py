"""Measurements that go on from what is kept, and what is said of their cost before."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.agreement.finite_width import controlled
from sigprop.agreement.finite_width.measuring import measured as public
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.runtime.compiling import COMPILED
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.moments import Moments
from sigprop.simulations.engines.monte_carlo import engine_for
from sigprop.simulations.measure import estimate, measure, measured
from tests.helpers.twins import any_twin

ARCH = sp.architectures.looped_mlp(depth=1, loops=2)
ROWS: dict[str, Any] = {"width": 16, "quantities": ["residual_variance"]}
COUNT = len(select(ARCH, ROWS["quantities"]))


def stored(kept: Moments) -> Moments:
    return Moments.from_dict(json.loads(json.dumps(kept.to_dict(), allow_nan=False)))


class Told:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.done = 0

    def start(self, total: int, text: str) -> None:
        self.totals.append(total)

    def advance(self, n: int = 1) -> None:
        self.done += n


@pytest.mark.parametrize("twin", [False, True])
def test_the_table_is_that_of_one_run(twin: bool, monkeypatch: pytest.MonkeyPatch):
    """To the bit, with a twin too, whose own mean is taken off the moments of all; and where there
    are more networks than asked for it is of all of them, and none is sampled."""
    options = ROWS | {"control": any_twin(ARCH, COUNT) if twin else None}
    whole = measure(ARCH, samples=20, **options)
    _, kept = measured(ARCH, samples=7, **options)
    told = Told()
    table, more = measured(ARCH, kept=stored(kept), samples=20, progress=told, **options)
    assert table.to_json() == whole.to_json() and more.count == 20
    assert told.totals == [told.done] and told.done >= 13
    assert all("variance_ratio" in row for row in table) == twin
    monkeypatch.setattr(Engine, "batch", None)
    told = Told()
    again, still = measured(ARCH, kept=stored(more), samples=7, progress=told, **options)
    assert again.to_json() == whole.to_json() and still.to_dict() == more.to_dict()
    assert {row["samples"] for row in again} == {20} and not told.totals


def test_the_public_one_goes_on_too(monkeypatch: pytest.MonkeyPatch):
    """What a twin's networks leave is of more columns than what others do. The twin is any one:
    theory's own are in tests/agreement/finite_width."""
    twin = any_twin(ARCH, COUNT)
    monkeypatch.setattr(controlled, "twin_of", lambda arch, rows, required: twin)
    options = ROWS | {"control": "twin"}
    _, kept = public(ARCH, samples=7, **options)
    table, _ = public(ARCH, kept=stored(kept), samples=20, **options)
    assert table.to_json() == sp.measure(ARCH, samples=20, **options).to_json()
    with pytest.raises(InputError, match=f"moments of {2 * COUNT} columns; accepted: of {COUNT}"):
        public(ARCH, kept=kept, samples=20, **ROWS)


def test_the_engine_is_that_of_what_is_kept():
    """'auto' goes on with it, whatever it would choose now; another one's networks are others."""
    options = ROWS | {"samples": 4}
    assert estimate(ARCH, **options).engine == "dense"
    _, kept = measured(ARCH, engine="matrix-free", **options)
    table, more = measured(ARCH, kept=kept, **ROWS, samples=8)
    assert {row["engine"] for row in table} == {more.engine} == {"matrix-free"}
    with pytest.raises(InputError, match="kept: networks of engine=matrix-free; accepted: "):
        measured(ARCH, kept=kept, engine="dense", **options)
    with pytest.raises(InputError, match="kept=str; accepted: Moments, or None"):
        measured(ARCH, kept="moments", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="engine='gone'"):
        measured(ARCH, kept=kept._replace(engine="gone"), **options)


def test_what_diverged_stays_so():
    """Rows at and after the application have no value, now and later, and are named."""
    arch = sp.architectures.residual_mlp(depth=3, norm="none", residual_scale=1e15)
    whole = measure(arch, samples=6, **ROWS)
    _, kept = measured(arch, samples=4, **ROWS)
    for samples in (6, 2):
        table, _ = measured(arch, kept=stored(kept), samples=samples, **ROWS)
        assert table.notes == whole.notes and "application 2" in table.notes["diverged"]
        assert [row["value"] is None for row in table] == [row["value"] is None for row in whole]
        for row in table:
            assert (row["value"] is None) == (row["application"] >= 2)
        assert "NaN" not in table.to_json()


def test_an_estimate_compiles_nothing():
    before = COMPILED.total()
    few, many, wide = (
        estimate(ARCH, width=width, samples=samples, quantities=ROWS["quantities"])
        for width, samples in ((64, 512), (64, 10**6), (1024, 512))
    )
    assert COMPILED.total() == before
    assert 0 < few.seconds < many.seconds and few.seconds < wide.seconds
    assert few.bytes <= many.bytes < 2**30 and few.batch_size == many.batch_size > wide.batch_size


@pytest.mark.parametrize("engine", ["auto", "dense", "matrix-free"])
def test_an_estimate_is_of_what_would_run(engine: str):
    rows = select(ARCH, ROWS["quantities"])
    for dtype, mib in (("float32", 1024), ("float64", 2)):
        found = estimate(ARCH, **ROWS, engine=engine, dtype=dtype, memory_mib=mib)
        runner = engine_for(engine, ARCH, rows, 16, mib, dtype=dtype)
        assert (found.engine, found.batch_size) == (runner.name, runner.batch_size)
        compiling = runner.compiling * len(runner.shapes)
        networks = round((found.seconds - compiling) / runner.seconds)
        assert networks >= 512 and networks % found.batch_size == 0
        assert np.isfinite(found.seconds) and runner.least_bytes <= found.bytes <= mib * 2**20


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"width": 0}, "width=0; accepted"),
        ({"samples": 1}, "samples=1; accepted"),
        ({"memory_mib": 0}, "memory_mib=0; accepted"),
        ({"engine": "dens"}, "engine='dens'; did you mean 'dense'"),
        ({"dtype": "float16"}, "dtype='float16'"),
        ({"quantities": ["residual_varianc"]}, "did you mean 'residual_variance'"),
        ({"applications": [9]}, "applications=9; accepted"),
    ],
)
def test_an_estimate_of_bad_input(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        estimate(ARCH, **given)
    assert says in str(caught.value)
