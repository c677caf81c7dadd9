"""What is read of modules of flax.nnx, flax.linen and equinox equals a description by hand in every
prediction, at parameters that are no defaults."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax_modules as modules
import numpy as np
import pytest
from descriptions import predicted
from jax_modules import BIASES, STDS, WIDTH, c, ids, inputs, nnx, transformer

import sigprop as sp
from sigprop.language.activations import ACTIVATIONS

QUANTITIES = ("residual_variance", "token_covariance", "gradient_variance", "weight_gradient")
KEY = jax.random.key(0)


def assert_alike(one: Any, other: Any, quantities: Any = QUANTITIES) -> None:
    """Every prediction agrees to 1e-6 of its value: graphs hold float32. Names of groups differ."""
    tables = [predicted(arch, quantities) for arch in (one, other)]
    alone = [{key: v for key, v in table.items() if key[-1] is None} for table in tables]
    groups = [sorted(v for key, v in table.items() if key[-1] is not None) for table in tables]
    assert alone[0] == {
        key: pytest.approx(value, rel=1e-6, abs=1e-12) for key, value in alone[1].items()
    }
    assert groups[0] == pytest.approx(groups[1], rel=1e-6)
    assert len(alone[0]) > len(quantities) and any(alone[0].values())


def mlp(depth: int, slots: list[int] | None = None) -> Any:
    """h + X tanh(W h + b) + b' by hand, on the example's rows."""
    n = sp.Number
    hidden: Any = sp.Linear("w", sp.Read(), n("c_w"), Fraction(2))
    hidden = hidden + sp.Bias("w_b", n("c_wb"), Fraction(2))
    out: Any = sp.Linear("x", sp.Activate(ACTIVATIONS["tanh"], hidden), n("c_x"))
    block = sp.SubBlock((sp.State(0),), out + sp.Bias("x_b", n("c_xb")), sp.State(0) + sp.Write())
    numbers = {"c_w": c("w"), "c_x": c("x", 2 * WIDTH)}
    numbers |= {"c_wb": BIASES["w"] ** 2, "c_xb": BIASES["x"] ** 2}
    tables = dict.fromkeys(("w", "w_b", "x", "x_b"), slots or list(range(depth)))
    x = np.asarray(inputs(), np.float64)
    return sp.Architecture("by hand", (block,), tables, numbers, input_gram=x @ x.T / WIDTH)


def nnx_stack() -> Any:
    rngs = nnx.Rngs(0)
    return modules.NnxStack([modules.NnxMlp(rngs) for _ in range(2)])


MLPS: dict[str, tuple[Callable[[], Any], str]] = {
    "nnx": (nnx_stack, "blocks.0.x"),
    "linen": (modules.LinenMlp, "x_0"),
    "equinox": (
        lambda: modules.EqxStack([modules.EqxMlp(key) for key in jax.random.split(KEY)]),
        "blocks.0.x",
    ),
    "equinox, lax.scan": (lambda: modules.EqxScanned(jax.random.split(KEY)), "blocks.x[0]"),
}


@pytest.mark.parametrize("name", MLPS)
def test_a_residual_mlp(name: str):
    """Biases that are drawn, given rows as the stem; paths are the module's."""
    build, first = MLPS[name]
    found = sp.read(build, inputs())
    assert (found.width, found.paths[0]) == (WIDTH, first)
    assert_alike(found.architecture, mlp(2))


GPTS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "nnx": (lambda: modules.NnxGpt(nnx.Rngs(0)), {}),
    "nnx.scan": (lambda: modules.NnxScanned(nnx.Rngs(0)), {}),
    "linen": (modules.LinenGpt, {"c_q": c("v"), "c_k": c("v")}),
    "linen.scan": (lambda: modules.LinenGpt(scan="own"), {"c_q": c("v"), "c_k": c("v")}),
    "equinox": (lambda: modules.EqxGpt(KEY), {"norm_eps": 1e-5}),
}


@pytest.mark.parametrize("name", GPTS)
def test_a_gpt(name: str):
    """LayerNorm, causal attention of the library's own, a GELU MLP, embeddings, a last norm."""
    build, changed = GPTS[name]
    found = sp.read(build, ids(batch=name != "equinox"))
    assert len(found.paths) == 4 and found.width == WIDTH
    assert_alike(found.architecture, transformer(2, **changed))


