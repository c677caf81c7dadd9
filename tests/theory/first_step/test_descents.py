"""The first Adam step: closed forms, one use by hand, the page's slopes, and finite networks
with real gradients."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.theory.exponents.ladder import slope
from sigprop.theory.first_step.response import descents
from sigprop.theory.recursion.program import Room

HIDDEN = ("w", "x")


def hidden(n: int, alpha: str, activation: str = "relu") -> float:
    arch = sp.architectures.looped_mlp(
        activation=activation, loops=n, residual_scale=f"1/N**({alpha})"
    )
    found = descents(arch, "adam", room=Room(40, 40))
    return sum(found[group].value for group in HIDDEN)


@pytest.mark.parametrize(("alpha", "expected"), [("0", 1.18), ("1/2", 0.605), ("1", 0.02)])
def test_slopes_of_the_page(alpha: str, expected: float) -> None:
    """Tied relu, two matrices, N = 1..32: what the recursion and finite networks have, within
    0.03."""
    sizes = (1, 2, 4, 8, 16, 32)
    assert slope(sizes, [math.log(hidden(n, alpha)) for n in sizes]) == pytest.approx(
        expected, abs=0.03
    )


def test_constant_rate_in_depth() -> None:
    """eps = 1/(N sqrt L) at a constant rate, N = 2, L = 1..16: 0.525, the coherent bound 1/2
    attained; naive 1.15."""

    def at(depth: int, scale: str) -> float:
        found = descents(
            sp.architectures.looped_mlp(depth=depth, loops=2, residual_scale=scale),
            "adam",
            room=Room(40, 4),
        )
        return math.log(sum(found[group].value for group in HIDDEN))

    sizes = (1, 2, 4, 8, 16)
    assert slope(sizes, [at(n, "1/(N*sqrt(L))") for n in sizes]) == pytest.approx(0.525, abs=0.03)
    assert slope(sizes, [at(n, "1") for n in sizes]) == pytest.approx(1.15, abs=0.03)


def test_naive_loops() -> None:
    """eps = 1 at a constant rate, L = 2, N = 1..16: 1.17."""
    sizes = (1, 2, 4, 8, 16)
    changes = [
        descents(
            sp.architectures.looped_mlp(depth=2, loops=n, residual_scale=1),
            "adam",
            room=Room(40, 20),
        )
        for n in sizes
    ]
    assert slope(
        sizes, [math.log(sum(found[group].value for group in HIDDEN)) for found in changes]
    ) == pytest.approx(1.17, abs=0.03)


def test_one_application_by_hand() -> None:
    """One relu block of unit gain on a unit stem: x: eps E|g| E|phi|, w: eps E|phi' u| E|r|, u ~
    N(0, c_x); stem and read-out E|g_0|, E|h_1|."""
    eps = 0.7
    found = descents(sp.architectures.residual_mlp(depth=1, residual_scale=eps), "adam")
    mean = math.sqrt(2 / math.pi)
    phi = mean / 2  # E relu(z)
    assert found["x"].value == pytest.approx(eps * mean * phi, rel=2e-3)
    assert found["w"].value == pytest.approx(eps * 0.5 * mean * math.sqrt(2) * mean, rel=4e-3)
    assert found["readout"].value == pytest.approx(mean * math.sqrt(1 + eps**2), rel=1e-9)
    assert found["stem"].value == pytest.approx(mean * math.sqrt(1 + eps**2), rel=1e-9)


def test_finite_networks() -> None:
    """Sum of |dz/dW| of explicit networks by jax.grad (n = 512, 24 networks, tied, N = 4):
    within 4 standard errors and 1/n of the prediction."""
    loops, n, networks, eps = 4, 512, 24, 0.5

    def output(parameters: dict, h: jax.Array, v: jax.Array) -> jax.Array:
        for _ in range(loops):
            r = h / jnp.sqrt(jnp.mean(h * h))
            h = h + eps * parameters["x"] @ jax.nn.relu(parameters["w"] @ r)
        return jnp.dot(v, h) / n

    def one(key: jax.Array) -> jax.Array:
        a, b, c, d = jax.random.split(key, 4)

        def draw(k, shape):
            return jax.random.normal(k, shape, dtype=jnp.float32)

        parameters = {
            "w": draw(a, (n, n)) / np.float32(n**0.5),
            "x": draw(b, (n, n)) * np.float32((2 / n) ** 0.5),
        }
        found = jax.grad(output)(parameters, draw(c, (n,)), draw(d, (n,)))
        return jnp.stack([jnp.abs(found[group]).sum() / n for group in HIDDEN])

    values = np.asarray(
        jax.lax.map(jax.jit(one), jax.random.split(jax.random.key(3), networks)), dtype=np.float64
    )
    predicted = descents(sp.architectures.looped_mlp(loops=loops, residual_scale=eps), "adam")
    mean, se = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(networks)
    for i, group in enumerate(HIDDEN):
        # false alarm 1e-4
        assert abs(mean[i] - predicted[group].value) < 4 * se[i] + 3 / n * mean[i]
        # what a wrong constant would look like
        assert abs(mean[i] - 1.15 * predicted[group].value) > 4 * se[i]


def test_rates_scale_and_refusals() -> None:
    arch = sp.architectures.looped_mlp(loops=2)
    one, two = descents(arch, "adam"), descents(arch, "adam", {"w": 2.0, "stem": 0.0})
    assert two["w"].value == pytest.approx(2 * one["w"].value) and two["stem"].value == 0
    with pytest.raises(sp.InputError, match="rates: group 'y'"):
        descents(arch, "adam", {"y": 1.0})
    with pytest.raises(sp.InputError, match="optimizer='adamw'; accepted: sgd, adam, muon"):
        descents(arch, "adamw")
    with pytest.raises(sp.InputError, match="accepted: 1 numbers"):
        descents(arch, "adam", labels=[1, 1])
