"""Mixtures of experts in one finite network: against the same network written out, expert by
expert, with jax.grad; and theory's routers against plain draws."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from engine_rows import engine, rows_of
from long_cases import apart
from refusals import refused

import sigprop as sp
from sigprop.description.rows import select
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.network import random
from sigprop.simulations.network.weights import draw, shapes

WIDTH, TOKENS, EXPERTS, CHOSEN = 16, 3, 4, 2
GRAM = 0.3 + 0.7 * np.eye(TOKENS)
NUMBERS = {"c_w": 2.0, "c_b": 0.5, "c_g": 1.0, "c_x": 1.5, "c_router": 3.0}
C = {name: sp.Number(name) for name in NUMBERS}
SAMPLES, SIGMAS = 4000, 5.0


def network(
    slots: Any = (0,), among: str = "chosen", count: int = EXPERTS, chosen: int = CHOSEN
) -> sp.Architecture:
    """Gated experts with a bias behind a norm, and a branch that every token has."""
    units = sp.Activate("silu", sp.Linear("w", sp.Read(), C["c_w"], 2) + sp.Bias("b", C["c_b"], 2))
    expert = sp.Linear("x", sp.Product(units, sp.Linear("g", sp.Read(), C["c_g"], 2)), C["c_x"])
    mixture = sp.Experts("router", expert, C["c_router"], count, chosen, among)
    shared = sp.Linear("s", sp.Read(), 0.5)
    block = sp.SubBlock(sp.Normalise(sp.State(0)), mixture + shared, sp.State(0) + sp.Write())
    return sp.Architecture("experts", (block,), slots, numbers=NUMBERS, input_gram=GRAM)


def plain(theta: dict[str, Any], h: Any, among: str) -> Any:
    """One expert after another, and one token's choice after another."""
    r = h / jnp.sqrt((h**2).mean(axis=1, keepdims=True))
    scores, rows = r @ theta["router"].T, []
    for t in range(TOKENS):
        order = np.argsort(-np.asarray(jax.lax.stop_gradient(scores[t])))[:CHOSEN]
        over = scores[t][order] if among == "chosen" else scores[t]
        total, out = jnp.exp(over).sum(), r[t] @ theta["s"].T
        for e in order:
            u = theta["w"][e] @ r[t] + theta["b"][e]
            units = u / (1 + jnp.exp(-u)) * (theta["g"][e] @ r[t])
            out = out + jnp.exp(scores[t][e]) / total * (theta["x"][e] @ units)
        rows.append(out)
    return h + jnp.stack(rows)


@pytest.mark.parametrize("among", ["chosen", "all"])
def test_rows_are_those_of_explicit_experts(among: str):
    """States, gradients by states and by every group, of one network: float32's 1e-4."""
    arch = network(among=among)
    names = ["token_covariance", "gradient_covariance", "weight_gradient"]
    rows = tuple(row for row in select(arch, names) if row.group in (None, *arch.weights))
    measured = rows_of(engine(arch, WIDTH, rows), 1, 1)[0]
    key = jax.random.fold_in(base_key(arch, WIDTH, 3, 0), np.uint32(0))
    known = shapes(arch, WIDTH)
    keys = [jax.random.fold_in(key, i) for i in range(2 + len(known))]
    normal = [np.asarray(random.normal(k, (TOKENS, WIDTH)), dtype=np.float64) for k in keys[:2]]
    theta = {}
    for s, k in zip(known, keys[2:], strict=True):
        variance = NUMBERS.get(f"c_{s.name}", 0.5) / (s.shape[1] if len(s.shape) > 1 else 1)
        each = [np.asarray(draw(k, s, np.uint32(e)), dtype=np.float64) for e in range(s.copies)]
        theta[s.name] = np.sqrt(variance) * (np.stack(each) if s.copies > 1 else each[0])
    values, vectors = np.linalg.eigh(arch.input_gram)
    stem, readout = (vectors * np.sqrt(values)) @ normal[0], normal[1]
    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        by_weight, by_state = jax.grad(
            lambda theta, h: jnp.sum(readout * plain(theta, h, among)), argnums=(0, 1)
        )(theta, stem)
        last = np.asarray(plain(theta, stem, among))
    states, gradients = (np.array([stem, last]), np.array([np.asarray(by_state), readout]))
    for row, value in zip(rows, measured, strict=True):
        a, t, s = row.application or 0, row.token or 0, row.token_2 or 0
        if row.quantity == "weight_gradient":
            entries = np.prod(by_weight[row.group].shape[-1 if row.group == "b" else -2 :])
            expected = float((np.asarray(by_weight[row.group]) ** 2).sum()) / entries
        else:
            u = states if row.quantity == "token_covariance" else gradients
            expected = float(u[a][t] @ u[a][s] / WIDTH)
        assert value == pytest.approx(expected, rel=1e-4, abs=2e-5), row


@pytest.mark.parametrize("slots", apart([(0, 1), (0, 0)], [(0, 0)]))
def test_both_engines_sample_the_same_law(slots: tuple[int, int]):
    """Means over 4,000 networks, weight gradients included, within five standard errors of each
    other: some 40 rows, a false alarm in 2e-5 of runs; another router is told apart (the
    companion)."""
    quantities = ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"]

    def means(arch: sp.Architecture, name: str) -> tuple[np.ndarray, np.ndarray]:
        rows = select(arch, quantities)
        values = sample(engine_for(name, arch, rows, WIDTH, 1024), SAMPLES, 0)
        return values.mean(axis=0), values.std(axis=0) / SAMPLES**0.5

    dense, free = (means(network(slots), name) for name in ("dense", "matrix-free"))
    other = means(network(slots, chosen=1), "matrix-free")

    def far(one: Any, two: Any) -> float:
        error = np.hypot(one[1], two[1])
        return float(np.max(np.abs(one[0] - two[0]) / np.where(error > 0, error, 1.0)))

    assert far(dense, free) < SIGMAS
    assert far(dense, other) > 2 * SIGMAS


