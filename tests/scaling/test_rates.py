"""Rules by group: the published tables entry by entry, as sympy equalities; pair counting; and
gradients of networks written down here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.scaling.rates import OPTIMIZERS, growth, rules
from sigprop.scaling.rule import SETTINGS
from sigprop.scaling.sizes import C, L, M, N, V, d, g, n

LANGUAGE = {"words": "0,1,0", "c_we": 1, "c_pe": 0.1, "vocabulary": 50}
FIXED = {M: 1, C: 1, V: 1, d: 1, g: 1}


def equal(one: sp.Expr, other: Any) -> bool:
    return sp.simplify(one / other) == 1


def language(**parameters: Any) -> Architecture:
    return entry("transformer").build(**{**LANGUAGE, **parameters})


def vision(**parameters: Any) -> Architecture:
    return entry("transformer").build(**parameters)


# 2304.02034, (1.99)-(1.116): SGD, |g|, AdamW at s = 0; and which rows the family multiplies.
EFFECTIVE_THEORY = {
    "stem": (1 / d, n ** sp.Rational(-1, 2), 1 / (d * sp.sqrt(n)), True),
    "embedding": (sp.Integer(1), 1 / sp.sqrt(n), 1 / sp.sqrt(n), True),
    "position": (sp.Integer(1), 1 / sp.sqrt(n), 1 / sp.sqrt(n), True),
    "q": (1 / n, 1 / sp.sqrt(n), n ** sp.Rational(-3, 2), True),
    "k": (1 / n, 1 / sp.sqrt(n), n ** sp.Rational(-3, 2), True),
    "v": (1 / n, 1 / sp.sqrt(n), n ** sp.Rational(-3, 2), True),
    "u": (1 / n, 1 / sp.sqrt(n), n ** sp.Rational(-3, 2), True),
    "w": (1 / n, 1 / sp.sqrt(M * n), 1 / (n * sp.sqrt(M * n)), True),
    "x": (1 / (M * n), 1 / sp.sqrt(n), 1 / (M * n * sp.sqrt(n)), True),
    "readout": (1 / n, 1 / sp.sqrt(V), 1 / (n * sp.sqrt(V)), False),
    "readout_bias": (sp.Integer(1), 1 / sp.sqrt(V), 1 / sp.sqrt(V), False),
}


@pytest.mark.parametrize("s", [0, 1, 0.5])
@pytest.mark.parametrize("group", EFFECTIVE_THEORY)
def test_the_width_table_entry_by_entry(group: str, s: float):
    sgd, entries, adamw, moves = EFFECTIVE_THEORY[group]
    arch = vision() if group == "stem" else language()
    power = sp.Rational(str(s)) if moves else sp.Integer(0)
    here = {name: rules(arch, name, s)[group] for name in ("sgd", "adamw")}
    assert equal(here["sgd"].learning_rate.subs(L, 1), sgd * n**power)
    assert equal(here["adamw"].learning_rate.subs(L, 1), adamw * n ** (power / 2))
    # C: logits over C^(1/2 + s/2), so 1 at a fixed head
    expected = entries * n ** (-power / 2) * (C ** (-power / 2) if group in "qk" else 1)
    assert equal(here["adamw"].epsilon.subs(L, 1), expected)


def test_initial_stds_of_the_effective_theory():
    """2304.02034, (1.25)-(1.33), and n^(1+s) for the head (footnote 8)."""
    for s in (0, 1):
        found = rules(language(), "sgd", s)
        expected = {
            "q": n,
            "k": n,
            "v": n,
            "u": n,
            "w": n,
            "x": M * n,
            "embedding": 1,
            "position": 1,
            "readout": n ** (1 + s),
        }
        for group, inverse in expected.items():
            assert equal(found[group].init_std ** 2, 1 / sp.S(inverse)), group
        assert equal(rules(vision(), "sgd", s)["stem"].init_std ** 2, 1 / d)
        assert equal(found["attention"].multiplier, C ** -sp.Rational(1 + s, 2))


@pytest.mark.parametrize("alpha", ["1/2", "1", "0.8", "0.3", "1.2"])
def test_completep_entry_by_entry(alpha: str):
    """2505.01618, Table 1 for general alpha, in its parametrisation: the unembedding's std does
    not depend on the width, its logits do."""
    a = sp.Rational(alpha)
    found = rules(
        language(residual_scale=f"L**-({alpha})"), "adamw", 1, parametrisation="multiplier"
    )

    def at(e):
        return e.subs(FIXED)

    assert equal(found["residual"].multiplier, L**-a)
    for group in ("q", "k", "v", "u", "w", "x"):
        rule = found[group]
        assert equal(at(rule.init_std) ** 2, 1 / n)
        assert equal(at(rule.learning_rate), L ** (a - 1) / n)
        assert equal(at(rule.weight_decay), n)
        assert equal(at(rule.epsilon), L**-a / n)
    for group in ("bias", "norm"):
        assert equal(found[group].learning_rate, L ** (a - 1))
    for group in ("embedding", "readout"):
        rule = found[group]
        assert equal(at(rule.init_std), 1) and equal(at(rule.learning_rate), 1)
        assert equal(at(rule.weight_decay), 1) and equal(at(rule.epsilon), 1 / n)
    assert equal(found["readout"].multiplier, 1 / n) and equal(found["embedding"].multiplier, 1)
    assert equal(found["attention"].multiplier, 1 / C)


def test_the_looped_recipe():
    """2606.18524, its recipe: m_L = L/12, multiplier m_L^-1/2 N^-1; hidden rate and epsilon
    m_L^-1/2, 1 elsewhere, decay unscaled, at one width."""
    m = sp.Symbol("m", positive=True)
    found = rules(entry("looped-transformer").build(depth=3, loops=2, **LANGUAGE), "adamw", 1)

    def ratio(e):
        return sp.simplify(e.subs(L, 12 * m) / e.subs(L, 12))

    assert sp.simplify(
        ratio(found["residual"].multiplier) - m ** -sp.Rational(1, 2)
    ) == 0 and equal(found["residual"].multiplier, 1 / (N * sp.sqrt(L)))
    for group in ("q", "k", "v", "u", "w", "x", "bias", "norm"):
        rule = found[group]
        assert ratio(rule.learning_rate) == ratio(rule.epsilon) == m ** -sp.Rational(1, 2), group
        assert ratio(rule.weight_decay) == ratio(rule.init_std or n) == 1
    for group in ("embedding", "readout", "final_norm"):
        assert (
            ratio(found[group].learning_rate)
            == ratio(found[group].epsilon)
            == ratio(found[group].weight_decay)
            == 1
        )
    used = set().union(
        *(
            getattr(rule, name).free_symbols
            for rule in found.values()
            for name in ("learning_rate", "epsilon")
            if getattr(rule, name)
        )
    )
    assert N not in used


@pytest.mark.parametrize("a", ["0", "1/2", "1", "0.3", "1.2"])
@pytest.mark.parametrize("b", ["0", "1/2", "1"])
def test_pair_counting_gives_every_depth_factor(a: str, b: str):
    """eps = N^-a L^-b, L blocks looped N times: Adam N^(a-1) L^(b-1), SGD N^(2a-2) L^(2b-1),
    epsilon N^(1-a) L^-b."""
    arch = entry("looped-mlp").build(depth=3, loops=4, residual_scale=f"N**-({a})*L**-({b})")
    a_, b_ = sp.Rational(a), sp.Rational(b)
    adam, sgd = rules(arch, "adam", 1), rules(arch, "sgd", 1)
    for group in ("w", "x", "bias", "norm"):
        width = 1 if group in ("bias", "norm") else n
        assert equal(adam[group].learning_rate * width, N ** (a_ - 1) * L ** (b_ - 1))
        assert equal(sgd[group].learning_rate * width / n, N ** (2 * a_ - 2) * L ** (2 * b_ - 1))
        assert equal(adam[group].epsilon * n, N ** (1 - a_) * L**-b_)
    assert equal(growth(arch), N ** (2 - 2 * a_) * L ** (1 - 2 * b_))


def test_lambda_is_kept():
    """eps = lambda/(N sqrt L): Adam 1/(lambda sqrt L), SGD lambda^-2, whatever N and L
    (2606.18524, section 3)."""
    arch = entry("looped-mlp").build(depth=3, loops=4, residual_scale="0.5/(N*sqrt(L))")
    assert equal(rules(arch, "adamw")["w"].learning_rate, 2 / (sp.sqrt(L) * n))
    assert rules(arch, "sgd")["w"].learning_rate == 4


def test_half_tied_networks_have_rates_per_group():
    """w in L slots used N times, x in N L slots used once: the same applications, so one Adam
    rate; pairs N^2 L and N L."""
    arch = entry("looped-mlp").build(depth=2, loops=3, residual_scale="1/(N*sqrt(L))")
    half = replace(arch, slots={"w": arch.slots["w"], "x": range(6)})  # type: ignore[index]
    adam, sgd = rules(half, "adam"), rules(half, "sgd")
    assert equal(adam["w"].learning_rate, adam["x"].learning_rate) and equal(
        adam["w"].epsilon / adam["x"].epsilon, N
    )
    assert equal(sgd["x"].learning_rate / sgd["w"].learning_rate, N)
    assert "bias" not in adam  # whose sharing the description does not say


def test_a_bare_slot_table_has_no_rules_in_depth():
    arch = entry("looped-mlp").build(depth=2, loops=3)
    bare = replace(arch, slots=(0, 1, 0, 0, 1, 2))
    with pytest.raises(InputError, match="slots of"):
        rules(bare)
    assert equal(rules(bare, width_only=True)["w"].learning_rate, 1 / n)


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "nag",
        "looped-nag",
        "vanilla",
        "u-spa",
        "e-spa",
        "value-skipinit",
        "shaped-attention",
        "deepnorm",
        "deeploop",
    ],
)
def test_networks_without_an_additive_skip_have_rules_in_width_alone(name: str):
    arch = entry(name).build()
    with pytest.raises(InputError, match="accepted"):
        rules(arch)
    found = rules(arch, width_only=True)
    assert set(arch.groups) <= set(found) and not {L, N} & set().union(
        *(found[group].learning_rate.free_symbols for group in arch.groups)
    )


@pytest.mark.parametrize(
    "name",
    [
        "transformer",
        "completep",
        "deepscalelm",
        "looped-mlp",
        "residual-mlp",
        "looped-transformer",
        "parallel-transformer",
        "sandwich-transformer",
    ],
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_setting_is_a_monomial_with_a_criterion(name: str, optimizer: str):
    for group, rule in rules(entry(name).build(), optimizer).items():
        for setting in SETTINGS:
            expression = getattr(rule, setting)
            if expression is not None:
                assert not expression.atoms(sp.Add, sp.Float) and rule.criteria[setting], (
                    group,
                    setting,
                )


def test_decay_follows_the_rate():
    """'product': constant in every size; 'papers': in width alone; Adam's own is part of the
    gradient: decay x entry / |g| constant."""
    arch = entry("looped-transformer").build(depth=2, loops=2)
    for optimizer in ("sgd", "adamw"):
        for group, rule in rules(arch, optimizer, decay="product").items():
            assert rule.rate_x_decay in (None, 1), group
        papers = rules(arch, optimizer)
        assert all(
            rule.rate_x_decay is None or not rule.rate_x_decay.free_symbols & {n, M, V, d}
            for rule in papers.values()
        )
        assert equal(papers["w"].rate_x_decay, 1 / sp.sqrt(L) if optimizer == "adamw" else 1)
    adam = rules(arch, "adam")["w"]
    assert equal(adam.weight_decay * adam.init_std, adam.epsilon)
    with pytest.raises(InputError, match="decay='product' at optimizer='adam'"):
        rules(arch, "adam", decay="product")


def test_a_tied_head_has_the_embeddings_rate_under_both_names():
    """One matrix, two roles: the read-out as a factor n^(-(1+s)/2) has rate, std and epsilon of
    a word embedding (2304.02034, footnote 8)."""
    tied = entry("transformer").build(words="0,1,0", head="tied")
    for s in (0, 1):
        for optimizer in OPTIMIZERS:
            one, other = (rules(tied, optimizer, s)[group] for group in ("embedding", "readout"))
            for setting in SETTINGS:
                if setting != "multiplier" and getattr(one, setting) is not None:
                    assert equal(getattr(one, setting), getattr(other, setting).subs(V, 1)), (
                        s,
                        optimizer,
                        setting,
                    )


def test_grouped_queries_and_gates_are_counted():
    arch = entry("looped-transformer").build(depth=2, loops=2, heads=4, kv_heads=2, gated=True)
    found = rules(arch, "adamw", 0)
    assert equal(found["k"].learning_rate / found["q"].learning_rate, sp.sqrt(g)) and equal(
        found["g"].learning_rate, found["w"].learning_rate
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"decay": "none"}, "decay='none'"),
        ({"s": 2}, "s=2"),
        ({"s": True}, "s=True"),
        ({"parametrisation": "ntk"}, "parametrisation='ntk'"),
    ],
)
def test_bad_options(options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says) as caught:
        rules(entry("looped-mlp").build(depth=2), **options)
    assert "\n" not in str(caught.value) and "accepted" in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"residual_scale": 0}, "multiplier above 0"),
        ({"skip_scale": 0.9}, "skip_scale"),
        ({"norm": "post"}, "h \\+ eps f"),
    ],
)
def test_networks_that_pairs_do_not_cover(parameters: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        rules(entry("residual-mlp").build(depth=4, **parameters))


# Gradients of networks written here, not sigprop's: the epsilon rule and the sum that the rate rule
# divides by.


def gradients(
    seed: int, seeds: int, width: int, depth: int, loops: int, ratio: int, s: int
) -> dict[str, np.ndarray]:
    """dz/dtheta [seeds, ...] of z = n^(-(1+s)/2) v.h, h <- h + X relu(W norm(h))/(N sqrt L), h_0
    a row of an embedding, weights of variance 1/n_in."""
    rng, units = np.random.default_rng(seed), ratio * width

    def draw(std, *shape):
        return jnp.asarray(std * rng.standard_normal((seeds, *shape), dtype=np.float32))

    params = {
        "embedding": draw(1, width),
        "w": draw(width**-0.5, depth, units, width),
        "x": draw((2 / units) ** 0.5, depth, width, units),
        "readout": draw(width ** (-(1 + s) / 2), width),
        "norm": jnp.ones((seeds, depth, width)),
        "bias": jnp.zeros((seeds, depth, units)),
    }
    eps = 1 / (loops * depth**0.5)

    def output(p: dict[str, jax.Array]) -> jax.Array:
        def block(h: jax.Array, slot: jax.Array) -> tuple[jax.Array, None]:
            r = p["norm"][slot] * h / jnp.sqrt(jnp.mean(h**2))
            return h + eps * p["x"][slot] @ jax.nn.relu(p["w"][slot] @ r + p["bias"][slot]), None

        return (
            p["readout"]
            @ jax.lax.scan(block, p["embedding"], jnp.tile(jnp.arange(depth), loops))[0]
        )

    return {
        name: np.asarray(value, dtype=np.float64)
        for name, value in jax.jit(jax.vmap(jax.grad(output)))(params).items()
    }


def slopes(
    over: str, sizes: tuple[int, ...], s: int, seeds: int = 16
) -> dict[str, tuple[float, float, float, float]]:
    """{group: (slope of rms |dz/dtheta|, its standard error, that of sum |dz/dtheta|, its
    error)} in log size, over networks of their own a seed."""
    found: dict[str, list[np.ndarray]] = {}
    for size in sizes:
        at = {"width": 64, "depth": 2, "loops": 2, "ratio": 1} | {over: size}
        for name, value in gradients(size, seeds, **at, s=s).items():
            flat = value.reshape(seeds, -1)
            found.setdefault(name, []).append(
                np.log(np.stack([np.sqrt((flat**2).mean(1)), abs(flat).sum(1)]))
            )
    x = np.log(sizes) - np.mean(np.log(sizes))
    result = {}
    for name, values in found.items():
        table = np.stack(values, axis=-1)  # [2, seeds, sizes]
        means, errors = (
            table.mean(1) @ x / (x @ x),
            np.sqrt((table.var(1, ddof=1) / seeds) @ x**2) / (x @ x),
        )
        result[name] = (means[0], errors[0], means[1], errors[1])
    return result


EXPECTED = {"width": n, "ratio": M, "depth": L, "loops": N}


@pytest.mark.parametrize(
    ("over", "sizes", "s", "allowed"),
    [
        ("width", (32, 64, 128, 256), 0, 0.03),
        ("width", (32, 64, 128, 256), 1, 0.03),
        ("ratio", (1, 2, 4, 8), 1, 0.03),
        # the norm's growth from 1 to its limit: an effective exponent (exponents.md, section 3)
        ("depth", (2, 4, 8, 16), 1, 0.06),
        ("loops", (2, 4, 8, 16), 1, 0.06),
    ],
)
def test_gradients_of_finite_networks_follow_the_rules(
    over: str, sizes: tuple[int, ...], s: int, allowed: float
):
    """Every group: rms entry ~ epsilon, sum of entries ~ 1/rate, slopes to ``allowed`` plus 4
    standard errors (false alarm below 1e-3 for all)."""
    symbol = EXPECTED[over]
    arch = entry("looped-transformer").build(depth=2, loops=2, block="mlp", **LANGUAGE)
    known = rules(arch, "adamw", s)

    def exponent(e):
        return float(sp.diff(sp.log(e), symbol) * symbol)

    for group, (entry_slope, entry_error, sum_slope, sum_error) in slopes(over, sizes, s).items():
        rule = known[group]
        # of hidden units: M n of them, where the group is vectors of n
        biases = group == "bias" and over == "ratio"
        assert (
            abs(entry_slope - exponent(rule.epsilon) + 0.5 * biases) < allowed + 4 * entry_error
        ), (group, entry_slope)
        assert (
            abs(sum_slope + exponent(rule.learning_rate) - 0.5 * biases) < allowed + 4 * sum_error
        ), (group, sum_slope)
        assert entry_error < 0.06


def test_the_gradient_check_can_fail():
    """The rule of s = 0, slope -1/2, against networks of s = 1."""
    found, wrong = (
        slopes("width", (32, 64, 128, 256), 1),
        rules(entry("looped-mlp").build(depth=2, loops=2), "adamw", 0),
    )
    slope, error = found["w"][:2]
    assert abs(slope + 0.5) > 0.03 + 4 * error and equal(wrong["w"].epsilon * sp.sqrt(L * n), 1)
