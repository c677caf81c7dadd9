"""Changes of output and states by one step: explicit networks with real gradients, laws, what is
refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.theory.first_step.response import descents, response

N, NETWORKS, EPS, RHO = 192, 24, 0.4, 0.3
GROUPS = ("x", "w", "b", "readout", "stem")


def polar(g: Any) -> Any:
    u, s, v = jnp.linalg.svd(g, full_matrices=False)
    return jnp.where(s > 1e-9 * s[0], u, 0.0) @ v


def by_hand(optimizer: str, loops: int, tokens: int, root: np.ndarray) -> dict[str, np.ndarray]:
    """Linear response of tanh networks with one slot a depth: {group: [networks, T + T]}, dz_t and
    the mean squared change of the last state; explicit matrices, jax.grad and jax.jvp."""

    def forward(p: dict, _: None = None) -> Any:
        h = root @ p["stem"]
        for _ in range(loops):
            r = h / jnp.sqrt(jnp.mean(h * h, -1, keepdims=True))
            h = h + EPS * (jnp.tanh(r @ p["w"].T) @ p["x"].T + p["b"][None])
        return h @ p["readout"], h

    def direction(group: str, g: Any) -> Any:
        vector = group in ("b", "stem")
        if optimizer == "sgd":
            return g * (N if vector else 1 / N if group == "readout" else 1.0)
        if optimizer == "muon" and group in ("w", "x"):
            return polar(g)
        return jnp.sign(g) * (1.0 if vector else 1 / N)

    def one(key: Any) -> dict:
        a, b, c, d, e = jax.random.split(key, 5)

        def draw(k: Any, *shape: int) -> Any:
            return jax.random.normal(k, shape, dtype=jnp.float64)

        p = {
            "w": draw(a, N, N) / N**0.5,
            "x": draw(b, N, N) / N**0.5,
            "b": 0.3 * draw(c, N),
            "stem": draw(d, tokens, N),
            "readout": draw(e, N) / N,
        }
        g = jax.grad(lambda p: forward(p)[0].mean())(p)
        step = {group: direction(group, g[group]) for group in p}
        found = {}
        for group in (*p, "all"):
            along = {k: v if group in (k, "all") else jnp.zeros_like(v) for k, v in step.items()}
            dz, dh = jax.jvp(forward, (p,), (along,))[1]
            found[group] = jnp.concatenate([dz, (dh**2).mean(-1)])
        return found

    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(1), NETWORKS)
        return jax.device_get(jax.lax.map(jax.jit(one), keys))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@pytest.mark.parametrize(("loops", "tokens"), [(1, 1), (3, 2)])
def test_explicit_networks(optimizer: str, loops: int, tokens: int) -> None:
    """Every group's change of output and last state, tied and of several tokens: within 4 standard
    errors and 6/n of networks written out (false alarm 2e-3 of 60 numbers each, and 6/n beside);
    a prediction a quarter off is not."""
    gram = RHO + (1 - RHO) * np.eye(tokens)
    values, vectors = np.linalg.eigh(gram)
    networks = by_hand(optimizer, loops, tokens, (vectors * np.sqrt(values)) @ vectors.T)
    arch = sp.architectures.looped_mlp(
        depth=1, loops=loops, activation="tanh", residual_scale=EPS, tokens=tokens,
        token_cosine=RHO if tokens > 1 else 0.0, c_w=1, c_x=1,
    )  # fmt: skip
    arch = with_bias(arch)
    found = response(arch, optimizer, seed=2)
    for s, group in enumerate(found.settings):
        value = np.concatenate([found.output.value[s], found.state.value[s, -1]])
        own = np.concatenate([found.output.error[s], found.state.error[s, -1]])
        sample = networks["b" if group == "out" else group]
        mean, se = sample.mean(axis=0), sample.std(axis=0, ddof=1) / math.sqrt(NETWORKS)
        allowed = 4 * se + own + 6 / N * np.abs(mean)
        assert (np.abs(mean - value) <= allowed).all(), (group, mean, value, se)
        assert value.max() == 0 or (np.abs(mean - 1.25 * value) > allowed).any(), group


def with_bias(arch: sp.Architecture) -> sp.Architecture:
    """The network with a bias on its branch's output, in its own group."""
    (block,) = arch.sub_blocks
    branch = block.branch + sp.Bias("out", 0.09)
    slots = dict(arch.slots) | {"out": [0] * arch.depth}
    return replace(arch, sub_blocks=(sp.SubBlock(block.reads, branch, block.rule),), slots=slots)