def share_products(among: str, count: int, chosen: int, spread: float) -> tuple[float, float]:
    """E sum_e p_e^2 of a token, and E sum_e p_e p'_e of two at cosine 0.3, over plain draws."""
    normals = np.random.default_rng(0).standard_normal((200_000, count, 2))
    scores = spread * normals @ np.linalg.cholesky(GRAM[:2, :2]).T
    least = np.sort(scores, axis=1)[:, -chosen][:, None]
    kept = scores >= least
    weights = np.exp(scores)
    over = weights * kept if among == "chosen" else weights
    p = weights * kept / over.sum(axis=1, keepdims=True)
    return float((p[..., 0] ** 2).sum(1).mean()), float((p[..., 0] * p[..., 1]).sum(1).mean())


@pytest.mark.parametrize(("count", "chosen"), [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("among", ["chosen", "all"])
def test_writes_are_those_of_plain_draws(among: str, count: int, chosen: int):
    """The first write's Gram is that of one expert times E p . p'; the theory's own error, and
    0.5 % for 200,000 plain draws."""
    tables = {
        name: {
            (row["token"], row.get("token_2")): (row["value"], row["error"])
            for row in sp.predict(arch, ["token_covariance", "residual_variance"])
            if row["application"] == 1
        }
        for name, arch in (
            ("mixed", network((0,), among, count, chosen)),
            ("one", network((0,), among, 1, 1)),
        )
    }
    own, cross = share_products(among, count, chosen, NUMBERS["c_router"] ** 0.5)
    for pair, product in (((0, None), own), ((0, 1), cross)):
        (mixed, error), (one, _) = tables["mixed"][pair], tables["one"][pair]
        gram = GRAM[0, 0] if pair[1] is None else GRAM[0, 1]
        plainly = 1.5 * gram  # the stem and the branch that every token has
        expected = plainly + product * (one - plainly)
        assert abs(mixed - expected) < error + 0.005 * abs(expected)


def test_one_expert_is_no_router():
    """E = 1: the same rows as the branch alone, to rounding."""
    alone = network((0, 1), count=1, chosen=1)
    block = alone.sub_blocks[0]
    mixture, shared = block.branch.terms
    plainly = sp.SubBlock(block.reads, mixture.of + shared, block.rule)
    arch = sp.Architecture("one", (plainly,), (0, 1), numbers=NUMBERS, input_gram=GRAM)
    for row, other in zip(
        sp.predict(alone, ["residual_variance", "token_cosine"]),
        sp.predict(arch, ["residual_variance", "token_cosine"]),
        strict=True,
    ):
        assert row["value"] == pytest.approx(other["value"], rel=1e-12)


def test_what_cannot_be_is_refused():
    """Nodes, descriptions, quantities and prescriptions: one line each."""
    expert = sp.Linear("x", sp.Read(), 1.0)
    refused(lambda: sp.Experts("r", expert, 1.0, 2, 3), "chosen=3; accepted: at most count = 2")
    refused(lambda: sp.Experts("r", expert, 1.0, 2, 1, "best"), "among='best'")
    refused(lambda: sp.predict(network(), ["gradient_variance"]), "through routers")
    refused(lambda: sp.check(network()), "check has no rule for steps of the router 'router'")
    sizes = {"depth": 2, "width": 64, "experts": 4}
    refused(
        lambda: sp.prescribe("transformer", base=sizes, target=sizes | {"depth": 4}),
        "prescribe has no rule for steps of the router 'router'",
    )

    def described(branch: Any) -> sp.Architecture:
        block = sp.SubBlock(sp.State(0), branch, sp.State(0) + sp.Write())
        return sp.Architecture("refused", (block,), (0,))

    two = sp.Experts("r", expert, 1.0, 2, 1) + sp.Experts(
        "q", sp.Linear("y", sp.Read(), 1), 1, 2, 1
    )
    refused(lambda: described(two), "several of Experts and Modulate")
    dropped = sp.Experts("r", sp.Linear("x", sp.Dropout("d", sp.Read(), 0.1), 1), 1, 2, 1)
    refused(lambda: described(dropped), "experts 'r': Dropout cannot stand here")
    bent = sp.Experts("r", sp.Activate("relu", expert), 1.0, 2, 1)
    outside = described(sp.Linear("o", bent, 1.0))
    with pytest.raises(sp.NoRule, match="experts overlap with each other"):
        sp.predict(outside, ["residual_variance"])


def test_only_chosen_experts_cost_operations():
    """Four experts, two chosen: four times the parameters, twice the operations, and the router."""

    def cost(**given: Any) -> dict[str, float]:
        arch = sp.architectures.transformer(block="mlp", **given)
        return {row["quantity"]: row["value"] for row in sp.costs(arch, width=64, sequence=10)}

    one, four = cost(), cost(experts=4)
    assert four["parameters"] == 4 * one["parameters"] + 4 * 64
    assert four["flops"] == 2 * one["flops"] + 2 * 10 * 4 * 64


def test_units_of_experts_are_all_counted():
    """The share of hidden units that carry the energy is that of one expert of as many units (a
    sum of fat tails: it falls with their number), not an E-fold of it: 200 networks, within 5 %."""

    def shares(count: int, width: int) -> list[float]:
        arch = network(count=count, chosen=1)
        table = sp.measure(arch, width=width, samples=200, quantities=["participation_ratio"])
        return [row["value"] for row in table]

    several, one = shares(EXPERTS, 128), shares(1, EXPERTS * 128)
    assert several and several == pytest.approx(one, rel=0.05)
