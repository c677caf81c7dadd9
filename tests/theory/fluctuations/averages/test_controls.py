"""Derivatives of rows by the averages that a network sees: closed forms of untied networks, and
what has none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.averages import layout
from sigprop.description.rows import select
from sigprop.theory.attention import heads
from sigprop.theory.fluctuations.averages.controls import Controls, controls

DEPTH, EPS = 3, 0.7


def stated(arch: sp.Architecture, *quantities: str) -> tuple[Controls, dict[str, np.ndarray]]:
    """Controls at the last state, and its first row's derivatives by name of the average."""
    found = controls(arch, select(arch, quantities, [DEPTH]))
    every = np.zeros(sum(int(np.prod(s)) for s in layout(arch, len(found.initial)).values()))
    every[found.places] = found.rows[0]
    parts, at = {}, 0
    for name, shape in layout(arch, len(found.initial)).items():
        size = int(np.prod(shape))
        parts[name] = every[at : at + size].reshape(shape)
        at += size
    return found, parts


def network(**given: object) -> sp.Architecture:
    return sp.architectures.residual_mlp(
        **{"depth": DEPTH, "residual_scale": EPS, "tokens": 1} | given
    )


@pytest.mark.parametrize("c_w", [0.6, 1.7])
def test_what_is_written_stays(c_w: float):
    """Untied linear stack without a norm: q = (1 + kappa)^D, of which a source at what matrix a is
    given makes kappa (1 + kappa)^(D - 1 - a); one at the states is only seen where it is."""
    arch = network(matrices=1, activation="linear", norm="none", c_w=c_w)
    found, parts = stated(arch, "residual_variance")
    kappa = EPS**2 * c_w
    inputs = parts["inputs:w"].ravel()
    expected = kappa * (1 + kappa) ** (DEPTH - 1 - np.arange(DEPTH))
    np.testing.assert_allclose(inputs, expected, rtol=1e-9)
    np.testing.assert_allclose(parts["states"].ravel(), [0, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(found.factors["w"].ravel() ** 2, (1 + kappa) ** np.arange(DEPTH))
    np.testing.assert_allclose(found.transition, np.ones((DEPTH, 1, 1, 1)))
    np.testing.assert_allclose(found.into, np.full((DEPTH, 1, 1), EPS))


@pytest.mark.parametrize(("c_w", "c_x"), [(1.0, 2.0), (0.8, 0.5)])
def test_a_norm_sees_the_states(c_w: float, c_x: float):
    """Two matrices and relu behind RMSNorm: <phi, phi> = C_W R/2 with R = <r, r> = G_a/Q_a: a
    source at Q_a takes kappa/Q_a off every later state."""
    arch = network(norm="pre", activation="relu", c_w=c_w, c_x=c_x)
    found, parts = stated(arch, "residual_variance")
    kappa = EPS**2 * c_x * c_w / 2
    q = 1 + kappa * np.arange(DEPTH + 1)
    np.testing.assert_allclose(parts["inputs:x"].ravel(), np.full(DEPTH, EPS**2 * c_x), rtol=1e-9)
    np.testing.assert_allclose(parts["inputs:w"].ravel(), np.full(DEPTH, kappa), rtol=1e-9)
    of_states = np.append(-kappa / q[:-1], 1.0)
    np.testing.assert_allclose(parts["states"].ravel(), of_states, rtol=1e-8)
    np.testing.assert_allclose(found.reads.ravel(), q[:-1] ** -0.5, rtol=1e-12)


def test_tokens_may_stand_in_any_order():
    """Without a mask: rows of exchanged tokens have exchanged derivatives."""
    gram = np.array([[1.0, 0.3, 0.6], [0.3, 1.0, 0.5], [0.6, 0.5, 1.0]])
    order = [2, 0, 1]
    one, other = (
        controls(arch, select(arch, ("residual_variance",), [DEPTH]))
        for arch in (
            network(input_gram=each.tolist(), tokens=3, activation="tanh")
            for each in (gram, gram[np.ix_(order, order)])
        )
    )
    spread = [np.sort(np.abs(each.rows)[k]) for each, k in ((one, 2), (other, 0))]
    np.testing.assert_allclose(*spread, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("arch", "quantity", "says"),
    [
        (sp.architectures.variable_width(), "gradient_variance", "several widths"),
        (network(), "ntk", "quantity=ntk"),
        (network(weights="orthogonal"), "residual_variance", "orthogonal matrices"),
    ],
)
def test_what_has_no_form_is_refused(arch: sp.Architecture, quantity: str, says: str):
    with pytest.raises(sp.InputError, match=says):
        controls(arch, select(arch, (quantity,), None))


def test_the_root_of_a_gram_moves_where_eigenvalues_meet():
    """Its derivative is that of differences where they do not, and half the change at 1, where
    eigenvectors have none."""
    with jax.enable_x64(True):
        gram = jnp.asarray([[[1.0, 0.3, 0.6], [0.3, 1.2, 0.5], [0.6, 0.5, 0.9]]])
        change = jnp.asarray([[[0.1, 0.2, 0.0], [0.2, -0.3, 0.1], [0.0, 0.1, 0.4]]])
        step = 1e-6
        ends = [heads._root(gram + way * change) for way in (step, -step)]
        slope = jax.jvp(heads._root, (gram,), (change,))[1]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), atol=1e-8)
        np.testing.assert_allclose(slope @ ends[0] + ends[0] @ slope, change, atol=1e-5)
        at_one = jax.jvp(heads._root, (jnp.eye(3)[None],), (change,))[1]
        np.testing.assert_allclose(at_one, change / 2, atol=1e-12)


def test_overlaps_that_vanish_are_followed():
    """No skip: <S_0, S_D> is 0 in the limit, and its cosine follows it by 1/sqrt(q_0 q_D)."""
    arch = sp.architectures.mlp(depth=DEPTH, activation="tanh")
    (row,) = select(arch, ("state_cosine",), [0, DEPTH])
    (value,) = (r["value"] for r in sp.predict(arch, ["state_cosine"], [0, DEPTH]))
    assert value == 0
    q = [r["value"] for r in sp.predict(arch, ["residual_variance"], [0, DEPTH])]
    found = controls(arch, [row])
    assert found.expected == pytest.approx(0.0)
    assert found.rows.ravel() == pytest.approx([(q[0] * q[1]) ** -0.5], rel=1e-9)
