"""The two engines sample the same law: rows of whole networks, forward and backward, also with
more queries than width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_law import CASES, JOBS, LEAST, MOST, WIDER, compared

import sigprop as sp
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.simulations.engines import conditional, monte_carlo
from sigprop.simulations.engines.engine import program
from sigprop.simulations.engines.matrix_free import MatrixFreeEngine
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.network import directions


@pytest.mark.parametrize(
    ("job", "width"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long) for case in WIDER)],
)
def test_engines_agree_in_law(job: str, width: int, record_property: Callable[[str, object], None]):
    found = compared(job, width)
    for name, value in found._asdict().items():
        record_property(name, value)
    assert found.p > LEAST
    assert found.worst < MOST


def test_a_transposed_query_without_its_projection_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The companion: a gradient whose images ignore what the forward pass asked differs at n =
    8."""
    ask = conditional.Gaussian.ask

    def forgetful(own: Any, other: Any, x: Any, fresh: Any, used: Any) -> Any:
        if other is None:
            return ask(own, other, x, fresh, used)
        a, b, r = directions.extend([] if own is None else [(own.directions, used)], x)
        images = fresh + directions.times(directions.products(b, other.images), other.directions)
        return directions.times(r, images) + (
            0 if own is None else directions.times(a[0], own.images)
        ), conditional.Seen(b, images)

    monkeypatch.setattr(conditional.Gaussian, "ask", staticmethod(forgetful))
    monkeypatch.setitem(JOBS, "mistaken", (*JOBS["untied"][:2], ["gradient_variance"]))
    assert not compared("mistaken", 8).alike


def test_rows_do_not_depend_on_the_chunk_or_what_runs_beside():
    name, parameters, quantities = JOBS["untied"]
    arch = getattr(sp.architectures, name)(**parameters)
    found = []
    for size, lanes in ((1, 1), (4, 2), (3, 4)):
        engine = engine_for("matrix-free", arch, select(arch, quantities), 8, 1024)
        engine.batch_size, engine.lanes = size, lanes
        found.append(sample(engine, 10, 3))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-5)


def test_memory_stays_below_the_ceiling():
    """What the compiled program of a batch holds, times the batches in flight, is within the MiB
    that were allowed."""
    arch = sp.architectures.looped_mlp(depth=1, loops=16, matrices=1)
    engine = MatrixFreeEngine(arch, select(arch, ["gradient_variance"]), 4096, 32 * 2**20)
    held = program(engine, engine.batch_size).memory_analysis()
    assert engine.lanes * (held.temp_size_in_bytes + held.output_size_in_bytes) <= 32 * 2**20


def test_auto_takes_the_cheaper_engine_and_says_which():
    tied, rows = sp.architectures.looped_mlp(depth=1, loops=64, tokens=2), ["residual_variance"]
    chosen = {
        width: sp.measure(tied, width=width, samples=2, quantities=rows).rows[0]["engine"]
        for width in (16, 2048)
    }
    assert chosen == {16: "dense", 2048: "matrix-free"}


def test_where_it_does_not_apply_the_dense_engine_is_named():
    arch = sp.architectures.looped_mlp(weights="uniform")
    with pytest.raises(
        InputError, match="engine=matrix-free at weights=uniform; accepted: engine=dense"
    ):
        sp.measure(arch, engine="matrix-free", samples=2, width=8)
    assert (
        sp.measure(arch, samples=2, width=1024, quantities=["residual_variance"]).rows[0]["engine"]
        == "dense"
    )


def test_every_engine_is_offered():
    with pytest.raises(InputError, match=r"engine='matrixfree'.*matrix-free"):
        engine_for("matrixfree", sp.architectures.mlp(), (), 8, 16)
    assert set(monte_carlo.ENGINES) == {"dense", "matrix-free"}
