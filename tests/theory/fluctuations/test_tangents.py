"""Scatter and shift of tangent kernels: a closed form, explicit networks in plain numpy, and laws.

Errors of theory are half-widths of 99 % intervals of eight sets of units (``skip_networks``), those
of networks standard errors. A case compares at most 30 numbers of networks with theory, of which
the largest deviation stays below ``FAR`` standard errors with probability 99.8 %.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from explicit_tangents import tangents
from skip_networks import GRAMS, agrees, network

import sigprop as sp
from sigprop.agreement.finite_width.scatter import Found, against_networks, at_infinity
from sigprop.errors import InputError
from sigprop.theory.fluctuations.copies import copied
from sigprop.theory.fluctuations.forms import FORMS, having_forms
from sigprop.theory.recursion.kernels import kernels
from sigprop.theory.recursion.passes import FORWARD

A = sp.architectures
FAR = 4.0
PAIRS = ((0, 0), (0, 1), (1, 1))
NETWORKS, MANY = {16: 20_000, 32: 20_000, 64: 20_000}, {16: 60_000, 32: 60_000, 64: 60_000}
AT_ONCE = 2**22  # entries of matrices that are drawn at a time
Forms = dict[tuple[str | None, int, int], float]


def closed_form(
    depth: int, skip: float, strength: float, variance: float, apart: bool = False
) -> Forms:
    """n Var of Theta_ts, of h <- skip h + strength W h (docs/finite-width.md, "Tangent kernels");
    apart: as if applications' terms did not go together."""
    gram, d = GRAMS[2], depth
    kappa = variance * strength**2
    x = skip**2 + kappa
    s, u = 2 * (1 - skip**4 / x**2), d * strength**2 / x
    matrix = u**2 * (1 + s * (d - 1) * (2 * d - 1) / (12 * d))
    if apart:
        matrix = u**2 * (1 + s * (d - 1) / 4) / d
    ends, crossed = 1 + d * s / 2, 2 * u * (1 + s * (d - 1) / 4)
    found: Forms = {}
    for t, r in PAIRS:
        own, both = gram[t, t] * gram[r, r], gram[t, r] ** 2
        size = x ** (2 * d)
        found["readout", t, r] = size * (own + both) * ends
        found["stem", t, r] = size * 2 * both * ends
        found["w2", t, r] = size * (own + 3 * both) * matrix
        found[None, t, r] = size * (own + 3 * both) * (matrix + crossed + ends)
    return found


def predicted(units: int, **given: Any) -> dict[tuple[str | None, int, int], dict[str, Any]]:
    """Rows by group and tokens of two tokens' network."""
    depth = len(given["slots"])
    arch = network(**given, tokens=2, depth=depth)
    return by_group([dict(row) for row in sp.fluctuations(arch, ["ntk"], units=units)])


def by_group(rows: list[dict[str, Any]]) -> dict[tuple[str | None, int, int], dict[str, Any]]:
    """Tangent kernels of a table."""
    return {
        (row.get("group"), row["token"], row["token_2"]): row
        for row in rows
        if row["quantity"] == "ntk"
    }