TWO_WAYS = {
    "biases": lambda: sp.architectures.residual_mlp(depth=2, c_b=0.2, activation="gelu"),
    "tied": lambda: sp.architectures.looped_mlp(depth=1, loops=3, tokens=2, token_cosine=0.3),
    "feed-forward": lambda: sp.architectures.mlp(depth=3),
    "transformer": lambda: sp.architectures.transformer(depth=1, mask="causal", token_cosine=0.3),
    "nag": lambda: sp.architectures.nag(depth=3, tokens=2, token_cosine=0.3),
    "skipless": lambda: sp.architectures.value_skipinit(depth=2, tokens=2, weights="gaussian"),
    "orthogonal": lambda: sp.architectures.e_spa(depth=2, tokens=2),
    "post-norm": lambda: sp.architectures.deepnorm(depth=1, tokens=2, token_cosine=0.3),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "muon"])
@pytest.mark.parametrize("name", TWO_WAYS)
def test_descents_are_the_outputs_changes(name: str, optimizer: str) -> None:
    """sum_t c_t dz_t by changes carried forward, and by norms of gradients carried back: within
    the two 99 % intervals, doubled (false alarm 1e-6 a number). All is the sum of the groups."""
    arch = TWO_WAYS[name]()
    labels = [1.0, -0.5, 0.7][: arch.tokens]
    found = response(arch, optimizer, labels=labels, points=1024)
    norms = descents(arch, optimizer, labels=labels, points=1024)
    c = np.array(labels) / arch.tokens
    for group, norm in norms.items():
        at = found.settings.index(group)
        change = found.output.value[at] @ c
        error = np.abs(c) @ found.output.error[at] + float(norm.error)
        assert abs(change - float(norm.value)) <= 2 * error + 1e-9, group
    every = float(sum(norm.value for norm in norms.values()))
    assert abs(every - found.output.value[-1] @ c) < 0.03 * every  # a Z-dot left out is more
    total, every = found.output.value[:-1].sum(axis=0), found.output.value[-1]
    np.testing.assert_allclose(total, every, atol=1e-2 * np.abs(every).max())


def test_changes_are_linear_in_the_rates() -> None:
    """Twice a group's rate doubles what it changes; labels of the other sign turn it round."""
    arch = sp.architectures.residual_mlp(depth=2, tokens=2)
    once, twice = (response(arch, "adam", {"w": r}, points=256) for r in (1.0, 2.0))
    at = once.settings.index("w")
    np.testing.assert_allclose(twice.output.value[at], 2 * once.output.value[at], rtol=1e-9)
    np.testing.assert_allclose(twice.state.value[at], 4 * once.state.value[at], rtol=1e-9)
    turned = response(arch, "adam", {"w": 1.0}, [-1, -1], points=256)
    allowed = turned.output.error[at] + once.output.error[at]
    assert (np.abs(turned.output.value[at] + once.output.value[at]) <= allowed).all()


def test_numbers_do_not_depend_on_the_program_s_room() -> None:
    from sigprop.theory.recursion.program import Room

    arch = sp.architectures.looped_mlp(depth=1, loops=2)
    one, other = (descents(arch, "adam", room=room, points=256) for room in (Room(), Room(16, 8)))
    for group, estimate in one.items():
        np.testing.assert_allclose(estimate.value, other[group].value, rtol=1e-10)


REFUSED = (
    (lambda: sp.architectures.nag(modulator="learned"), "modulators"),
    (lambda: sp.architectures.transformer(kv_heads=1, heads=2), "grouped"),
    (lambda: sp.architectures.transformer(dropout=0.1), "dropout|no rule"),
    (lambda: sp.architectures.looped_mlp(weights="orthogonal"), "tied or oblong"),
)


