"""First steps of finite networks, to first order: against small steps of networks written by
hand, and identities that hold network by network."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.agreement.biased import buckets
from sigprop.description.architecture import Architecture
from sigprop.language.expression import Linear
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network.precision import scope
from sigprop.simulations.network.weights import shapes
from sigprop.simulations.training import trained
from sigprop.simulations.training.ascent import OPTIMISERS
from sigprop.simulations.training.response import FirstStep

WIDTH, SEED = 16, 4
LABELS = (1.0, -0.5, 2.0)
Params = dict[str, np.ndarray]


@functools.cache
def rates(arch: Architecture) -> dict[str, float]:
    """One of every group, all different."""
    return {group: 0.5 + 0.25 * i for i, group in enumerate(arch.groups)}


@functools.cache
def params_of(arch: Architecture, width: int, sample: int) -> Params:
    """The parameters of that sample."""
    params, _ = trained.start(
        trained.bare(arch, width),
        shapes(arch, width),
        width,
        jax.random.fold_in(base_key(arch, width, SEED, 0), np.uint32(sample)),
        size=trained.scales(arch, width),
        readout=np.float32(1 / width),
        by_part=trained.tables(arch)["inputs"],
    )
    return {name: np.asarray(x, dtype=np.float64) for name, x in params.items()}


def step(
    optimizer: str, group: str, gradient: np.ndarray, width: int, newton_schulz: bool = False
) -> np.ndarray:
    """What rate 1 makes of a group's gradient: the definitions, written out."""
    if group == "readout":
        return (gradient if optimizer == "sgd" else np.sign(gradient)) / width
    if gradient.ndim < 3:
        return width * gradient if optimizer == "sgd" else np.sign(gradient)
    if optimizer == "sgd":
        return gradient
    if optimizer == "adam":
        return np.sign(gradient) / width
    _, rows, columns = gradient.shape
    u, s, v = np.linalg.svd(gradient, full_matrices=False)
    if newton_schulz:
        for i in range(len(s)):
            s[i] /= np.linalg.norm(s[i])
            for _ in range(5):
                s[i] = 3.4445 * s[i] - 4.7750 * s[i] ** 3 + 2.0315 * s[i] ** 5
    else:
        s = (s > 1e-6 * s.max(axis=1, keepdims=True)).astype(float)
    return math.sqrt(rows / columns) * (u * s[:, None]) @ v


# a network written by hand


UNTIED = sp.architectures.residual_mlp(
    depth=2, tokens=3, c_b=0.3, activation="tanh", norm_eps=0.1, token_cosine=0.4
)
TIED = sp.architectures.looped_mlp(
    depth=1, loops=2, tokens=3, c_b=0.3, activation="tanh", norm_eps=0.1, token_cosine=0.4
)
HAND = {"untied": (UNTIED, (0, 1), 1 / math.sqrt(2)), "tied": (TIED, (0, 0), 1 / 2)}


def by_hand(name: str, p: Any) -> tuple[Any, list[Any], dict[str, list[Any]]]:
    """(z, states, inputs of w and x) of two blocks h + eps (x tanh(w norm(h) + b_w) + b)."""
    arch, slots, eps = HAND[name]
    root = trained.inputs(arch.input_gram)
    h, inputs = root @ p["stem"], {"w": [], "x": []}
    states = [h]
    for s in slots:
        r = h / jnp.sqrt(jnp.mean(h * h, axis=1, keepdims=True) + 0.1)
        hidden = jnp.tanh(r @ p["w"][s].T + p["b_w"][s][None])
        h = h + eps * (hidden @ p["x"][s].T + p["b"][s][None])
        states.append(h)
        inputs["w"].append(r)
        inputs["x"].append(hidden)
    return h @ p["readout"], states, inputs


def changed(name: str, p: Params, move: Params) -> tuple[np.ndarray, np.ndarray, Any]:
    """Derivatives of outputs, states and inputs along a move, by a small step to both sides."""
    small = 1e-5
    plus, minus = (
        by_hand(name, {g: p[g] + sign * small * move.get(g, 0 * p[g]) for g in p})
        for sign in (1, -1)
    )
    return jax.tree.map(lambda a, b: np.asarray(a - b) / (2 * small), plus, minus)


