"""Scatter and shift of finite networks: tables of an own derivation that was checked on explicit
networks, closed forms, laws, and what is refused.

Errors are half-widths of 99 % intervals of eight sets of units; a row is further off than ``FAR``
of them with probability 1e-4.
"""

from __future__ import annotations

from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError, NoRule

FAR = 2.2
GRAMS = {
    1: np.eye(1),
    2: np.array([[1, 0.3], [0.3, 1]]),
    3: np.array([[1, 0.3, 0.6], [0.3, 1, 0.5], [0.6, 0.5, 1]]),
}
PAIR = ("residual_variance", "token_covariance", "token_cosine")


def network(
    activation: str,
    *,
    tokens: int = 1,
    depth: int = 3,
    matrices: int = 2,
    rows: Fraction = Fraction(1),
    norm: str = "",
    slots: Any = None,
    c1: float = 1.0,
    c2: float = 2.0,
    strength: float = 0.7,
    skip: float = 1.0,
    stem: float = 1.0,
    gram: Any = None,
) -> sp.Architecture:
    """skip h + strength W2 phi(W1 r), or W phi(r); norm '', 'rms', 'layer', 'post'."""
    inner = sp.Read() if matrices == 1 else sp.Linear("w1", sp.Read(), c1, rows)
    branch = sp.Linear("w2", sp.Activate(activation, inner), c2)
    read = sp.Normalise(sp.State(), norm) if norm in ("rms", "layer") else sp.State()
    rule: sp.Vector = strength * sp.Write()
    rule = skip * sp.State() + rule if skip else rule
    rule = sp.Normalise(rule) if norm == "post" else rule
    block = sp.SubBlock(read, branch, rule)
    table = list(range(depth)) if slots is None else slots
    return sp.Architecture(
        "net",
        (block,),
        dict.fromkeys(block.weights, table),
        {},
        kinds=[0] * depth,
        input_gram=stem * (GRAMS[tokens] if gram is None else gram),
    )


def last(
    arch: sp.Architecture, quantities: Any = PAIR, units: int = 1024, **given: Any
) -> dict[Any, dict[str, Any]]:
    """The rows of the last state by quantity and tokens."""
    table = sp.fluctuations(arch, quantities, [arch.depth], units=units, **given)
    return {(row["quantity"], row.get("token"), row.get("token_2")): row for row in table}


def agrees(row: dict[str, Any], variance: float, shift: float, slack: float = 0.01) -> bool:
    """Within FAR stated errors, and what the table of numbers itself leaves open: 1 % of
    n_variance, 0.06 of n_shift."""
    of_variance = FAR * row["n_variance_error"] + slack * variance
    of_shift = FAR * row["n_shift_error"] + 6 * slack
    return (
        abs(row["n_variance"] - variance) <= of_variance and abs(row["n_shift"] - shift) <= of_shift
    )


TIED = [0, 0, 0]
NETS: dict[str, tuple[dict[str, Any], tuple[float, float], tuple[float, float]]] = {
    "untied gelu, RMS": (
        {"activation": "gelu", "tokens": 2, "rows": Fraction(2), "norm": "rms"},
        (9.753, 0.138),
        (1.450, -0.204),
    ),
    "tied gelu, RMS": (
        {"activation": "gelu", "tokens": 2, "rows": Fraction(2), "norm": "rms", "slots": TIED},
        (51.459, -0.193),
        (1.961, -0.260),
    ),
    "tied tanh": (
        {"activation": "tanh", "tokens": 2, "rows": Fraction(1, 2), "slots": TIED, "c2": 1.5},
        (52.260, -0.424),
        (3.472, -0.413),
    ),
    "tied gelu, post": (
        {"activation": "gelu", "tokens": 2, "rows": Fraction(2), "norm": "post", "slots": TIED},
        (2.224, -0.409),
        (2.224, -0.409),
    ),
    "two blocks, looped twice": (
        {
            "activation": "tanh",
            "tokens": 2,
            "depth": 4,
            "rows": Fraction(2),
            "norm": "rms",
            "slots": [0, 1, 0, 1],
            "c2": 1.5,
        },
        (26.246, -0.415),
        (2.390, -0.370),
    ),
    "one matrix, two blocks, looped": (
        {"activation": "gelu", "tokens": 2, "depth": 4, "matrices": 1, "slots": [0, 1, 0, 1]},
        (306.976, 3.336),
        (2.219, -0.856),
    ),
}
"""Arguments, then (n_variance, n_shift) of the covariance and cosine of two tokens at the end."""


