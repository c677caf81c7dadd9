"""The dense engine: its draws, its gradients against explicit matrices, and how it reports what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop import Activate, Linear, Number, Read, State, SubBlock, Write
from sigprop.errors import Diverged, InputError
from sigprop.rows import Row, select
from sigprop.simulations import dense, monte_carlo
from sigprop.simulations.dense import DenseEngine, base_key
from sigprop.simulations.weights import draw, shapes

ROOT = Path(__file__).parents[2]
MEMORY = 2**30
SIZES = {"depth": 2, "loops": 2, "tokens": 2, "token_cosine": 0.3}


def engine(arch: sp.Architecture, width: int = 16, rows: tuple[Row, ...] | None = None) -> DenseEngine:
    return DenseEngine(arch, rows or select(arch), width, MEMORY)


def rows_of(found: DenseEngine, samples: int, size: int, seed: int = 3) -> np.ndarray:
    """[samples, R] in chunks of ``size``."""
    found.batch_size = size
    return monte_carlo.sample(found, samples, seed)


# Draws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 8])
def test_rows_do_not_depend_on_the_chunk(size: int):
    arch = sp.architectures.looped_mlp(**SIZES)
    np.testing.assert_allclose(rows_of(engine(arch), 8, size), rows_of(engine(arch), 8, 4), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 8])
def test_stem_and_weight_are_the_same_bit_for_bit_in_every_chunk(size: int):
    """At width 1 the rows are h_0^2 and (w h_0)^2: one stem number and one weight, with nothing to sum in another order."""
    arch = sp.architectures.mlp(depth=1, activation="linear", c_b=None)
    rows = select(arch, ["residual_variance"])
    assert np.array_equal(rows_of(engine(arch, 1, rows), 8, size), rows_of(engine(arch, 1, rows), 8, 4))


@pytest.mark.parametrize("size", [1, 3, 8])
def test_draw_is_a_function_of_key_and_slot(size: int):
    """The normals of sample i and slot 1, drawn in chunks of any size, alone, and among all slots: bit for bit."""
    arch = sp.architectures.looped_mlp(depth=3, loops=2)
    shape = shapes(arch, 8)[0]
    key = base_key(arch, 8, 3, 0)
    every = jax.jit(jax.vmap(lambda i: draw(jax.random.fold_in(key, i), shape, jnp.uint32(1))))
    parts = [np.asarray(every(jnp.arange(a, min(a + size, 8), dtype=jnp.uint32))) for a in range(0, 8, size)]
    alone = np.asarray(draw(jax.random.fold_in(key, np.uint32(5)), shape, np.uint32(1)))
    assert np.array_equal(np.concatenate(parts)[5], alone)
    assert np.array_equal(np.concatenate(parts), np.asarray(every(jnp.arange(8, dtype=jnp.uint32))))


def test_samples_seeds_streams_and_widths_draw_anew():
    """The companion: other numbers where the key should differ, so equality above is not a constant's."""
    arch = sp.architectures.mlp(depth=1, activation="linear", c_b=None)
    rows = select(arch, ["residual_variance"])
    found = [monte_carlo.sample(engine(arch, 1, rows), 4, seed, stream) for seed, stream in ((0, 0), (1, 0), (0, 1), (0, 2**31))]
    values = np.concatenate([f[:, 0] for f in found])
    assert len(set(values)) == len(values)
    assert len({str(jax.random.key_data(base_key(arch, width, 0, 0))) for width in (8, 16)}) == 2


def test_four_devices_measure_what_one_does():
    """A process with four host devices, whose batches are spread over all of them, gives the same rows."""
    code = """
import jax, json, sys, sigprop as sp
from sigprop.simulations.dense import _sharding
assert len(jax.devices()) == 4 and len(_sharding(8).device_set) == 4 and len(_sharding(2).device_set) == 2 and len(_sharding(1).device_set) == 1
print(sp.measure(sp.architectures.looped_mlp(**json.loads(sys.argv[1])), width=16, samples=24, seed=3).to_json())
"""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(SIZES)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    four, one = json.loads(done.stdout)["rows"], sp.measure(sp.architectures.looped_mlp(**SIZES), width=16, samples=24, seed=3)
    for key in ("value", "se"):
        np.testing.assert_allclose([row[key] for row in four], [row[key] for row in one], rtol=1e-5, atol=1e-6)