@pytest.mark.parametrize("optimizer", [*OPTIMISERS, "newton-schulz"])
@pytest.mark.parametrize("name", HAND)
def test_it_is_the_small_step_of_a_network_written_by_hand(name: str, optimizer: str):
    """Outputs, states, and both parts of what every matrix sees; of one sample among three."""
    arch, slots, _ = HAND[name]
    iterated = optimizer == "newton-schulz"
    rule = "muon" if iterated else optimizer
    first = FirstStep(arch, WIDTH, rule, newton_schulz=iterated, dtype="float64")
    found = first.networks(range(3), SEED, rates=rates(arch), labels=LABELS)
    with scope("float64"):
        p = params_of(arch, WIDTH, 2)

        def mean(q: Any) -> Any:
            return (np.array(LABELS) * by_hand(name, q)[0]).mean()

        gradients = {g: np.asarray(x) for g, x in jax.grad(mean)(p).items()}
        moves = {
            g: rates(arch)[g] * step(rule, g, gradients[g], WIDTH, iterated) for g in arch.groups
        }
        settings = [{g: moves[g]} for g in arch.groups] + [moves]
        along = [changed(name, p, move) for move in settings]
        inputs = jax.tree.map(np.asarray, by_hand(name, p)[2])
    np.testing.assert_allclose(found.output[2], [z for z, _, _ in along], rtol=1e-6, atol=1e-8)
    states = np.array([[(x**2).mean(axis=-1) for x in h] for _, h, _ in along])
    np.testing.assert_allclose(found.state[2], states, rtol=1e-6, atol=1e-12)
    for i, weight in enumerate(first.weights):
        for a, s in enumerate(slots):
            if weight not in inputs:
                assert np.isnan(found.propagating[2, i, a]).all()
                expected = np.broadcast_to((moves[weight][s] ** 2).mean(), 3)
            else:
                expected = ((inputs[weight][a] @ moves[weight][s].T) ** 2).mean(axis=-1)
                carried = along[-1][2][weight][a] @ p[weight][s].T
                np.testing.assert_allclose(
                    found.propagating[2, i, a], (carried**2).mean(axis=-1), rtol=1e-6
                )
            np.testing.assert_allclose(found.effective[2, i, a], expected, rtol=1e-6)
    # the companion: of each of the twelve or more numbers none is close by accident
    assert np.ptp(found.output[:, -1, 0]) > 0.01 * abs(found.output[2, -1, 0])


# identities


NETWORKS = {
    "attention, words, positions": lambda: sp.architectures.transformer(
        depth=1, words="0,1,0", tokens=3, c_pe=0.5, mask="causal", mlp_ratio=2
    ),
    "gates": lambda: sp.architectures.shaped_attention(depth=2, tokens=3),
    "lanes, tied": lambda: sp.architectures.looped_nag(
        depth=1, loops=3, tokens=3, activation="tanh"
    ),
    "learned modulators": lambda: sp.architectures.nag(
        depth=1, tokens=3, modulator="learned", activation="gelu"
    ),
    "biases of scores": lambda: buckets([0, 1, 0], mask="causal"),
    "widths": lambda: sp.architectures.variable_width(
        depth=3, schedule="16,8,16", reference_width=16, tokens=3
    ),
}


@functools.cache
def gradients_of(name: str, sample: int) -> Params:
    """Gradients of (1/T) sum_t y_t z_t, in float64."""
    arch = NETWORKS[name]()

    def gradients(params: Any) -> Any:
        return trained.passed(
            trained.bare(arch, WIDTH),
            shapes(arch, WIDTH),
            params,
            trained.tables(arch, "float64"),
            width=WIDTH,
            cotangent=lambda z: jnp.array(LABELS) / 3,
            at=(0,),
            key=jax.random.key(0),
        ).gradients

    with scope("float64"), jax.numpy_dtype_promotion("standard"):
        return jax.tree.map(np.asarray, jax.jit(gradients)(params_of(arch, WIDTH, sample)))