@pytest.mark.parametrize("name", NETS)
def test_two_tokens(name: str):
    given, covariance, cosine = NETS[name]
    rows = last(network(**given))
    assert agrees(rows["token_covariance", 0, 1], *covariance)
    assert agrees(rows["token_cosine", 0, 1], *cosine)


def test_another_network_is_told_from_it():
    """The companion: weights of their own where they are shared."""
    given = NETS["tied gelu, RMS"][0] | {"slots": None}
    rows = last(network(**given))
    assert not agrees(rows["token_covariance", 0, 1], *NETS["tied gelu, RMS"][1])


def attention(**given: Any) -> sp.Architecture:
    """One causal attention sub-block behind RMSNorm, heads of ``size`` coordinates."""
    size, variance = given["size"], given["scores"] ** 0.5
    q, k = (sp.Linear(name, sp.Read(), variance) for name in "qk")
    heads = sp.Attend(q, k, sp.Linear("v", sp.Read(), 1.0), sp.Scores(head_dim=size, mask="causal"))
    rule = given["skip"] * sp.State() + sp.Write()
    block = sp.SubBlock(sp.Normalise(sp.State()), sp.Linear("u", heads, 1.0), rule)
    depth = given.get("depth", 1)
    slots = [0] * depth
    return sp.Architecture(
        "heads",
        (block,),
        dict.fromkeys("qkvu", slots),
        {},
        kinds=slots,
        input_gram=given.get("gram", GRAMS[3]),
    )


