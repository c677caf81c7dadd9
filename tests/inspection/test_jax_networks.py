"""Modules of flax and equinox measured: their own numbers, by an independent run of the module, and
beside theory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_modules as modules
import numpy as np
import pytest
from jax_modules import STDS, WIDTH, ids, inputs, nnx

import sigprop as sp
from sigprop.inspection.network import READOUT_SEED
from sigprop.inspection.networks import networks

KEY = jax.random.key(0)


def measured(model: Any, example: Any, seeds: Any = (0,)) -> list[Any]:
    return networks(sp.read(model, example), seeds, lambda: None)


def by_hand(module: Any, x: Any) -> tuple[list[Any], list[Any], Any]:
    """States, n |dz/dh|^2 / n and the gradient of the first w, of a stack of MLPs."""
    v = np.random.default_rng(READOUT_SEED).standard_normal(x.shape) / x.shape[1] ** 0.5
    blocks = module.blocks

    def z(shifts: Any, kernel: Any) -> Any:
        h, states = x + shifts[0], []
        for k, block in enumerate(blocks):
            states.append(h)
            w = kernel if k == 0 else block.w.kernel[...]
            hidden = jnp.tanh(h @ w + block.w.bias[...])
            h = h + hidden @ block.x.kernel[...] + block.x.bias[...] + shifts[k + 1]
        return (jnp.asarray(v, jnp.float32) * h).sum(), [*states, h]

    shifts = [jnp.zeros_like(x) for _ in range(len(blocks) + 1)]
    with jax.numpy_rank_promotion("allow"):
        (of_states, of_w), states = jax.grad(z, (0, 1), has_aux=True)(
            shifts, blocks[0].w.kernel[...]
        )
    return states, [np.asarray(g, float) ** 2 for g in of_states], of_w


def test_a_module_as_it_is_against_a_run_by_hand():
    """States, cosines, writes and gradients equal those of the formulas, to 1e-5."""
    rngs = nnx.Rngs(3)
    module, x = modules.NnxStack([modules.NnxMlp(rngs) for _ in range(2)]), inputs()
    (network,) = measured(module, x)
    states, gradients, of_w = by_hand(module, x)
    variance = [np.mean(np.asarray(h, float) ** 2, axis=1) for h in states]
    close = {"rtol": 1e-5}
    np.testing.assert_allclose(network.variance, variance, **close)
    np.testing.assert_allclose(network.gradient, [g.sum(axis=1) for g in gradients], **close)
    written = np.mean((np.asarray(states[1]) - np.asarray(states[0])) ** 2, axis=1)
    np.testing.assert_allclose(network.write[0], written, rtol=1e-4)
    kernel = module.blocks[0].w.kernel[...]
    name = "blocks.0.w.kernel"
    assert network.second[name] == pytest.approx(float((kernel**2).mean()), rel=1e-5)
    expected = WIDTH * float((of_w**2).mean())
    assert network.weight_gradient[name] == pytest.approx(expected, rel=1e-4)
    one, other = (np.asarray(states[2][k], float) for k in range(2))
    cosine = one @ other / np.sqrt(one @ one * (other @ other))
    assert network.cosine[2, 0, 1] == pytest.approx(cosine, rel=1e-5)


def test_fresh_networks_are_drawn_anew_and_copies_stay_copies():
    """Other weights for every seed, the same for the same; equal keys stay equal."""
    build = lambda: modules.EqxStack([modules.EqxMlp(KEY) for _ in range(2)])  # noqa: E731
    first, second, again = measured(build, inputs(), (1, 2, 1))
    name, other = "blocks.0.w.weight", "blocks.1.w.weight"
    assert first.second[name] != second.second[name]
    assert first.second == again.second and first.second[name] == first.second[other]
    sizes = [network.second[name] / STDS["w"] ** 2 for network in (first, second)]
    assert all(abs(size - 1) < 5 * (2 / (2 * WIDTH**2)) ** 0.5 for size in sizes)


BUILDERS: dict[str, tuple[Callable[[], Any], Any]] = {
    "nnx": (lambda: modules.NnxScanned(nnx.Rngs(0)), ids()),
    "linen": (lambda: modules.LinenGpt(1), ids()),
    "equinox": (lambda: modules.EqxScanned(jax.random.split(KEY)), inputs()),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_module_beside_its_own_prediction(name: str):
    """16 networks of 32 features: no row rejected, at tolerances that 1/n asks for."""
    build, example = BUILDERS[name]
    wide = dict.fromkeys(("residual_variance", "write_variance", "gradient_variance"), 0.5)
    table = sp.inspect(build, example, seeds=16, tolerances=wide)
    assert table.verdict in ("confirmed", "inconclusive")
    assert {row["verdict"] for row in table} <= {"confirmed", "inconclusive"}
    rows = [row for row in table if row["quantity"] == "residual_variance"]
    assert all(abs(row["deviation"]) < 0.25 for row in rows)


def test_another_network_is_rejected():
    """The companion: a module held against one whose W is drawn half as wide."""
    narrow = lambda: jax.tree.map(lambda a: a * 0.5, modules.EqxMlp(KEY))  # noqa: E731
    other = sp.read(narrow, inputs())
    table = sp.compare(lambda: modules.EqxMlp(KEY), inputs(), against=other, seeds=16)
    assert table.verdict == "rejected"
