"""The bytes that one network is said to take, against its compiled program: within a factor of
three, and refused where there are fewer."""

from __future__ import annotations

from typing import Any

import pytest

import sigprop as sp
from sigprop.architectures import entry
from sigprop.description.rows import select
from sigprop.errors import InputError
from sigprop.runtime import compiling, memory
from sigprop.simulations.engines.engine import program
from sigprop.simulations.engines.monte_carlo import ENGINES

FACTOR = 3.0


@pytest.mark.parametrize(
    ("name", "engine", "quantities", "sizes"),
    [
        ("looped-mlp", "dense", ["residual_variance"], {"loops": 1000}),
        ("looped-mlp", "dense", ["residual_variance", "ntk"], {"loops": 300}),
        ("mlp", "dense", ["residual_variance"], {"depth": 300}),
        ("mlp", "matrix-free", ["residual_variance", "gradient_variance"], {"depth": 300}),
    ],
)
def test_one_network(name: str, engine: str, quantities: list[str], sizes: dict[str, int]):
    arch = entry(name).build(**sizes)
    found = ENGINES[engine](arch, select(arch, quantities), 128, 2**30)
    assert 1 / FACTOR < found.least_bytes / compiling.needs(program(found, 1)) < FACTOR


@pytest.mark.parametrize("engine", ["auto", "dense", "matrix-free"])
def test_refused_where_there_is_less(engine: str, monkeypatch: pytest.MonkeyPatch):
    arch: Any = sp.architectures.looped_mlp(depth=2, loops=50)
    monkeypatch.setattr(memory, "available", lambda: 2**20)
    with pytest.raises(
        InputError,
        match="depth=2, loops=50, width=512, engine=.*: needs about .*; accepted: smaller sizes",
    ):
        sp.measure(arch, width=512, samples=4, engine=engine)


def test_the_engine_that_fits_is_taken(monkeypatch: pytest.MonkeyPatch):
    """Matrices of width 2048 take 16 MiB each; queries of a few applications do not."""
    arch, rows = sp.architectures.mlp(depth=8), ("residual_variance",)
    monkeypatch.setattr(memory, "available", lambda: 8 * 2**20)
    table = sp.measure(arch, width=2048, samples=2, quantities=rows, memory_mib=1)
    assert {row["engine"] for row in table} == {"matrix-free"}
