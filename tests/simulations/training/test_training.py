"""Networks that are trained: their gradients, their steps, and that before the first step they
are the engines' networks."""

from __future__ import annotations

import functools
import math
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.architecture import Architecture
from sigprop.simulations.network.weights import shapes
from sigprop.simulations.training import trained
from sigprop.simulations.training.changes import OBSERVABLES, Training, applications
from sigprop.simulations.training.steps import Setting, transform

WIDTH = 16


def network(
    arch: Architecture, width: int = WIDTH, seed: int = 0
) -> tuple[dict[str, Any], Any, Any]:
    """(parameters, labels, one pass of these and other parameters with loss -(1/T) sum y z)."""
    bare, found, given = trained.bare(arch, width), shapes(arch, width), trained.tables(arch)
    params, labels = trained.start(
        bare,
        found,
        width,
        jax.random.key(seed),
        size=trained.scales(arch, width),
        readout=jnp.float32(1 / width),
        by_part=given["inputs"],
    )
    at = (*applications(arch.depth), 0)

    @jax.jit
    def passed(params: dict[str, Any]) -> trained.Passed:
        return trained.passed(
            bare,
            found,
            params,
            given,
            width=width,
            cotangent=lambda z: -labels / arch.tokens,
            at=at,
            key=jax.random.key(1),
        )

    return params, labels, passed


def test_the_gradient_is_that_of_a_network_written_by_hand():
    """Two blocks looped twice, biases, three tokens of which two are one word: ``jax.grad`` of
    its formula."""
    gram = np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])
    arch = sp.architectures.looped_mlp(
        depth=2, loops=2, tokens=3, input_gram=gram, c_b=0.3, activation="tanh", norm_eps=0.1
    )
    params, labels, passed = network(arch)
    assert params["stem"].shape == (2, WIDTH) and params["w"].shape == (2, WIDTH, WIDTH)
    eps, word = (
        1 / (2 * math.sqrt(2)),
        np.array([list(np.unique(gram, axis=0, return_inverse=True)[1].ravel())]).ravel(),
    )

    def loss(p: dict[str, Any]) -> Any:
        h = p["stem"][word]
        for a in range(4):
            r = h / jnp.sqrt(jnp.mean(h * h, axis=1, keepdims=True) + 0.1)
            hidden = jnp.tanh(r @ p["w"][a % 2].T + p["b_w"][a % 2][None])
            h = h + eps * (hidden @ p["x"][a % 2].T + p["b"][a % 2][None])
        return -(labels * (h @ p["readout"])).mean()

    expected, found = jax.grad(loss)(params), passed(params)
    assert set(found.gradients) == set(arch.groups)
    assert float(-(labels * found.outputs).mean()) == pytest.approx(float(loss(params)), rel=1e-5)
    for group, gradient in expected.items():
        scale = float(jnp.abs(gradient).max())
        np.testing.assert_allclose(
            found.gradients[group], gradient, atol=2e-5 * scale, err_msg=group
        )
        assert scale > 1e-6  # the companion: nothing is compared with zero