def test_regenerated_weights_give_the_same_rows():
    arch = sp.architectures.looped_mlp(**SIZES, c_b=0.1)
    keeping, drawing = engine(arch), engine(arch)
    assert keeping.keep
    drawing.keep, drawing.static = False, dense._Static(arch, drawing.rows, 16, False)
    np.testing.assert_allclose(rows_of(drawing, 4, 4), rows_of(keeping, 4, 4), rtol=1e-5, atol=1e-6)


def test_an_untied_network_that_does_not_fit_is_regenerated():
    arch = sp.architectures.residual_mlp(depth=64)
    assert not DenseEngine(arch, select(arch), 256, 2**24).keep and DenseEngine(arch, select(arch), 256, MEMORY).keep


# Gradients ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explicit() -> Iterator[tuple[list[Row], np.ndarray, list[dict[Any, float]]]]:
    """(rows, the engine's [samples, R], the same numbers by key from plain networks with explicit matrices in float64)."""
    arch, width, samples = sp.architectures.looped_mlp(**SIZES, residual_scale=0.6), 16, 3
    rows = select(arch)
    measured = rows_of(engine(arch, width, rows), samples, 4)
    key = base_key(arch, width, 3, 0)
    plain = [plain_network(arch, width, jax.random.fold_in(key, np.uint32(i)), scale=0.6) for i in range(samples)]
    yield list(rows), measured, plain


def plain_network(arch: sp.Architecture, width: int, key: Any, scale: float) -> dict[Any, float]:
    """h <- h + eps X_l relu(W_l h / rms(h)), blocks l = 0, 1 looped twice, two tokens; gradients with respect to W_l and X_l."""
    keys = [jax.random.fold_in(key, i) for i in range(4)]
    normal = [np.asarray(jax.random.normal(k, (2, width), dtype=jnp.float32), dtype=np.float64) for k in keys[:2]]
    matrices = {
        shape.name: np.stack([np.asarray(draw(k, shape, np.uint32(slot)), dtype=np.float64) for slot in range(2)])
        for shape, k in zip(shapes(arch, width), keys[2:], strict=True)
    }
    matrices = {"w": matrices["w"] / np.sqrt(width), "x": matrices["x"] * np.sqrt(2 / width)}
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem, v = (vectors * np.sqrt(values)) @ normal[0], normal[1]

    def states(theta: dict[str, Any], added: Any) -> list[Any]:
        """h_0 .. h_4 with a perturbation added at each of them."""
        found = [stem + added[0]]
        for a in range(4):
            h = found[-1]
            r = h / jnp.sqrt(jnp.mean(h * h, axis=1, keepdims=True))
            hidden = jnp.maximum(r @ theta["w"][a % 2].T, np.zeros((1, 1)))
            found.append(h + scale * hidden @ theta["x"][a % 2].T + added[a + 1])
        return found

    def z(theta: dict[str, Any], added: Any, readout: Any) -> Any:
        return jnp.sum(readout * states(theta, added)[-1]) / np.sqrt(width)

    with jax.enable_x64(True):
        none = np.zeros((5, 2, width))
        h = [np.asarray(s) for s in states(matrices, none)]
        by_weight, by_state = jax.grad(z, argnums=(0, 1))(matrices, none, v)
        each = [jax.grad(z, argnums=(0, 1))(matrices, none, np.eye(2)[:, t : t + 1] * v[0]) for t in range(2)]
    found: dict[Any, float] = {}
    for a, t in np.ndindex(5, 2):
        found["residual_variance", a, t] = float(np.mean(h[a][t] ** 2))
        found["gradient_variance", a, t] = float(np.sum(np.asarray(by_state)[a, t] ** 2))
    for a in range(5):
        found["token_covariance", a, 0] = float(np.mean(h[a][0] * h[a][1]))
        found["gradient_covariance", a, 0] = float(np.sum(np.asarray(by_state)[a, 0] * np.asarray(by_state)[a, 1]))
    for name, slot in (("w", 0), ("w", 1), ("x", 0), ("x", 1)):
        found["weight_gradient", slot, name] = float(np.sum(np.asarray(by_weight[name])[slot] ** 2)) / width
    for t, s in ((0, 0), (0, 1), (1, 1)):
        parts = {name: float(np.sum(np.asarray(each[t][0][name]) * np.asarray(each[s][0][name]))) / width for name in ("w", "x")}
        own = [np.asarray(each[token][1])[0] for token in (t, s)]
        parts["stem"] = float(np.sum(np.einsum("ai,bi->ab", *own) * arch.input_gram))
        parts["readout"] = float(np.mean(h[4][t] * h[4][s]))
        found |= {("ntk", t, s, name): value for name, value in parts.items()}
        found["ntk", t, s, None] = sum(parts.values())
    return found


