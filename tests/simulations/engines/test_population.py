"""Rows without a twin's deviations: the mean of networks for any numbers, with smaller errors
where they are the right ones."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from long_cases import apart

import sigprop as sp
from sigprop.description.averages import layout
from sigprop.description.rows import select
from sigprop.description.sub_block import Readout
from sigprop.errors import InputError
from sigprop.language.activations import find
from sigprop.language.expression import Activate, Normalise, Read, State
from sigprop.simulations.engines import population
from sigprop.simulations.engines.engine import Engine
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.measure import measure
from sigprop.simulations.network.twin import Twin
from tests.helpers.twins import any_twin

A = sp.architectures
ROWS = ["residual_variance"]
GRADIENTS = [*ROWS, "gradient_variance", "weight_gradient"]
TANH = find("tanh")
NETWORKS: dict[str, tuple[sp.Architecture, int, str]] = {
    "mlp": (A.residual_mlp(depth=2, activation="tanh", tokens=2), 16, "matrix-free"),
    "dense": (A.residual_mlp(depth=2, activation="tanh", tokens=2), 16, "dense"),
    "tied": (A.looped_mlp(depth=2, loops=2, tokens=2, matrices=1), 16, "matrix-free"),
    "more queries than width": (A.looped_mlp(loops=5, matrices=1, tokens=2), 8, "dense"),
    "biases": (A.looped_mlp(loops=2, activation="tanh", c_b=0.5), 12, "matrix-free"),
    "attention": (
        A.looped_transformer(depth=1, loops=2, tokens=2, head_dim=4, mlp_ratio=2),
        16,
        "matrix-free",
    ),
    "keys of several heads": (
        A.transformer(depth=1, tokens=2, heads=4, kv_heads=2, head_dim=4, mlp_ratio=1),
        16,
        "matrix-free",
    ),
    "values that are read": (A.value_skipinit(depth=1, tokens=2, head_dim=4), 16, "dense"),
    "a lane of the stem": (A.residual_mlp(depth=2, tokens=2), 16, "matrix-free"),
    "norms in the rule": (A.nag(depth=1, tokens=2, head_dim=4), 16, "matrix-free"),
    "two parts of a stem": (
        replace(
            A.residual_mlp(depth=1, tokens=2),
            input_gram={"a": (1.0, np.eye(2)), "b": (0.5, np.ones((2, 2)))},
            stem_parts={},
        ),
        16,
        "matrix-free",
    ),
}
SHALLOW = A.residual_mlp(depth=2, activation="tanh", tokens=2)
BACK: dict[str, tuple[sp.Architecture, int, str]] = {
    "back": (SHALLOW, 16, "matrix-free"),
    "dense, back": (SHALLOW, 16, "dense"),
    "tied, back": (
        A.looped_mlp(depth=2, loops=2, tokens=2, activation="tanh", matrices=1),
        16,
        "matrix-free",
    ),
    "tied and dense, back": (A.looped_mlp(loops=3, activation="tanh", c_b=0.5), 16, "dense"),
    "attention, back": (
        A.transformer(depth=1, tokens=2, heads=4, kv_heads=2, head_dim=4, mlp_ratio=1),
        16,
        "dense",
    ),
    "tied attention, back": (
        A.looped_transformer(depth=1, loops=2, tokens=2, head_dim=4, mlp_ratio=2),
        16,
        "matrix-free",
    ),
    "read out in two places": (
        replace(
            SHALLOW, readout=Readout("mean", Normalise(State(0)), Activate(TANH, Read()), (1, -1))
        ),
        16,
        "matrix-free",
    ),
}
"""Networks whose twins are pulled back too."""
NETWORKS |= BACK
SAMPLES, SIGMAS = 4000, 4


@functools.cache
def engine_of(name: str) -> Engine:
    arch, width, engine = NETWORKS[name]
    rows = select(arch, GRADIENTS if name in BACK else ROWS)
    more = int(name in ("a lane of the stem", "back"))
    twin = any_twin(arch, len(rows), more=more, back=name in BACK)
    return engine_for(engine, arch, rows, width, 64, twin=twin)


def deviations(name: str) -> tuple[np.ndarray, np.ndarray, population.Expected]:
    """(mean of rows . (averages - expected) over networks, its error, that of a population)."""
    found = engine_of(name)
    values, count = sample(found, SAMPLES, 1), len(found.rows)
    taken = values[:, :count] - values[:, count:]
    error = taken.std(axis=0, ddof=1) / SAMPLES**0.5
    return taken.mean(axis=0), error, population.expected(found, 1, error / 3)


LONG = (
    *("tied attention, back", "attention", "keys of several heads", "values that are read"),
    *("tied and dense, back", "two parts of a stem", "read out in two places"),
)
"""Cases that other cases have parts of."""


@pytest.mark.parametrize("name", apart(NETWORKS, LONG))
def test_what_is_taken_off_is_on_average_what_is_added(name: str):
    """So means are those of networks, whatever the numbers are; leave out what is added, and they
    are not."""
    mean, error, expected = deviations(name)
    assert (expected.error <= error / 3).all() and (error > 0).all()
    off = np.abs(mean - expected.value) / np.hypot(error, expected.error)
    assert off.max() < SIGMAS
    assert (np.abs(mean) / error).max() > 10 * SIGMAS


ARCH = A.residual_mlp(
    depth=1, activation="tanh", matrices=1, norm="none", residual_scale=0.7, c_w=1.5
)
GAIN = 0.7**2 * 1.5


def right_twin() -> Twin:
    """Of one application and one token: q_1 = q_0 + gain <phi, phi>."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    square = float(w @ np.tanh(x) ** 2 / w.sum())
    shapes = layout(ARCH, 1)
    starts = dict(zip(shapes, np.cumsum([0, *map(np.prod, shapes.values())]), strict=False))
    one = np.ones((1, 1, 1, 1))
    return Twin(
        np.ones((1, 1)),
        one,
        one,
        np.full((1, 1, 1), 0.7),
        np.ones((1, 1, 1)),
        {"w": np.full((1, 1, 1), square**0.5)},
        {},
        np.array([starts["states"], starts["states"] + 1, starts["inputs:w"]]),
        np.array([1, 1 + GAIN * square, square]),
        np.array([[1, 0, 0], [0, 1, GAIN]]),
    )