@pytest.mark.parametrize(("make", "match"), REFUSED)
def test_what_has_no_first_step_is_refused(make: Any, match: str) -> None:
    with pytest.raises((sp.NoRule, sp.InputError), match=match):
        response(make(), "adam")


def test_table() -> None:
    """Rows by quantity, the same numbers, errors, and roots of mean squares."""
    arch = sp.architectures.residual_mlp(depth=1, tokens=2, token_cosine=0.2)
    table = sp.first_step(arch, "muon", {"x": 0.5}, [1, -1], points=256)
    found = response(arch, "muon", {"x": 0.5}, [1, -1], points=256)
    rows = {(r["quantity"], r["group"], r["application"], r["token"]): r for r in table.rows}
    assert rows["output_change", "x", None, 1]["value"] == found.output.value[0, 1]
    assert rows["state_change", "all", 1, 0]["value"] == math.sqrt(found.state.value[-1, 1, 0])
    assert rows["effective_change", "w", 1, 0]["value"] == pytest.approx(1.0, rel=0.05)
    assert {r["quantity"] for r in table.rows} == {
        "output_change", "state_change", "effective_change", "propagating_change",
    }  # fmt: skip
    with pytest.raises(sp.InputError, match="points=100; accepted: a power of two"):
        sp.first_step(arch, points=100)
    with pytest.raises(sp.InputError, match="epsilon of w=-1"):
        sp.first_step(arch, epsilon={"w": -1})


def test_epsilon_makes_steps_smaller() -> None:
    """A large epsilon: Adam's step is SGD's over it."""
    arch = sp.architectures.residual_mlp(depth=1, tokens=2, token_cosine=0.2)
    groups = ("w", "x", "stem", "readout")
    large = response(arch, "adam", epsilon=dict.fromkeys(groups, 1e4), points=1024)
    plain = response(arch, "sgd", points=1024)
    np.testing.assert_allclose(1e4 * large.output.value, plain.output.value, rtol=0.02)


def test_polar_factors_of_a_write_that_a_norm_acts_on_are_whole() -> None:
    """nag's last write: tokens' cotangents are parallel in the limit and n^-1/2 beside it, which a
    polar factor counts whole: the rms of the input, 1/sqrt(2) behind relu. A pre-norm network's are
    parallel at every width."""
    nag = response(sp.architectures.nag(depth=2, tokens=2, token_cosine=0.3), "muon", points=256)
    np.testing.assert_allclose(nag.effective["x"].value, 0.5, rtol=1e-9)
    plain = sp.architectures.residual_mlp(depth=2, tokens=2, token_cosine=0.3)
    assert (response(plain, "muon", points=256).effective["x"].value[-1] < 0.45).all()


def test_a_last_write_before_a_final_norm_is_in_the_states_change() -> None:
    """One branch on a unit stream: x alone changes the last state by what it writes, all of it."""
    arch = sp.architectures.transformer(
        depth=1, block="mlp", final_norm=True, tokens=2, token_cosine=0.3, norm_kind="rms"
    )
    found = response(arch, "muon", points=1024)
    state = found.state.value[found.settings.index("x"), -1]
    np.testing.assert_allclose(state, found.effective["x"].value[-1], rtol=0.1)


def test_keys_cotangents_have_the_sum_zero() -> None:
    """Muon moves keys along tokens' differences alone, at every width: x less its mean over T
    tokens, of Gram c + (1 - c) 1, has (1 - c)(T - 1)/T, behind a post-norm as before one; a
    projection on all inputs has 1."""
    tokens, c = 3, 0.3
    for norm in ("post", "pre"):
        arch = sp.architectures.transformer(
            depth=1, norm=norm, block="attention", tokens=tokens, token_cosine=c, norm_kind="rms"
        )
        found = response(arch, "muon", points=256).effective["k"].value[0]
        np.testing.assert_allclose(found, (1 - c) * (tokens - 1) / tokens, rtol=1e-6)