def dual(optimizer: str, group: str, gradient: np.ndarray) -> float:
    """<step, G>: the squared norm, the sum of absolute entries, the nuclear norm, as scaled."""
    matrix = gradient.ndim == 3
    if optimizer == "muon" and matrix:
        _, rows, columns = gradient.shape
        nuclear = np.linalg.svd(gradient, compute_uv=False).sum()
        return math.sqrt(rows / columns) * nuclear
    if optimizer == "sgd":
        scale = 1 / WIDTH if group == "readout" else 1 if matrix else WIDTH
        return scale * (gradient**2).sum()
    return np.abs(gradient).sum() / (WIDTH if group == "readout" or matrix else 1)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("attention, words, positions", "sgd"),
        ("attention, words, positions", "adam"),
        ("attention, words, positions", "muon"),
        ("gates", "adam"),
        ("lanes, tied", "sgd"),
        ("lanes, tied", "muon"),
        ("learned modulators", "adam"),
        ("biases of scores", "sgd"),
        ("widths", "muon"),
    ],
)
def test_what_a_group_raises_is_its_rate_times_the_dual_norm_of_its_gradient(
    name: str, optimizer: str
):
    """(1/T) sum_t y_t dz_t, network by network, group by group; all of them is their sum."""
    arch = NETWORKS[name]()
    first = FirstStep(arch, WIDTH, optimizer, dtype="float64")
    found = first.networks(range(2), SEED, rates=rates(arch), labels=LABELS)
    gradients = gradients_of(name, 1)
    duals = [rates(arch)[g] * dual(optimizer, g, gradients[g]) for g in arch.groups]
    raised = found.output[1] @ np.array(LABELS) / 3
    np.testing.assert_allclose(raised, [*duals, sum(duals)], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(found.output[:, :-1].sum(axis=1), found.output[:, -1], rtol=1e-8)
    assert sum(duals) > 0.01 and np.isfinite(found.state).all()
    # the companion: scales are powers of n = 16 apart, and norms are not alike
    wrong = [rates(arch)[g] * np.linalg.norm(gradients[g]) for g in arch.groups]
    both = [(a, b) for a, b in zip(wrong, duals, strict=True) if b > 0]
    assert len(both) > 3 and max(abs(math.log(a / b)) for a, b in both) > 0.3


def test_numbers_are_there_where_an_application_holds_the_weight():
    arch = NETWORKS["attention, words, positions"]()
    first = FirstStep(arch, WIDTH, "muon")
    response = first.response(4, SEED, rates=rates(arch), labels=LABELS)
    for weight in first.weights:
        held = [a for used in arch.applications_of(weight).values() for a in used]
        for quantity in ("effective", "propagating"):
            there = np.isfinite(response.of(quantity, weight).value).all(axis=1)
            matrix = isinstance(arch.weights[weight], Linear)
            expected = held if matrix or quantity == "effective" else []
            assert np.flatnonzero(there).tolist() == sorted(expected), (weight, quantity)
    assert response.settings == (*arch.groups, "all") and response.samples == 4
    double = FirstStep(arch, WIDTH, "muon", dtype="float64")
    exact = double.networks(range(4), SEED, rates=rates(arch), labels=LABELS)
    np.testing.assert_allclose(response.output.value, exact.output.mean(axis=0), rtol=2e-3)
    np.testing.assert_allclose(
        response.state.se, exact.state.std(axis=0, ddof=1) / 2, rtol=5e-3, atol=1e-6
    )


def test_networks_do_not_depend_on_how_many_are_asked_for():
    first = FirstStep(UNTIED, WIDTH, "adam")
    few, many = (first.networks(range(count), SEED) for count in (3, 20))
    for some, every in zip(few, many, strict=True):
        np.testing.assert_allclose(some, every[:3], rtol=1e-6)
    assert np.ptp(many.output[:, -1, 0]) > 0
    assert not np.allclose(first.networks(range(3), SEED + 1).output, few.output)


@pytest.mark.parametrize("optimizer", OPTIMISERS)
def test_every_groups_numbers_have_a_limit(optimizer: str):
    """From n = 32 to 128, 48 networks each, within a factor of 1.5 (errors are below 6 %): a rate
    half a power of n off would be a factor of 2, or 4 of squares."""
    arch = sp.architectures.residual_mlp(depth=2, tokens=3, c_b=0.3)
    narrow, wide = (FirstStep(arch, n, optimizer).response(48, SEED) for n in (32, 128))
    for group in (*arch.groups, "all"):
        raised = [r.of("output", group).value.mean() for r in (narrow, wide)]
        assert 1 / 1.5 < raised[1] / raised[0] < 1.5, (group, raised)
    for quantity in ("state", "effective", "propagating"):
        one, other = (getattr(r, quantity).value for r in (narrow, wide))
        ratio = other[one > 0] / one[one > 0]
        assert (ratio > 1 / 2).all() and (ratio < 2).all(), (quantity, ratio)


def test_bad_input_is_said_in_a_line():
    arch = UNTIED
    cases: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": "sign"}, "optimizer='sign'"),
        ({"optimizer": "sgd", "newton_schulz": True}, "accepted: with optimizer='muon'"),
        ({"optimizer": "sgd", "dtype": "float16"}, "dtype='float16'"),
    ]
    for options, text in cases:
        with pytest.raises(sp.InputError, match=".*") as error:
            FirstStep(arch, WIDTH, **options)
        assert text in str(error.value) and "\n" not in str(error.value)
    first = FirstStep(arch, WIDTH, "sgd")
    with pytest.raises(sp.InputError, match="experts: the first step of an optimiser has no rule"):
        FirstStep(sp.architectures.transformer(experts=4, experts_chosen=2), WIDTH, "sgd")
    with pytest.raises(sp.InputError, match="accepted: indices of one or more networks"):
        first.networks(range(0), 0)
    with pytest.raises(sp.InputError, match="group 'y'; accepted: x, w, b_w, b, readout, stem"):
        first.response(2, 0, rates={"y": 1.0})
    with pytest.raises(sp.InputError, match="accepted: 3 numbers, one of each token"):
        first.response(2, 0, labels=(1.0,))
    with pytest.raises(sp.InputError, match="samples=1; accepted: 2 or more"):
        first.response(1, 0)
    with pytest.raises(sp.Diverged):
        first.response(2, 0, rates={"w": 1e30})