def drawn(keys: Any, values: Any, networks: dict[int, int], **given: Any) -> Found:
    """n Var and n (mean - value) of explicit networks at 1/n = 0, in the keys' order."""
    rng = np.random.default_rng(0)
    per_square = given["matrices"] * int(given.get("rows", 1)) * len(set(given["slots"]))
    parts = {}
    for n, count in networks.items():
        most = max(1, AT_ONCE // (n * n * per_square))
        sizes = [most] * (count // most) + [count % most] * (count % most > 0)
        every = [tangents(rng, size, n, GRAMS[2], **given) for size in sizes]
        parts[n] = np.concatenate(
            [np.stack([each[g][:, t, s] for g, t, s in keys], axis=1) for each in every]
        )
    return at_infinity(parts, np.array(values))


def furthest(found: Found, rows: list[dict[str, Any]]) -> float:
    """The largest deviation of networks over its standard error, of rows that fluctuate."""
    largest = 0.0
    for k, row in enumerate(rows):
        if row["n_variance"] < 1e-9:
            continue
        for name, value, se in (
            ("n_variance", found.variance[k], found.variance_se[k]),
            ("n_shift", found.shift[k], found.shift_se[k]),
        ):
            error = np.hypot(se, row.get(f"{name}_error", 0.0) / 2.576)
            largest = max(largest, abs(value - row[name]) / error)
    return largest


LINEAR = {"activation": "linear", "matrices": 1, "c2": 1.5}
STACKS: dict[str, dict[str, Any]] = {
    "with skips": {"slots": [0, 1], "skip": 1.0, "strength": 0.7},
    "without": {"slots": [0, 1, 2], "skip": 0.0, "strength": 0.8},
}


def form_of(**given: Any) -> Forms:
    more = {"apart": given["apart"]} if "apart" in given else {}
    return closed_form(len(given["slots"]), given["skip"], given["strength"], 1.5, **more)


@pytest.fixture(scope="module")
def stack() -> list[dict[str, Any]]:
    """Rows of the stack with skips, the tangent kernel's among others."""
    arch = network(**LINEAR, **STACKS["with skips"], tokens=2, depth=2)
    names = ["residual_variance", "token_covariance", "gradient_variance", "ntk"]
    return [dict(row) for row in sp.fluctuations(arch, names, [0, 2], units=2048)]


def check_formula(rows: dict[Any, dict[str, Any]], form: Forms) -> None:
    """No group's mean is off, to first order; and errors are small enough for this to say so."""
    assert rows.keys() == form.keys()
    assert all(agrees(rows[key], form[key], 0.0) for key in form)
    assert all(rows[key]["n_variance_error"] < 0.15 * form[key] for key in form)


def test_a_linear_stack_as_its_formula_has_it(stack: list[dict[str, Any]]):
    check_formula(by_group(stack), form_of(**STACKS["with skips"]))


@pytest.mark.long
def test_a_linear_stack_without_skips():
    check_formula(predicted(2048, **LINEAR, **STACKS["without"]), form_of(**STACKS["without"]))


@pytest.mark.parametrize("name", STACKS)
def test_the_formula_as_explicit_networks_have_it(name: str):
    """The companion: terms of applications that do not go together are told from it."""
    form, wrong = form_of(**STACKS[name]), form_of(**STACKS[name], apart=True)
    values = values_of_a_stack(**STACKS[name])
    found = drawn(form, [values[key] for key in form], NETWORKS, **LINEAR, **STACKS[name])
    rows, others = (
        [{"n_variance": each[key], "n_shift": 0.0} for key in form] for each in (form, wrong)
    )
    assert furthest(found, rows) < FAR < furthest(found, others)


def values_of_a_stack(**given: Any) -> Forms:
    """Theta in the wide limit, which is its mean at every width."""
    d, size = len(given["slots"]), given["strength"] ** 2
    x = given["skip"] ** 2 + 1.5 * size
    found: Forms = {}
    for t, s in PAIRS:
        g = float(GRAMS[2][t, s])
        parts = {"readout": g * x**d, "stem": g * x**d, "w2": d * size * x ** (d - 1) * g}
        found |= {(group, t, s): value for group, value in parts.items()}
        found[None, t, s] = sum(parts.values())
    return found


NETS: dict[str, dict[str, Any]] = {
    "post-norm, tied": {"slots": [0, 0], "norm": "post"},
    "tied": {"slots": [0, 0]},
    "untied": {"slots": [0, 1, 2]},
    "two matrices behind RMSNorm": {"slots": [0, 1], "norm": "rms", "matrices": 2, "rows": 2},
    "the same, tied": {"slots": [0, 0], "norm": "rms", "matrices": 2, "rows": 2},
}
TANH = {"activation": "tanh", "matrices": 1, "c2": 1.5}


@pytest.mark.long
@pytest.mark.parametrize("name", NETS)
def test_as_explicit_networks_have_it(name: str):
    """The companion: weights of their own where they are shared, or the other way round, are
    another network."""
    given = TANH | NETS[name]
    rows = predicted(2048, **given)
    values = [row["value"] for row in rows.values()]
    assert furthest(drawn(rows, values, MANY, **given), list(rows.values())) < FAR
    depth = len(given["slots"])
    other = given | {"slots": list(range(depth)) if len(set(given["slots"])) == 1 else [0] * depth}
    assert furthest(drawn(rows, values, NETWORKS, **other), list(rows.values())) > FAR


@pytest.mark.parametrize("other", ["read-out", "stem"])
def test_the_ends_are_rows_of_their_own(other: str, stack: list[dict[str, Any]]):
    """On the same units: the read-out's part is the last state's Gram, the stem's the first
    gradient's (of the first token, whose normals are the first)."""

    def row(quantity: str, **at: Any) -> dict[str, Any]:
        (found,) = (
            each
            for each in stack
            if each["quantity"] == quantity and all(each.get(k) == at[k] for k in at)
        )
        return found

    def ends(group: str, t: int, s: int) -> dict[str, Any]:
        return row("ntk", group=group, token=t, token_2=s)

    pairs = (
        [(ends("stem", 0, 0), row("gradient_variance", application=0, token=0))]
        if other == "stem"
        else [
            (ends("readout", 1, 1), row("residual_variance", application=2, token=1)),
            (ends("readout", 0, 1), row("token_covariance", application=2)),
        ]
    )
    for tangent, same in pairs:
        assert tangent["n_variance"] == pytest.approx(same["n_variance"], rel=1e-6)
        assert tangent["n_shift"] == pytest.approx(same["n_shift"], rel=1e-4, abs=1e-4)


def test_they_come_when_asked_for():
    assert "ntk" not in FORMS and "ntk" not in having_forms(A.looped_mlp())


def gated() -> sp.Architecture:
    """One matrix, and a number for every coordinate of what it is given."""
    branch = sp.Linear("w", sp.Gate(sp.Number("g"), sp.Read(), "gate"), 1.0)
    block = sp.SubBlock(sp.State(), branch, sp.State() + sp.Write())
    slots = {"w": [0], "gate": [0]}
    return sp.Architecture("gated", (block,), slots, {"g": 1.0}, kinds=[0], input_gram=np.eye(1))


def test_gates_are_refused_in_one_line():
    with pytest.raises(InputError, match="gradients by gates have no form yet"):
        sp.fluctuations(gated(), ["ntk"])


def attention(scale: str = "sqrt", **given: Any) -> sp.Architecture:
    """Attention sub-blocks behind RMSNorm, two tokens, heads of four coordinates."""
    first = 0.0 if scale == "zero_query" else 2.0
    q, k = (sp.Linear(name, sp.Read(), c) for name, c in (("q", first), ("k", 2.0)))
    scores = sp.Scores(head_dim=4, scale=scale, mask=given.get("mask", "none"))
    heads = sp.Attend(q, k, sp.Linear("v", sp.Read(), 1.0), scores)
    block = sp.SubBlock(
        sp.Normalise(sp.State()), sp.Linear("u", heads, 1.0), sp.State() + 1.0 * sp.Write()
    )
    slots = given.get("slots", [0])
    kinds, gram = [0] * len(slots), given.get("gram", GRAMS[2])
    return sp.Architecture(
        "a", (block,), dict.fromkeys("qkvu", slots), {}, kinds=kinds, input_gram=gram
    )


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_copies_do_not_see_each_other(mask: str):
    """Every copy has the Grams of the network, between copies those of its own tokens. Without a
    mask of their own they would mix, the companion."""

    def gram(arch: sp.Architecture) -> np.ndarray:
        return kernels(arch, reach=FORWARD).states[-1]

    arch = attention("zero_query", mask=mask)
    many = copied(arch)
    np.testing.assert_allclose(gram(many), np.kron(np.ones((2, 2)), gram(arch)), atol=1e-12)
    if mask == "causal":
        mixed = attention("zero_query", mask=mask, gram=many.input_gram)
        assert np.abs(gram(mixed) - gram(many)).max() > 0.01


@pytest.mark.long
def test_attention_as_finite_networks_have_it():
    """The companion: networks without the mask are other networks."""
    arch = attention(mask="causal")

    def furthest_of(networks: sp.Architecture, count: int) -> float:
        many = dict.fromkeys((24, 48, 96), count)
        rows = against_networks(networks, many, quantities=["ntk"], units=256, said=arch)
        # under a mask the first token's scores are nothing's: 0 within rounding
        found = [row for row in rows if row["n_variance"] > 1e-12]
        return max(abs(row[z]) for row in found for z in ("variance_z", "shift_z"))

    assert furthest_of(arch, 9600) < FAR < furthest_of(attention(), 500)


def test_gradients_by_gates_are_refused_or_left_out():
    """<x^2 d^2> is no product of <x, x> and <d, d> (one gate of size 1: n Var 10, not 6): asked for
    by name it is refused, by default left out."""
    arch = gated()
    with pytest.raises(InputError, match="weight_gradient: .* gates have no form yet"):
        sp.fluctuations(arch, ["weight_gradient"], [0], units=64)
    found = {row["quantity"] for row in sp.fluctuations(arch, None, [0], units=64)}
    assert "gradient_variance" in found and "weight_gradient" not in found


def test_attention_used_twice_is_refused():
    with pytest.raises(InputError, match="ntk: .* several times have no form yet"):
        sp.fluctuations(sp.architectures.looped_transformer(loops=2), ["ntk"])
