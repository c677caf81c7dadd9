"""A residual MLP of flax.nnx, trained at a base's sizes and at four times the width and the depth
as prescribed: its output changes as much, and not with an exponent left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained import Ratio, planted, ratio

import sigprop as sp
from sigprop.errors import InputError

nnx: Any = pytest.importorskip("flax.nnx")
import nnx_training as loop  # noqa: E402

SEEDS = 8


@pytest.fixture(autouse=True)
def promotion_that_flax_needs(strict_numerics: None) -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_output_changes_alike_and_not_with_an_exponent_left_out():
    """20 steps of AdamW; without depth's power in the matrices' rates not."""
    base = loop.train(loop.prescribed(loop.BASE, "adamw"), SEEDS)
    assert all(after < before for _, before, after in base)
    moved = [change for change, _, _ in base]

    def compared(plan: sp.Prescription) -> Ratio:
        return ratio(moved, [change for change, _, _ in loop.train(plan, SEEDS)])

    found = compared(loop.prescribed(loop.TARGET, "adamw"))
    assert found.equal, found
    plan = loop.prescribed({**loop.BASE, "depth": loop.TARGET["depth"]}, "adamw")
    left_out = 1 / plan.row("w", "learning_rate")["ratio"]
    wrong = compared(planted(plan, ("w", "x"), left_out))
    assert not wrong.equal, wrong


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_a_module_its_state_and_its_arrays_are_trained_alike(optimizer: str):
    """What nnx.Optimizer does, which starts on variables and goes on with arrays, and what optax
    does with the arrays."""
    import optax

    plan = loop.prescribed(loop.BASE, optimizer)
    x, y = jnp.ones((2, loop.INPUTS)), jnp.ones((2, loop.OUTPUTS))
    after = []
    for form in ("module", "state", "arrays"):
        model = loop.Model(plan, nnx.Rngs(0))
        state = nnx.state(model, nnx.Param)
        params = {"module": model, "state": state, "arrays": nnx.as_pure(state)}[form]
        transform = sp.optax_transform(params, plan, loop.PATTERNS)
        if form == "arrays":
            grads = nnx.grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
            updates, _ = transform.update(nnx.as_pure(grads), transform.init(params), params)
            nnx.update(model, optax.apply_updates(params, updates))
        else:
            optimizer_of = nnx.Optimizer(model, transform, wrt=nnx.Param)
            grads = nnx.grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
            optimizer_of.update(model, grads)
        after.append(np.asarray(model(x)))
    np.testing.assert_allclose(after[1], after[0], rtol=1e-6)
    np.testing.assert_allclose(after[2], after[0], rtol=1e-6)


def test_names_are_those_of_attributes_and_frozen_variables_are_left_out():
    model = loop.Model(loop.prescribed(loop.BASE, "adamw"), nnx.Rngs(0))
    plan = loop.prescribed(loop.BASE, "adamw")
    model.count = nnx.Variable(jnp.zeros(()))
    assert sp.optax_transform(model, plan, loop.PATTERNS)
    without = {group: glob for group, glob in loop.PATTERNS.items() if group != "stem"}
    with pytest.raises(InputError, match="parameter 'stem/kernel' is matched by no pattern"):
        sp.optax_transform(model, plan, without)