def key_of(row: Row) -> tuple[Any, ...]:
    if row.quantity == "ntk":
        return "ntk", row.token, row.token_2, row.group
    return row.quantity, row.application, row.group if row.quantity == "weight_gradient" else row.token


@pytest.mark.parametrize(
    "quantity", ["residual_variance", "token_covariance", "gradient_variance", "gradient_covariance", "weight_gradient", "ntk"]
)
def test_rows_are_those_of_explicit_matrices(quantity: str, explicit: Any):
    """The low-rank weight gradients and the NTK are jax.grad's with respect to the matrices, network by network, to 1e-4."""
    rows, measured, plain = explicit
    wanted = [i for i, row in enumerate(rows) if row.quantity == quantity]
    assert wanted
    expected = np.array([[network[key_of(rows[i])] for i in wanted] for network in plain])
    np.testing.assert_allclose(measured[:, wanted], expected, rtol=1e-4, atol=1e-5)


def test_explicit_matrices_of_another_sample_are_not_these(explicit: Any):
    """The companion: the comparison above fails for the network of another sample."""
    rows, measured, plain = explicit
    wanted = [i for i, row in enumerate(rows) if row.quantity == "weight_gradient"]
    other = np.array([plain[1][key_of(rows[i])] for i in wanted])
    assert not np.allclose(measured[0, wanted], other, rtol=1e-2)


# What goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "application"),
    [(1e15, 2), (1e25, 1), (1e9, 3)],  # h_a ~ scale^a; <h, h> leaves float32 beyond h = 1.8e19
)
def test_an_overflowing_network_is_reported_and_never_nan(scale: float, application: int):
    arch = sp.architectures.residual_mlp(depth=6, norm="none", residual_scale=scale)
    table = sp.measure(arch, width=16, samples=4)
    assert f"diverged at application {application}" in (table.notes or {})["diverged"]
    for row in table:
        assert all(row[key] is None or np.isfinite(row[key]) for key in ("value", "se"))
        if row["quantity"] == "residual_variance":
            assert (row["value"] is None) == (row["application"] >= application)
    assert "NaN" not in table.to_json() and json.loads(table.to_json())["diverged"]
    with pytest.raises(Diverged, match=f"application {application}"):
        monte_carlo.sample(engine(arch), 4, 0)


def test_a_gradient_that_overflows_is_reported():
    """A stem of variance 1e-37 under a norm: states are fine, dz/dh_0 is beyond float32."""
    arch = sp.architectures.residual_mlp(depth=2, activation="linear", input_gram=1e-37, c_w=1e3, c_x=1e3)
    table = sp.measure(arch, width=16, samples=4)
    values = {(row["quantity"], row.get("application")): row["value"] for row in table if row.get("application_2") is None}
    assert values["residual_variance", 2] > 1e5 and values["gradient_variance", 2] > 0.1 and values["gradient_variance", 0] is None
    assert (table.notes or {})["diverged"] == "gradients of networks diverged (float32)"
    with pytest.raises(Diverged):
        monte_carlo.sample(engine(arch), 4, 0)


def test_a_network_that_stays_finite_is_not_reported():
    table = sp.measure(sp.architectures.residual_mlp(depth=3, norm="none", residual_scale=100.0), width=16, samples=4)
    assert not table.notes and all(row["value"] is not None for row in table)


