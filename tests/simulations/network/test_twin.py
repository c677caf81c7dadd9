"""A twin that is given a network's own averages is that network; what it is given is what its
averages are of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.agreement.finite_width.controlled import twin_of
from sigprop.agreement.finite_width.scatter import variance
from sigprop.description.averages import INPUTS, layout, matrices, size
from sigprop.description.rows import select
from sigprop.language.scalar import evaluate
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.network import precision, random
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import zero_probes
from sigprop.simulations.network.twin import Setting, Twin, control, needed
from sigprop.simulations.network.twins.uses import normals_of, steps, transposed_normals_of
from tests.helpers.twins import any_twin, flat, own_averages, own_twin

A = sp.architectures
WIDTH = 64
ROTARY: dict[str, Any] = {"tokens": 3, "head_dim": 4, "norm_kind": "rms"}
NETWORKS: dict[str, sp.Architecture] = {
    "one matrix": A.residual_mlp(depth=3, matrices=1, norm="none", activation="tanh"),
    "tied, tokens": A.looped_mlp(depth=2, loops=3, tokens=2, token_cosine=0.3, activation="gelu"),
    "biases": A.looped_mlp(depth=1, loops=2, tokens=2, activation="tanh", c_b=0.5),
    "tied attention": A.looped_transformer(depth=1, loops=2, **ROTARY),
    "untied attention": A.transformer(depth=2, **ROTARY),
}


def with_slots(arch: sp.Architecture, slots: tuple[int, ...]) -> sp.Architecture:
    """One whose applications have the weights of these slots."""
    return sp.Architecture("slots", arch.sub_blocks, slots, dict(arch.numbers))


def passed(arch: sp.Architecture, engine: Any, seed: int) -> Any:
    """(stem, trace, its normals, its biases) of one network."""
    probes = zero_probes(arch, engine.shapes, WIDTH, "float64")
    mixing = random.root(arch.input_gram)

    def one(key: Any) -> Any:
        keys = random.branches(key, 1 + len(engine.shapes))
        named = {s.name: k for s, k in zip(engine.shapes, keys[1:], strict=True)}
        drawn = engine.static.plan(engine.static, named)
        stem = mixing @ random.normal(keys[0], (arch.tokens, WIDTH), "float64")
        trace, _ = run(
            arch,
            engine.shapes,
            stem,
            drawn,
            state=drawn.start(),
            tables=engine.tables,
            probes=probes,
        )
        biases = {
            s.name: drawn.bias(s.name, jnp.arange(s.slots))
            for s in engine.shapes
            if len(s.shape) == 1
        }
        return stem, trace, normals_of(arch, drawn, trace.inputs), biases

    return jax.jit(one)(jax.random.key(seed))


def averages_of(engine: Any, twin: Twin, stem: Any, normals: Any, biases: Any) -> np.ndarray:
    setting = Setting(
        engine.arch, {s.name: s for s in engine.shapes}, frozenset(needed(engine.arch, twin))
    )
    return np.asarray(
        jax.jit(
            lambda *given: control(
                setting, *given, lambda weight, slot: biases[weight][slot], engine.tables
            )
        )(twin, stem, normals)
    )


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
@pytest.mark.parametrize("name", NETWORKS)
def test_given_a_networks_own_averages_it_is_that_network(name: str, engine: str):
    """Its normals are those that the engine used: no others give every average back."""
    arch = NETWORKS[name]
    rows = select(arch, ["residual_variance"])
    with precision.scope("float64"):
        found = engine_for(engine, arch, rows, WIDTH, 64, dtype="float64")
        stem, trace, normals, biases = passed(arch, found, 5)
        own = own_averages(arch, stem, trace)
        twin = own_twin(arch, own)
        assert needed(arch, twin) == tuple(name for name in layout(arch, 1) if name in own)
        averages = averages_of(found, twin, stem, normals, biases)
        others = {weight: g[..., ::-1] for weight, g in normals.items()}
        elsewhere = averages_of(found, twin, stem, others, biases)
    np.testing.assert_allclose(averages, flat(arch, own), rtol=1e-8, atol=1e-8)
    assert np.abs(elsewhere - flat(arch, own)).max() > 1e-3


MATRIX: dict[str, Any] = {"matrices": 1, "norm": "none", "activation": "tanh", "tokens": 2}
PULLED: dict[str, sp.Architecture] = {
    "untied": A.residual_mlp(depth=3, **MATRIX),
    "tied": A.looped_mlp(loops=3, **MATRIX),
}
PULLED["padded"] = with_slots(PULLED["tied"], (0, 1, 0))


def pulled_back(arch: sp.Architecture, engine: Any, seed: int) -> Any:
    """(trace, cotangents, normals of the transposed answers) of one network."""
    probes = zero_probes(arch, engine.shapes, WIDTH, "float64")

    def one(key: Any) -> Any:
        keys = random.branches(key, 2 + len(engine.shapes))
        named = {s.name: k for s, k in zip(engine.shapes, keys[2:], strict=True)}
        drawn = engine.static.plan(engine.static, named)
        stem, v = (random.normal(k, (arch.tokens, WIDTH), "float64") for k in keys[:2])

        def forward(probes: Any, state: Any) -> Any:
            trace, state = run(
                arch, engine.shapes, stem, drawn, state=state, tables=engine.tables, probes=probes
            )
            return (trace.taps, state), trace

        (_, state), vjp, trace = jax.vjp(forward, probes, drawn.start(), has_aux=True)
        back = jax.tree.map(lambda g: g[0], drawn.pull(vjp, v[None, None], state))
        return trace, back, transposed_normals_of(arch, drawn, trace.inputs, back.outputs)

    return jax.jit(one)(jax.random.key(seed))


@pytest.mark.parametrize("engine", ["dense", "matrix-free"])
@pytest.mark.parametrize("name", PULLED)
def test_transposed_answers_are_made_of_their_normals(name: str, engine: str):
    """Outside of what was asked W^T d is L g; within that g is a draw of its own."""
    arch = PULLED[name]
    with precision.scope("float64"):
        rows = select(arch, ["gradient_variance"])
        found = engine_for(engine, arch, rows, WIDTH, 64, dtype="float64")
        trace, back, normals = jax.device_get(pulled_back(arch, found, 3))
    # of one matrix, g_a - g_(a+1) = phi' W^T d
    states = np.concatenate([back.before, back.after[None]])
    came = (states[:-1] - states[1:]) / (1 - np.tanh(trace.lanes[0][:-1]) ** 2)
    numbers = {name: float(table[0]) for name, table in found.tables["numbers"].items()}
    std = (float(evaluate(arch.weights["w"].variance, numbers)) / WIDTH) ** 0.5
    for slot, used in enumerate(steps(arch, "w")):
        used, last_first = used[used >= 0], used[used >= 0][::-1]
        d, came_here = (x[last_first].reshape(-1, WIDTH) for x in (back.outputs["w"], came))
        g = normals["w"][slot, -len(used) :].reshape(-1, WIDTH)
        asked = np.linalg.qr(trace.inputs["w"][used].reshape(-1, WIDTH).T)[0]
        left = came_here - std * np.linalg.cholesky(d @ d.T) @ g
        outside = left - left @ asked @ asked.T
        assert np.abs(outside).max() < 1e-8 < 1e-2 < np.abs(left).max()
        assert 0.01 < np.sqrt(np.mean((g @ asked) ** 2)) < 3


THEORY: dict[str, sp.Architecture] = {
    "two matrices": A.residual_mlp(depth=3, matrices=2, activation="tanh", tokens=2),
    "tied": A.looped_mlp(loops=3, activation="tanh"),
    "attention": A.transformer(depth=1, tokens=3),
}


@pytest.mark.long
@pytest.mark.parametrize("name", THEORY)
def test_gradients_of_a_twin_scatter_as_predicted(name: str):
    """n Var of what is taken off is n_variance of ``fluctuations``, of every gradient by states,
    matrices, stem and read-out; what is left scatters less, and at the last state not at all."""
    arch, quantities = THEORY[name], ("gradient_variance", "weight_gradient")
    rows = select(arch, quantities)
    runner = engine_for("auto", arch, rows, 32, 1024, 4000, twin=twin_of(arch, rows))
    plain, without = np.split(sample(runner, 4000, 0), 2, axis=1)
    found, error = (
        32 * x for x in (variance(plain - without)[0], np.sqrt(variance(plain - without)[1]))
    )
    said = sp.fluctuations(arch, quantities)
    assert [(row.get("group"), row.get("token")) for row in said] == [
        (row.group, row.token) for row in rows
    ]
    predicted, half = (
        np.array([row[key] for row in said]) for key in ("n_variance", "n_variance_error")
    )
    assert (np.abs(found - predicted) <= 4 * np.hypot(error, half / 2.576)).all()
    assert (without.var(axis=0) < plain.var(axis=0) / 1.2).all()
    last = [row.quantity == "gradient_variance" and row.application == arch.depth for row in rows]
    assert (without.var(axis=0)[last] < 1e-10).all()


def test_only_the_averages_that_rows_look_at_are_needed():
    arch = NETWORKS["tied, tokens"]
    twin, shapes = any_twin(arch, 1), layout(arch, 1)
    starts = np.cumsum([0, *(np.prod(shape) for shape in shapes.values())])
    for name, start, end in zip(shapes, starts[:-1], starts[1:], strict=True):
        for place in (start, end - 1):
            looked = twin._replace(
                places=np.array([0, place]), rows=np.array([[0.0, 1.0]]), expected=np.zeros(2)
            )
            assert needed(arch, looked) == (name,)
    assert size(arch, 1) == starts[-1]


def test_slots_of_fewer_uses_are_padded():
    """Three applications of two slots: the second has one use, and nothing of it is anyone's."""
    arch = with_slots(
        A.looped_mlp(depth=1, loops=3, tokens=2, matrices=1, activation="tanh"), (0, 1, 0)
    )
    assert steps(arch, "w").tolist() == [[0, 2], [1, -1]]
    rows = select(arch, ["residual_variance"])
    for engine in ("dense", "matrix-free"):
        with precision.scope("float64"):
            found = engine_for(engine, arch, rows, WIDTH, 64, dtype="float64")
            stem, trace, normals, biases = passed(arch, found, 2)
            own = own_averages(arch, stem, trace)
            whole = own["inputs:w"].reshape(2, 2, 2) + np.diag([0, 1.0]) * (
                np.arange(2) == 1
            ).reshape(2, 1, 1)
            twin = own_twin(arch, own | {INPUTS + "w": whole})
            averages = averages_of(found, twin, stem, normals, biases)
        np.testing.assert_allclose(averages, flat(arch, own), rtol=1e-8, atol=1e-8)
        assert matrices(arch) == ("w",)
