"""What would be otherwise on a GPU, seen on a CPU: precision of products, batches, normals."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.batches import ACCELERATED
from sigprop.simulations.engines.engine import _batch, base_key
from sigprop.simulations.engines.monte_carlo import engine_for
from sigprop.simulations.network import random

LOOPED = sp.architectures.looped_mlp(depth=1, loops=2, tokens=2, readout="mean")
ATTENDING = sp.architectures.transformer(depth=1, tokens=2, head_dim=4, readout="last")


def products(arch: Any, name: str) -> list[str]:
    """The matrix products of a batch's program, as it is handed to the compiler."""
    engine = engine_for(name, arch, select(arch, ["gradient_variance"]), 8, 64)
    key, samples = base_key(arch, 8, 0, 0), np.arange(2, dtype=np.uint32)
    lowered = (
        _batch(8)
        .compiled()
        .lower(engine.static, key, samples, engine.tables, engine.roots, engine.twin)
    )
    return [line for line in lowered.as_text().splitlines() if "dot_general" in line]


@pytest.mark.parametrize("name", ["dense", "matrix-free"])
@pytest.mark.parametrize("arch", [LOOPED, ATTENDING], ids=["looped", "attending"])
def test_every_product_asks_for_full_precision(arch: Any, name: str):
    """A GPU multiplies float32 with ten bits where nothing is said."""
    found = products(arch, name)
    assert found and all("HIGHEST" in line for line in found)


def test_a_product_that_does_not_ask_would_be_seen():
    text = jax.jit(lambda x: x @ x).lower(np.ones((2, 2), np.float32)).as_text()
    assert "dot_general" in text and "HIGHEST" not in text


@pytest.mark.parametrize("arch", [LOOPED, ATTENDING], ids=["looped", "attending"])
def test_batches_are_as_large_as_an_accelerator_is_fast(arch: Any, monkeypatch: pytest.MonkeyPatch):
    """In time for ``ACCELERATED`` times as many, within the memory that was allowed; one at a
    time."""
    rows, mib = select(arch, ["gradient_variance"]), 1024
    cpu = engine_for("dense", arch, rows, 512, mib)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    other = engine_for("dense", arch, rows, 512, mib)
    assert other.lanes == 1
    assert cpu.batch_size < other.batch_size <= ACCELERATED * 2 * cpu.batch_size
    assert other.batch_size * other.bytes_per_network <= mib * 2**20


@pytest.mark.parametrize("shape", [(3,), (2, 700), (3, 2**16 + 1)])
def test_normals_drawn_at_once_are_those_of_the_loop(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    """Compiled both, as they are used: a compiler rounds otherwise than one operation at a time
    does."""
    found, loops = {}, {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        traced = jax.jit(lambda key: random.normal(key, shape)).trace(jax.random.key(5))
        loops[backend] = "scan" in str(traced.jaxpr)
        found[backend] = traced.lower().compile()(jax.random.key(5))
    assert loops == {"cpu": True, "gpu": False}
    np.testing.assert_allclose(found["gpu"], found["cpu"], rtol=1e-5, atol=1e-6)
