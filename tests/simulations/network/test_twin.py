"""A twin that is given a network's own averages is that network; what it is given is what its
averages are of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.averages import INPUTS, layout, matrices, size
from sigprop.description.rows import select
from sigprop.simulations.engines.monte_carlo import engine_for
from sigprop.simulations.network import precision, random
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import zero_probes
from sigprop.simulations.network.twin import Setting, Twin, control, needed
from sigprop.simulations.network.twins.uses import normals_of, steps
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
    arch = A.looped_mlp(depth=1, loops=3, tokens=2, matrices=1, activation="tanh")
    arch = sp.Architecture(
        "padded", arch.sub_blocks, (0, 1, 0), {k: arch.numbers[k] for k in arch.numbers}
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