@pytest.mark.parametrize("engine", ["matrix-free", "dense"])
def test_the_right_numbers_leave_little_variance(engine: str):
    """And less the wider a network is; a row that is all deviation keeps none."""
    given: dict[str, Any] = {"quantities": ROWS, "engine": engine}
    ratios = []
    for width, samples in ((64, 400), (256, 400)):
        table = measure(ARCH, width=width, samples=samples, control=right_twin(), **given)
        plain = measure(ARCH, width=width, samples=samples, **given)
        for row, other in zip(table, plain, strict=True):
            assert row["se_of_control"] < 0.4 * max(row["se"], other["se"] / 100)
            assert abs(row["value"] - other["value"]) < SIGMAS * np.hypot(row["se"], other["se"])
            assert row["se"] < other["se"] / 10
        ratios.append(table[1]["variance_ratio"])
        assert table[0]["variance_ratio"] > 1e6
    assert ratios[0] > 100 and ratios[1] > 2 * ratios[0]


def right_twin_back() -> Twin:
    """Likewise of the gradients: d = 0.7 v comes to the matrix's outputs, g_0 = v + phi' W^T d."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    square, slope = (float(w @ f**2 / w.sum()) for f in (np.tanh(x), 1 - np.tanh(x) ** 2))
    shapes = layout(ARCH, 1)
    starts = dict(zip(shapes, np.cumsum([0, *map(np.prod, shapes.values())]), strict=False))
    of = ("gradients", "inputs:w", "cotangents:w")
    return right_twin()._replace(
        behind={"w": np.full((1, 1, 1), 0.7)},
        places=np.array([starts[of[0]], starts[of[0]] + 1, starts[of[1]], starts[of[2]]]),
        expected=np.array([1 + GAIN * slope, 1, square, 0.7**2]),
        rows=np.array([[1, 0, 0, 1.5 * slope], [0, 1, 0, 0], [0, 0, 0.7**2, square]]),
    )


@pytest.mark.parametrize("engine", ["matrix-free", "dense"])
def test_the_right_numbers_leave_little_variance_of_gradients(engine: str):
    """Rows g_0, g_1 and the matrix's own, <x, x> <d, d>; with signs of the matrix's part turned,
    more is left."""
    twin = right_twin_back()
    rows = [
        *select(ARCH, ["gradient_variance"]),
        *(row for row in select(ARCH, ["weight_gradient"]) if row.group == "w"),
    ]
    turned = twin._replace(rows=twin.rows * np.array([1, 1, -1, -1]))
    ratios = []
    for width, given in ((64, twin), (256, twin), (256, turned)):
        runner = engine_for(engine, ARCH, tuple(rows), width, 64, twin=given)
        plain, without = np.split(sample(runner, 400, 0), 2, axis=1)
        ratios.append(plain.var(axis=0) / np.maximum(without.var(axis=0), 1e-12))
        off, error = (plain - without).mean(axis=0), (plain - without).std(axis=0) / 20
        found = population.expected(runner, 0, error / 3)
        assert (np.abs(off - found.value) < SIGMAS * np.hypot(error, found.error) + 1e-6).all()
        # the numbers are the limit's
        assert (np.abs(found.value) < SIGMAS * found.error + 1e-5).all()
    assert (ratios[0][[0, 2]] > 10).all() and ratios[0][1] > 1e6
    assert (ratios[1][[0, 2]] > 2 * ratios[0][[0, 2]]).all()
    assert (ratios[2][[0, 2]] < ratios[1][[0, 2]] / 3).all()


def test_in_double_precision_too():
    given: dict[str, Any] = {"quantities": ROWS, "engine": "matrix-free", "control": right_twin()}
    one, two = (
        measure(ARCH, width=64, samples=100, dtype=dtype, **given)
        for dtype in ("float32", "float64")
    )
    for row, other in zip(one, two, strict=True):
        assert abs(row["value"] - other["value"]) < 1e-5
        assert row["dtype"] != other["dtype"] and 0 < other["se"] < 1e-3


def test_chunks_change_nothing_but_rounding():
    engine = engine_of("tied")
    whole, size = sample(engine, 24, 3), engine.batch_size
    engine.batch_size = 4
    chunked = sample(engine, 24, 3)
    engine.batch_size = size
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-5)


def test_networks_are_those_without_a_twin():
    for name in ("dense", "mlp"):
        twin = engine_of(name)
        plain = engine_for(twin.name, twin.arch, twin.rows, twin.width, 64)
        both = sample(twin, 8, 3)[:, : len(twin.rows)], sample(plain, 8, 3)
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)


def test_a_population_says_the_error_that_it_has(monkeypatch: pytest.MonkeyPatch):
    """Its error is wanted smaller than it may take units for: it says so."""
    engine = engine_of("attention")
    wanted = np.full(len(engine.rows), 1e-9)
    monkeypatch.setattr(population, "MOST", 2**22)
    found = population.expected(engine, 0, wanted)
    assert (found.error > wanted).all()
    others = [population.expected(engine, seed, wanted) for seed in range(1, 9)]
    spread = np.std([other.value for other in others], axis=0, ddof=1)
    assert 0.4 < np.sqrt(np.mean((spread / found.error) ** 2)) < 2.5


def test_dimensions_beyond_a_points_are_pseudo_random(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(population, "DIMENSIONS", 3)
    mean, error, expected = deviations("mlp")
    assert (np.abs(mean - expected.value) / np.hypot(error, expected.error)).max() < SIGMAS


NORMED = replace(
    ARCH, sub_blocks=(replace(ARCH.sub_blocks[0], branch=Normalise(ARCH.sub_blocks[0].branch)),)
)
TWIN, PULLED = (any_twin(ARCH, 2, back=back) for back in (False, True))
NAN = np.full((1, 1), np.nan)


@pytest.mark.parametrize(
    ("arch", "given", "said"),
    [
        (ARCH, {"control": 3}, "control=int; accepted: a Twin, or None"),
        (
            ARCH,
            {"quantities": ["gradient_variance"]},
            r"control.rows of gradient_variance.* has no twin; accepted: zeros",
        ),
        (
            ARCH,
            {"quantities": ["gradient_variance"], "control": PULLED._replace(behind={})},
            r"control.behind of \[\]; accepted: of all matrices",
        ),
        (
            ARCH,
            {"quantities": ["ntk"], "control": any_twin(ARCH, 4, back=True)},
            "control.rows of ntk.* has no twin; accepted: zeros",
        ),
        (ARCH, {"control": PULLED}, "control.rows look at gradients"),
        (
            ARCH,
            {"control": PULLED._replace(behind={"w": np.ones((1, 2, 2))})},
            r"control.behind\['w'\] of shape",
        ),
        (
            ARCH,
            {"control": PULLED._replace(behind={"x": np.ones((1, 1, 1))})},
            r"control.behind of \['x'\]; accepted: of \['w'\], or none",
        ),
        (
            ARCH,
            {"control": TWIN._replace(readout_reads=np.ones((2, 1, 1)))},
            "control.readout_reads of shape",
        ),
        (A.residual_mlp(weights="orthogonal"), {}, "no twin of weights=orthogonal"),
        (A.variable_width(), {}, "no twin of .* bands of coordinates"),
        (NORMED, {}, r"no twin of a norm inside a branch \(Normalise\)"),
        (A.deepscalelm(head_dim=4, dropout=0.1), {}, "no twin of networks with dropout"),
        (A.nag(modulator="learned"), {}, "no twin of modulators"),
        (ARCH, {"control": TWIN._replace(initial=np.ones((1, 2)))}, "control.initial of shape"),
        (ARCH, {"control": TWIN._replace(initial=NAN)}, "control.initial is not finite"),
        (ARCH, {"control": TWIN._replace(rows=np.ones((1, 2)))}, "control.rows of shape"),
        (ARCH, {"control": TWIN._replace(factors={})}, r"control.factors of \[\]; accepted: of"),
        (
            ARCH,
            {"control": TWIN._replace(factors={"w": np.ones((1, 2, 2))})},
            r"control.factors\['w'\] of shape",
        ),
        (
            ARCH,
            {"control": TWIN._replace(places=TWIN.places + 1000)},
            "control.places of int.* accepted: whole numbers from 0 to",
        ),
        (
            ARCH,
            {"control": TWIN._replace(places=TWIN.places * 1.0)},
            "control.places of float64",
        ),
    ],
)
def test_refused(arch: sp.Architecture, given: dict[str, Any], said: str):
    settings: dict[str, Any] = {"quantities": ROWS, "control": TWIN} | given
    with pytest.raises(InputError, match=said) as raised:
        measure(arch, width=16, samples=4, **settings)
    assert "\n" not in str(raised.value)