HEADS: dict[str, tuple[dict[str, Any], dict[Any, tuple[float, float]]]] = {
    "heads of 4": (
        {"size": 4, "scores": 4.0, "skip": 1.0},
        {
            ("residual_variance", 2, None): (7.727, -0.002),
            ("token_covariance", 1, 2): (6.552, -0.200),
            ("token_cosine", 1, 2): (0.517, -0.482),
        },
    ),
    "heads of 8, orthogonal tokens": (
        {"size": 8, "scores": 16.0, "skip": 0.5, "gram": np.eye(3)},
        {
            ("residual_variance", 2, None): (3.795, 0.103),
            ("token_covariance", 1, 2): (3.607, -0.117),
        },
    ),
    "tied": (
        {"size": 4, "scores": 4.0, "skip": 1.0, "depth": 2},
        {
            ("residual_variance", 2, None): (43.62, -1.446),
            ("token_covariance", 1, 2): (42.14, -2.015),
            ("token_cosine", 1, 2): (0.364, -0.694),
        },
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_a_population_of_their_own(name: str):
    """Within the errors of 128 sampled heads too: 3 %."""
    given, expected = HEADS[name]
    rows = last(attention(**given))
    assert all(agrees(rows[key], *numbers, slack=0.03) for key, numbers in expected.items())


@pytest.mark.parametrize("depth", [1, 3])
def test_untied_gelu_behind_a_norm_does_not_amplify(depth: int):
    """Closed form: q = 1 + sum kappa, shift 0, n Var = 2 q^2 + (k_phi / r) sum kappa^2."""
    rows = last(network("gelu", depth=depth, rows=Fraction(2), norm="rms"), ["residual_variance"])
    row = rows["residual_variance", 0, None]
    kappa, k_phi = 0.41672, 6.2156
    variance = 2 * (1 + depth * kappa) ** 2 + k_phi / 2 * depth * kappa**2
    assert agrees(row, variance, 0.0)
    assert abs(row["n_shift"]) < FAR * row["n_shift_error"]


@pytest.mark.parametrize("depth", [2, 3])
def test_tied_linear(depth: int):
    """Closed form of h_D = (1 + a W)^D h_0 by pairings, a^2 C = s^2."""
    s2 = 0.735
    arch = network("linear", depth=depth, matrices=1, slots=[0] * depth, c2=s2 / 0.49, strength=0.7)
    row = last(arch, ["residual_variance"])["residual_variance", 0, None]
    each = range(depth + 1)
    value = sum(comb(depth, j) ** 2 * s2**j for j in each)
    shift = 2 * sum(
        comb(depth, j) * comb(depth, k) * s2 ** ((j + k) // 2) * (k + 1)
        for j in each
        for k in range(j)
        if (j - k) % 2 == 0
    )
    variance = 2 * sum(
        comb(depth, i)
        * comb(depth, j)
        * comb(depth, k)
        * comb(depth, m)
        * s2 ** (i + j)
        * (min(i, j, k, m) + 1)
        for i in each
        for j in each
        for k in each
        for m in each
        if i + j == k + m
    )
    assert row["value"] == pytest.approx(value)
    assert agrees(row, variance, shift)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_feed_forward_relu(depth: int):
    """n Var = 5 D + 2, no shift: Hanin and Nica's exp(5 D / n) at first order."""
    arch = network("relu", depth=depth, matrices=1, skip=0.0, strength=1.0)
    assert agrees(last(arch, ["residual_variance"])["residual_variance", 0, None], 5 * depth + 2, 0)


def test_the_stem_alone():
    """n Cov(Q_ts, Q_uv) = G_tu G_sv + G_tv G_su, no shift."""
    table = sp.fluctuations(network("tanh", tokens=2), PAIR[:2], [0], units=256)
    expected = {None: 2.0, 1: 1 + 0.3**2}
    assert all(agrees(row, expected[row.get("token_2")], 0.0) for row in table)


def test_a_larger_stem_scales():
    """No norm, a homogeneous function: h_0 -> s h_0 multiplies n_variance by s^4, n_shift by s^2,
    on the same units."""
    one, four = (
        last(network("relu", slots=TIED, stem=stem), ["residual_variance"], units=64)
        for stem in (1.0, 4.0)
    )
    key = ("residual_variance", 0, None)
    assert four[key]["n_variance"] == pytest.approx(16 * one[key]["n_variance"], rel=1e-6)
    assert four[key]["n_shift"] == pytest.approx(4 * one[key]["n_shift"], rel=1e-4)


def test_tied_once_is_untied():
    one, other = (
        last(network("gelu", depth=1, norm="rms", slots=slots), ["residual_variance"], units=64)
        for slots in (None, [0])
    )
    key = ("residual_variance", 0, None)
    assert one[key]["n_variance"] == pytest.approx(other[key]["n_variance"], rel=1e-9)


def test_what_a_norm_makes_certain():
    """After a norm <h, h> of a token is 1 in every network."""
    rows = last(network("gelu", tokens=2, norm="post"), ["residual_variance"], units=64)
    assert all(
        abs(row["n_variance"]) < 1e-12 and abs(row["n_shift"]) < 1e-6 for row in rows.values()
    )


def test_a_width():
    """sd and shift are the coefficients at that width, with their errors."""
    arch = network("tanh", slots=TIED)
    key = ("residual_variance", 0, None)
    plain = last(arch, ["residual_variance"], units=64)[key]
    wide = last(arch, ["residual_variance"], units=64, width=100)[key]
    assert wide["sd"] == pytest.approx((plain["n_variance"] / 100) ** 0.5)
    assert wide["shift"] == pytest.approx(plain["n_shift"] / 100)
    relative = plain["n_variance_error"] / plain["n_variance"]
    assert wide["sd_error"] == pytest.approx(wide["sd"] * relative / 2)


A = sp.architectures
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "gradients": (A.looped_mlp, {"quantities": ["gradient_variance"]}, "no form yet"),
    "several widths": (A.variable_width, {}, "several widths"),
    "orthogonal": (A.vanilla, {}, "orthogonal"),
    "an activation of what LayerNorm returns": (
        lambda: network("gelu", matrices=1, norm="layer"),
        {},
        "LayerNorm",
    ),
    "dropout": (lambda: A.transformer(dropout=0.1), {}, "dropout"),
    "beyond what a float holds": (
        lambda: A.mlp(depth=600, c_w=9.0),
        {"applications": [600]},
        "no number that a float holds",
    ),
    "width": (A.mlp, {"width": 0}, "width=0"),
    "units": (A.mlp, {"units": 100}, "units=100"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str):
    make, given, text = REFUSED[name]
    with pytest.raises((InputError, NoRule), match=text):
        sp.fluctuations(make(), **given)