def test_cosines_of_large_states_do_not_overflow():
    """cos(h_2, h_3) and cos(w_2, w_3) at |h| ~ 1e15 are those at |h| ~ 1e9: the branch is linear, only the scale differs."""
    rows = {"quantities": ["state_cosine", "write_cosine"], "applications": [2, 3]}
    small, large = (
        sp.measure(sp.architectures.looped_mlp(loops=3, norm="none", activation="linear", residual_scale=s), width=16, samples=4, **rows) for s in (1e3, 1e5)
    )
    for one, other in zip(small, large, strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-2) and abs(one["value"]) > 1e-3


def test_a_dead_layer_has_cosine_zero():
    """At width 2 every relu of a layer is off in a quarter of the networks: the write is zero, its cosine 0 and not 0/0."""
    arch = sp.architectures.residual_mlp(depth=2)
    rows = select(arch, ["write_cosine"])
    found = monte_carlo.sample(engine(arch, 2, rows), 64, 0)
    assert np.isfinite(found).all() and (found == 0).mean() > 0.1


def test_identical_tokens():
    """A singular input Gram: both tokens are one network's, every row of a pair equals the diagonal's."""
    table = sp.measure(sp.architectures.looped_mlp(depth=1, loops=3, tokens=2, token_cosine=1.0), width=32, samples=8)
    value = {(row["quantity"], row["application"], row["token"]): row["value"] for row in table if row["quantity"] in ("residual_variance", "token_covariance")}
    for a in range(4):
        same = [value["residual_variance", a, 0], value["residual_variance", a, 1], value["token_covariance", a, 0]]
        assert np.isfinite(same).all() and np.ptp(same) < 1e-4 * same[0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"engine": "matrix-fre"}, "engine='matrix-fre'"),
        ({"width": 0}, "width=0; accepted: an integer from 1"),
        ({"width": 2.5}, "width=2.5; accepted"),
        ({"width": 16.0}, "width=16.0; accepted"),
        ({"width": "wide"}, "width=wide; accepted"),
        ({"width": float("nan")}, "width=nan; accepted"),
        ({"samples": 1}, "samples=1; accepted: an integer from 2"),
        ({"samples": True}, "samples=True; accepted"),
        ({"seed": -1}, "seed=-1; accepted: an integer from 0"),
        ({"memory_mib": 0}, "memory_mib=0; accepted"),
        ({"quantities": ["residual_varianc"]}, "quantity='residual_varianc'; did you mean 'residual_variance'"),
        ({"applications": [9]}, "applications=9; accepted"),
    ],
)
def test_bad_input_names_the_parameter(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        sp.measure(sp.architectures.looped_mlp(), **given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_whole_numbers_of_other_types_are_sizes():
    arch = sp.architectures.mlp(depth=1)
    found = sp.measure(arch, width=np.int64(16), samples=np.int64(4), seed=np.int32(1))
    assert [row["value"] for row in found] == [row["value"] for row in sp.measure(arch, width=16, samples=4, seed=1)]
    found.to_json()


def test_a_width_that_gives_no_whole_number_of_rows_is_bad_input():
    from fractions import Fraction

    hidden = Linear("w", Read(), Number("c_w"), rows=Fraction(3, 2))
    block = SubBlock(State(0), Linear("x", Activate("relu", hidden), Number("c_x")), (State(0) + Write(),))
    arch = sp.Architecture("wide", (block,), (0, 1), numbers={"c_w": 1.0, "c_x": 2.0})
    with pytest.raises(InputError, match="width=5"):
        sp.measure(arch, width=5, samples=2)
    assert sp.measure(arch, width=6, samples=2).rows


def test_a_dead_branch_has_norm_zero_not_nan():
    """Sandwich norm of a write that is exactly 0 (relu units all dead, likely at width 2): the convention is 0/0 = 0."""
    arch = sp.architectures.residual_mlp(depth=6, norm="sandwich", residual_scale=1)
    table = sp.measure(arch, width=2, samples=64, quantities=["residual_variance"])
    assert not table.notes and all(row["value"] is not None for row in table)


def test_several_bands_are_refused():
    from dataclasses import replace

    with pytest.raises(InputError, match="bands"):
        sp.measure(replace(sp.architectures.mlp(depth=1), bands=(0.5, 0.5)), width=8, samples=2)