NETWORKS = {
    "attention, words, positions": lambda: sp.architectures.looped_transformer(
        depth=1, loops=2, words="0,1,0,2", tokens=4, c_pe=0.5, mask="causal"
    ),
    "gates": lambda: sp.architectures.shaped_attention(depth=2, tokens=3),
    "rotations": lambda: sp.architectures.looped_nag(depth=1, loops=3, activation="tanh"),
    "widths": lambda: sp.architectures.variable_width(
        depth=3, schedule="16,8,16", reference_width=16
    ),
    "correlated inputs": lambda: sp.architectures.residual_mlp(
        depth=2, tokens=3, token_cosine=0.4, activation="gelu"
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_falls_along_every_groups_gradient_as_it_says(name: str):
    """(loss(p + d g) - loss(p - d g))/2d = |g|^2, one group at a time, in float32: within 3 %."""
    arch = NETWORKS[name]()
    params, labels, run = network(arch)

    def passed(p: dict[str, Any]) -> trained.Passed:
        with jax.numpy_dtype_promotion("standard"):  # a truncation adds a float32 to an index
            return run(p)

    def loss(p):
        return float(
            -(
                np.asarray(labels, dtype=np.float64)
                * np.asarray(passed(p).outputs, dtype=np.float64)
            ).mean()
        )

    gradients = passed(params).gradients
    for group in arch.groups:
        if group == "k" and not np.any(params["q"]):
            assert not np.any(gradients["k"])
            continue
        square = float((np.asarray(gradients[group], dtype=np.float64) ** 2).sum())
        # a query may start at zero
        move = 0.005 * max(float(jnp.linalg.norm(params[group].ravel())), 1.0) / math.sqrt(square)
        ends = [
            loss(params | {group: params[group] + jnp.float32(sign * move) * gradients[group]})
            for sign in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * move) == pytest.approx(
            square, rel=0.03, abs=1e-7 / move
        ), group


def test_one_adam_step_moves_every_entry_by_its_groups_rate_and_sgd_by_rate_times_gradient():
    arch = sp.architectures.looped_mlp(depth=2, loops=2)
    params, _, passed = network(arch)
    gradients = passed(params).gradients
    rates = {group: 0.01 * (i + 1) for i, group in enumerate(arch.groups)}
    steps = {
        name: transform(name, {g: Setting(rate, 1e-12, 0.5) for g, rate in rates.items()})
        for name in ("sgd", "adam", "adamw")
    }
    updates = {
        name: rule.update(gradients, rule.init(params), params)[0] for name, rule in steps.items()
    }
    for group, rate in rates.items():
        g = gradients[group]
        np.testing.assert_allclose(updates["sgd"][group], -np.float32(rate) * g, rtol=1e-6)
        moved = jnp.abs(g) > 1e-8  # entries of relu units that are off do not move
        assert float(moved.mean()) > 0.2
        np.testing.assert_allclose(
            updates["adam"][group],
            jnp.where(moved, -np.float32(rate) * jnp.sign(g), jnp.zeros_like(g)),
            rtol=1e-3,
        )
        np.testing.assert_allclose(
            updates["adamw"][group] - updates["adam"][group],
            np.float32(-0.5 * rate) * params[group],
            atol=1e-6 * rate,
        )


def test_one_muon_step_moves_each_slots_matrix_by_its_polar_factor_and_the_rest_as_adamw():
    """Two slots, M = 2: along the gradient's singular vectors by rate sqrt(max(1, n_out/n_in))
    times 0.68 to 1.21, where singular values are above 0.002 of its norm."""
    arch = sp.architectures.looped_transformer(depth=2, loops=2, block="mlp", mlp_ratio=2, tokens=3)
    params, _, passed = network(arch)
    gradients, settings = (
        passed(params).gradients,
        {group: Setting(0.01, 1e-12, 0.5) for group in arch.groups},
    )
    muon, adamw = (transform(name, settings, ("w", "x")) for name in ("muon", "adamw"))
    moved, other = (rule.update(gradients, rule.init(params), params)[0] for rule in (muon, adamw))
    for group in arch.groups:
        if group not in ("w", "x"):
            np.testing.assert_array_equal(moved[group], other[group])
            continue
        assert params[group].shape[0] == 2
        for slot in range(2):
            gradient, update = np.asarray(gradients[group][slot]), np.asarray(moved[group][slot])
            update = update + 0.005 * np.asarray(params[group][slot])
            left, singular, right = np.linalg.svd(gradient, full_matrices=False)
            values = left.T @ -update @ right.T / (0.01 * math.sqrt(2 if group == "w" else 1))
            np.testing.assert_allclose(values, np.diag(np.diag(values)), atol=2e-3)
            reached = np.diag(values)[singular > 0.002 * np.linalg.norm(singular)]
            assert len(reached) > 1 and 0.68 < reached.min() < reached.max() < 1.21


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_steps_in_a_scan_are_steps_one_by_one(optimizer: str):
    """Three steps of one network, repeated outside; its observables after the first and the
    third."""
    arch = sp.architectures.looped_mlp(depth=2, loops=2, tokens=2)
    settings = {group: Setting(0.01, 1e-9, 0.1) for group in arch.groups}
    training = Training(arch, WIDTH, optimizer, (1, 3))
    found = training.changes(settings, 1 / WIDTH, range(3), seed=5)
    from sigprop.simulations.engines.engine import base_key

    key = jax.random.fold_in(base_key(arch, WIDTH, 5, 0), np.uint32(2))
    bare, shaped, given = trained.bare(arch, WIDTH), shapes(arch, WIDTH), trained.tables(arch)
    params, labels = trained.start(
        bare,
        shaped,
        WIDTH,
        key,
        size=trained.scales(arch, WIDTH),
        readout=jnp.float32(1 / WIDTH),
        by_part=given["inputs"],
    )
    one = jax.jit(
        lambda p: trained.passed(
            bare,
            shaped,
            p,
            given,
            width=WIDTH,
            cotangent=lambda z: -labels / 2,
            at=applications(4),
            key=key,
        )
    )
    rule, seen = transform(optimizer, settings, ("w", "x")), []
    state = rule.init(params)
    for _ in range(4):
        now = one(params)
        seen.append([now.outputs, *now.states])
        updates, state = rule.update(now.gradients, state, params)
        params = {group: params[group] + updates[group] for group in params}
    for i, k in enumerate((1, 3)):
        expected = [
            float(((after - before) ** 2).mean())
            for before, after in zip(seen[0], seen[k], strict=True)
        ]
        np.testing.assert_allclose(found[2, i], expected, rtol=2e-3)
    assert (
        found.shape == (3, 2, len(OBSERVABLES))
        and applications(4) == (1, 2, 3, 4)
        and applications(2) == (1, 1, 2, 2)
    )


def test_networks_do_not_depend_on_how_many_are_asked_for():
    arch = sp.architectures.mlp(depth=2)
    training, settings = (
        Training(arch, WIDTH, "sgd", (1,)),
        {group: Setting(0.01) for group in arch.groups},
    )
    few, many = (training.changes(settings, 0.1, range(count), seed=1) for count in (3, 20))
    np.testing.assert_allclose(few, many[:3], rtol=1e-6)
    assert np.ptp(many[:, 0, 0]) > 0 and not np.allclose(
        training.changes(settings, 0.1, range(3), seed=2), few
    )


@pytest.mark.parametrize("name", ["looped", "orthogonal"])
def test_before_the_first_step_they_are_the_dense_engines_networks(name: str):
    """Means of <h_a, h_a> and of the read-out's squares, two samples: within 4.5 standard errors
    (5 numbers: one in 3e4 runs fails)."""
    arch = sp.architectures.looped_mlp(
        depth=2, loops=2, c_w=1.5, weights="orthogonal" if name == "orthogonal" else "gaussian"
    )
    count, width = 1500, 24
    bare, found, given, scales = (
        trained.bare(arch, width),
        shapes(arch, width),
        trained.tables(arch),
        trained.scales(arch, width),
    )

    @functools.partial(jax.jit, static_argnums=())
    @jax.vmap
    def squares(sample: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(3), sample)
        params, _ = trained.start(
            bare,
            found,
            width,
            key,
            size=scales,
            readout=jnp.float32(1),
            by_part=given["inputs"],
        )
        own = trained.passed(
            bare,
            found,
            params,
            given,
            width=width,
            cotangent=jnp.ones_like,
            at=(1, 2, 3, 4),
            key=key,
        )
        return jnp.concatenate([(own.states**2).mean(axis=(1, 2)), own.outputs**2 / width])

    ours = np.asarray(squares(jnp.arange(count, dtype=jnp.uint32)), dtype=np.float64)
    table = sp.measure(
        arch,
        width=width,
        samples=count,
        engine="dense",
        quantities=["residual_variance"],
        applications=[1, 2, 3, 4],
    )
    # E (theta . h)^2 = n <h, h>
    theirs = [(row["value"], row["se"]) for row in table] + [(table[3]["value"], table[3]["se"])]
    for x, (value, se) in zip(ours.T, theirs, strict=True):
        own = x.std() / math.sqrt(count)
        assert abs(x.mean() - value) < 4.5 * math.hypot(own, se), (x.mean(), own, value, se)
        assert own < 0.05 * value  # the companion: a factor c_w left out would be seen


def test_bad_input_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch):
    arch = sp.architectures.mlp(depth=2)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"optimizer": "sgd", "steps": ()}, "steps=()"),
        ({"optimizer": "sgd", "steps": (0, 1)}, "steps=(0, 1)"),
        ({"optimizer": "sgd", "loss": "hinge"}, "loss='hinge'; accepted: linear, squared"),
    ]
    for options, text in cases:
        with pytest.raises(sp.InputError, match=".*") as error:
            Training(arch, WIDTH, **options)
        assert text in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(sp.InputError, match="group 'stem' is missing"):
        Training(arch, WIDTH, "sgd").changes(
            {g: Setting(0.1) for g in arch.groups if g != "stem"}, 0.1, range(2), 0
        )
    with pytest.raises(sp.Diverged):
        Training(arch, WIDTH, "sgd").changes(
            {g: Setting(1e30) for g in arch.groups}, 1.0, range(2), 0
        )
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(sp.InputError, match=r"sigprop\[optax\]"):
        Training(arch, WIDTH, "sgd")
