"""The bytes that a prediction is said to take, against what is allocated: within a factor of
three, and refused where there are fewer."""

from __future__ import annotations

import tracemalloc
from typing import Any

import jax
import numpy as np
import pytest

import sigprop as sp
from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.runtime import compiling, memory
from sigprop.theory.attention.draws import head_draws
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.gaussian.begin import begin
from sigprop.theory.recursion import footprint, passes
from sigprop.theory.recursion.kernels import scan_tables
from sigprop.theory.recursion.passes import FORWARD, NTK
from sigprop.theory.recursion.program import compile_program

FACTOR = 3.0


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("looped-mlp", {"loops": 700}),
        ("looped-mlp", {"loops": 200, "depth": 4}),
        ("looped-nag", {"loops": 500}),
    ],
)
def test_tables_of_tied_networks(name: str, sizes: dict[str, int]):
    arch = entry(name).build(**sizes)
    assert arch.tied
    tracemalloc.start()
    program = compile_program(arch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert program.partners.shape[1] == footprint.partners(arch)
    assert (
        1 / FACTOR
        < footprint.table_bytes(arch, program.steps, footprint.partners(arch)) / peak
        < FACTOR
    )


def compiled_bytes(arch: Architecture, reach: int) -> int:
    """What the compiled passes take."""
    program = compile_program(arch)
    tables, boundaries, _ = scan_tables(arch, program, (0,))
    points = tuple(head_draws(law, arch.tokens, 0) for law in program.structure.heads)
    with jax.enable_x64(True):
        fineness = Fineness.of(128)
        stem = (arch.stem_parts, begin(arch.stem_parts))
        given = (
            fineness,
            points,
            tables,
            *stem,
            np.array(arch.bands),
            boundaries,
            arch.readout.gram(arch.tokens),
        )
        return compiling.needs(
            passes.run.compiled()
            .lower(program.structure, program.coupled, reach, None, None, *given)
            .compile()
        )


@pytest.mark.parametrize(
    ("name", "sizes", "reach"),
    [
        ("looped-mlp", {"loops": 64, "tokens": 4}, FORWARD),
        ("looped-mlp", {"loops": 64, "tokens": 4}, NTK),
        ("looped-mlp", {"loops": 256, "matrices": 1}, FORWARD),
        ("mlp", {"depth": 256, "tokens": 32}, FORWARD),
        ("mlp", {"depth": 256, "tokens": 32}, NTK),
    ],
)
def test_passes(name: str, sizes: dict[str, int], reach: int):
    arch = entry(name).build(**sizes)
    steps, most = arch.depth + 1, footprint.partners(arch)
    said = footprint.pass_bytes(
        arch, steps, most, steps + 1 if most else 1, 2 if reach == NTK else 0
    )
    assert 1 / FACTOR < said / compiled_bytes(arch, reach) < FACTOR


@pytest.mark.parametrize(
    ("name", "sizes", "names"),
    [
        ("looped-mlp", {"loops": 700}, "loops=700: needs about"),
        ("looped-mlp", {"loops": 200, "depth": 4}, "depth=4, loops=200: needs about"),
        ("mlp", {"depth": 100, "tokens": 30}, "depth=100, tokens=30: needs about"),
        ("transformer", {"depth": 2, "tokens": 30}, "depth=2, tokens=30: needs about"),
    ],
)
def test_refused_where_there_is_less(
    name: str, sizes: dict[str, int], names: str, monkeypatch: pytest.MonkeyPatch
):
    """And nothing is compiled for it."""
    arch = entry(name).build(**sizes)
    monkeypatch.setattr(memory, "available", lambda: 4 * 2**20)
    monkeypatch.setattr(passes.run, "compiled", None)
    with pytest.raises(InputError, match=names):
        sp.predict(arch, ["residual_variance", "ntk"], [0, 1])


def test_a_compiled_program_is_asked_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    """Whatever no estimate sees: known before the first run, of every shape."""

    @compiling.jit(static=())
    def double(x: Any) -> Any:
        return 2 * x

    need = 2 * 4 * 1000
    monkeypatch.setattr(memory, "available", lambda: need)
    assert float(double(np.ones(1000, dtype=np.float32)).sum()) == 2000
    with pytest.raises(
        InputError,
        match="a compiled program of these sizes: needs about 7.82 KiB of memory, 7.81 KiB are "
        "available",
    ):
        double(np.ones(1001, dtype=np.float32))
