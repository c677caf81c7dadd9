"""Draws: functions of (description, seed, stream, sample), whatever the chunk, the devices and
the storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import MEMORY, SIZES, engine, rows_of

import sigprop as sp
from sigprop.description.rows import select
from sigprop.description.sub_block import Head
from sigprop.simulations.engines import dense, monte_carlo
from sigprop.simulations.engines.dense import DenseEngine
from sigprop.simulations.engines.engine import Static, base_key
from sigprop.simulations.network.weights import draw, shapes

ROOT = Path(__file__).parents[3]
A = sp.architectures


@pytest.mark.parametrize("size", [1, 3, 8])
def test_rows_do_not_depend_on_the_chunk(size: int):
    arch = sp.architectures.looped_mlp(**SIZES)
    np.testing.assert_allclose(
        rows_of(engine(arch), 8, size), rows_of(engine(arch), 8, 4), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("size", [1, 2, 8])
def test_stem_and_weight_are_the_same_bit_for_bit_in_every_chunk(size: int):
    """At width 1 the rows are h_0^2 and (w h_0)^2: one stem number and one weight, with nothing
    to sum in another order."""
    arch = sp.architectures.mlp(depth=1, activation="linear", c_b=None)
    rows = select(arch, ["residual_variance"])
    assert np.array_equal(
        rows_of(engine(arch, 1, rows), 8, size), rows_of(engine(arch, 1, rows), 8, 4)
    )


@pytest.mark.parametrize("size", [1, 3, 8])
def test_draw_is_a_function_of_key_and_slot(size: int):
    """The normals of sample i and slot 1, drawn in chunks of any size, alone, and among all
    slots: bit for bit."""
    arch = sp.architectures.looped_mlp(depth=3, loops=2)
    shape = shapes(arch, 8)[0]
    key = base_key(arch, 8, 3, 0)
    every = jax.jit(jax.vmap(lambda i: draw(jax.random.fold_in(key, i), shape, jnp.uint32(1))))
    parts = [
        np.asarray(every(jnp.arange(a, min(a + size, 8), dtype=jnp.uint32)))
        for a in range(0, 8, size)
    ]
    alone = np.asarray(draw(jax.random.fold_in(key, np.uint32(5)), shape, np.uint32(1)))
    assert np.array_equal(np.concatenate(parts)[5], alone)
    assert np.array_equal(np.concatenate(parts), np.asarray(every(jnp.arange(8, dtype=jnp.uint32))))


def test_samples_seeds_streams_and_widths_draw_anew():
    """The companion: other numbers where the key should differ, so equality above is not a
    constant's."""
    arch = sp.architectures.mlp(depth=1, activation="linear", c_b=None)
    rows = select(arch, ["residual_variance"])
    found = [
        monte_carlo.sample(engine(arch, 1, rows), 4, seed, stream)
        for seed, stream in ((0, 0), (1, 0), (0, 1), (0, 2**31))
    ]
    values = np.concatenate([f[:, 0] for f in found])
    assert len(set(values)) == len(values)
    assert len({str(jax.random.key_data(base_key(arch, width, 0, 0))) for width in (8, 16)}) == 2


def test_four_devices_measure_what_one_does():
    """A process with four host devices, whose batches are spread over all of them, gives the
    same rows with either engine."""
    code = """
import jax, json, sys, sigprop as sp
from sigprop.simulations.engines.engine import _sharding
assert len(jax.devices()) == 4
assert [len(_sharding(n).device_set) for n in (8, 2, 1)] == [4, 2, 1]
arch = sp.architectures.looped_mlp(**json.loads(sys.argv[1]))
job = lambda engine: sp.measure(arch, width=16, samples=24, seed=3, engine=engine)
print(json.dumps({engine: list(job(engine)) for engine in ("dense", "matrix-free")}))
"""
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(SIZES)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for name, four in json.loads(done.stdout).items():
        one = sp.measure(
            sp.architectures.looped_mlp(**SIZES), width=16, samples=24, seed=3, engine=name
        )
        for key in ("value", "se"):
            np.testing.assert_allclose(
                [row[key] for row in four], [row[key] for row in one], rtol=1e-5, atol=1e-6
            )


def test_regenerated_weights_give_the_same_rows():
    arch = sp.architectures.looped_mlp(**SIZES, c_b=0.1)
    keeping, drawing = engine(arch), engine(arch)
    assert keeping.keep
    drawing.static = Static(arch, drawing.rows, 16, dense.Plan(keep=False))
    np.testing.assert_allclose(rows_of(drawing, 4, 4), rows_of(keeping, 4, 4), rtol=1e-5, atol=1e-6)


def test_an_untied_network_that_does_not_fit_is_regenerated():
    arch = sp.architectures.residual_mlp(depth=64)
    assert (
        not DenseEngine(arch, select(arch), 256, 2**24).keep
        and DenseEngine(arch, select(arch), 256, MEMORY).keep
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (A.vanilla(weights="gaussian"), A.vanilla(weights="orthogonal")),
        (
            A.variable_width(depth=4, schedule=(32, 16, 8, 32)),
            A.variable_width(depth=4, schedule=(32, 8, 16, 32)),
        ),
        (replace(A.nag(), head=Head(inverse_temperature=False)), A.nag()),
        (replace(A.vanilla(), head=Head(vocabulary=8)), A.vanilla()),
    ],
)
def test_networks_that_a_program_would_confuse_are_compiled_apart(
    one: sp.Architecture, other: sp.Architecture
):
    """What a program reads off the description while it is traced is part of its key; numbers
    that it is given are not."""
    rows = select(one, ["residual_variance"])

    def static(arch):
        return Static(arch, rows, 128, dense.Plan(keep=True))

    assert static(one) != static(other)
    assert static(A.vanilla(c_v=2)) == static(A.vanilla(c_v=3))