def test_another_number_would_be_found():
    """The companion: an epsilon or a variance that differs is no agreement."""
    found = sp.read(lambda: modules.NnxGpt(nnx.Rngs(0), 1), ids()).architecture
    for changed in ({"norm_eps": 1e-2}, {"c_v": c("v") * 1.001}):
        with pytest.raises(AssertionError):
            assert_alike(found, transformer(1, **changed), ("residual_variance",))


LOOPS: dict[str, Callable[[], Any]] = {
    "nnx.scan": lambda: modules.NnxLoop(nnx.Rngs(0)),
    "linen.scan": modules.LinenLoop,
    "fori_loop": lambda: modules.EqxLoop(KEY),
    "a loop of Python": lambda: modules.NnxStack([modules.NnxMlp(nnx.Rngs(0))] * 2),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_over_one_block_is_tied(name: str):
    """What a loop takes whole is one slot of every round."""
    found = sp.read(LOOPS[name], inputs())
    assert_alike(found.architecture, mlp(2, [0, 0]))
    assert any("one parameter of 2 applications" in finding for finding in found.findings)


def test_a_tied_gpt():
    """One block of attention and MLP, looped by either scan."""
    for build in (
        lambda: modules.NnxScanned(nnx.Rngs(0), tied=True),
        lambda: modules.LinenGpt(scan="tied"),
    ):
        found = sp.read(build, ids()).architecture
        assert found.depth == 4 and found.kind_table == (0, 1, 0, 1)
        assert all(set(table) == {0} for table in found.slots.values())


def test_layers_drawn_with_one_key_are_copies():
    """Equal at initialisation, and predicted so: rows of a stacked parameter, and modules."""
    stacked = sp.read(lambda: modules.EqxScanned(jax.random.split(KEY, 1).repeat(2)), inputs())
    apart = sp.read(lambda: modules.EqxStack([modules.EqxMlp(KEY) for _ in range(2)]), inputs())
    expected = mlp(2, [0, 0])
    for found in (stacked, apart):
        assert_alike(found.architecture, expected, ("residual_variance", "gradient_variance"))
    assert any("start as copies" in finding for finding in apart.findings)


def test_a_module_as_it_is():
    """The second moments of what it holds: near those of its laws, and said to be measured."""
    module = nnx_stack()
    found = sp.read(module, inputs())
    assert found.make is None
    for name, parameter in found.built.parameters.items():
        own, kind = name.split(".")[-2:]
        sd = STDS[own] if kind == "kernel" else BIASES[own]
        count = np.prod(parameter.shape)
        assert parameter.law.kind == "measured"
        assert abs(parameter.law.variance / sd**2 - 1) < 5 * (2 / count) ** 0.5


def test_a_module_of_linen_holds_nothing_and_is_a_function_of_itself():
    """Its laws are those of its initialisers; equinox's and nnx's are measured."""
    found = sp.read(modules.LinenMlp(1), np.asarray(inputs()))
    assert found.make is not None
    assert {p.law.kind for p in found.built.parameters.values()} == {"normal"}
    given = sp.read(modules.EqxMlp(KEY), np.asarray(inputs()))
    assert given.make is None
    assert {p.law.kind for p in given.built.parameters.values()} == {"measured"}


NETWORKS: dict[str, Callable[[int], Any]] = {
    "nnx": lambda seed: (lambda rngs: modules.NnxMlp(rngs, 128)(inputs(128)))(nnx.Rngs(seed)),
    "linen": lambda seed: (
        lambda made: made.init_with_output(jax.random.key(seed), inputs(128))[0]
    )(modules.LinenMlp(1, 128)),
    "equinox": lambda seed: modules.EqxMlp(jax.random.key(seed), 128)(inputs(128)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_module_itself_has_the_variance_that_is_predicted(name: str):
    """One block, 128 features, 64 seeds: within 4 standard errors (false alarms: 6e-5 each) of the
    prediction, whose 1/n is less; one that is 5 % off would not be."""
    build: dict[str, Callable[[], Any]] = {
        "nnx": lambda: modules.NnxMlp(nnx.Rngs(0), 128),
        "linen": lambda: modules.LinenMlp(1, 128),
        "equinox": lambda: modules.EqxMlp(KEY, 128),
    }
    found = sp.read(build[name], inputs(128)).architecture
    table = sp.predict(found, ["residual_variance"])
    theory = np.mean([row["value"] for row in table if row["application"] == 1])
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        states = [np.asarray(NETWORKS[name](seed), np.float64) for seed in range(1, 65)]
    values = np.array([(state**2).mean() for state in states])
    error = values.std(ddof=1) / 8
    assert abs(values.mean() - theory) < 4 * error
    assert abs(values.mean() - theory * 1.05) > 4 * error
