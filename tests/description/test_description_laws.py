"""Laws of descriptions, over every registered network at parameters that are not the defaults:
what is replaced stays, what is rebuilt is the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import Readout
from sigprop.language.formula import formula

A = sp.architectures
STEM: dict[str, Any] = {"words": (0, 1, 1), "c_we": 0.5, "c_pe": 0.1}
OTHERS: dict[str, dict[str, Any]] = {
    "mlp": {
        "depth": 3,
        "activation": "tanh",
        "c_w": "1+1/L",
        "c_b": 0.1,
        "tokens": 2,
        "token_cosine": 0.4,
        "readout": "last",
    },
    "residual-mlp": {
        "depth": 5,
        "activation": "leaky-relu(0.2)",
        "matrices": 1,
        "norm": "none",
        "residual_scale": "0.7/sqrt(l)",
        "c_b": 0.05,
    },
    "looped-mlp": {
        "depth": 2,
        "loops": 3,
        "activation": "erf",
        "norm_kind": "layer",
        "norm_eps": 1e-3,
        "residual_scale": "1/N",
        "skip_scale": 0.9,
    },
    "transformer": {
        **STEM,
        "depth": 3,
        "init": "gpt2",
        "model_width": 512,
        "norm_kind": "rms",
        "mask": "causal",
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
    },
    "looped-transformer": {
        **STEM,
        "depth": 2,
        "loops": 3,
        "c_u": "0.5/l",
        "residual_scale": "1/(N*l)",
        "gated": True,
        "mlp_ratio": 2,
        "head": "tied",
    },
    "completep": {**STEM, "depth": 4, "block": "mlp", "activation": "relu"},
    "parallel-transformer": {**STEM, "depth": 3, "c_x": (0.5, 1.0, 2.0)},
    "sandwich-transformer": {**STEM, "depth": 2, "skip_scale": "sqrt(1-1/S)", "dropout": 0.1},
    "deepnorm": {**STEM, "depth": 3, "mlp_ratio": 2},
    "deeploop": {**STEM, "depth": 2, "loops": 3, "block": "mlp"},
    "deepscalelm": {
        "tokens": 4,
        "token_cosine": 0.4,
        "depth": 3,
        "dropout": 0.1,
        "residual_scale": "sqrt(1/S)",
    },
    "nag": {
        **STEM,
        "depth": 4,
        "modulator": "learned",
        "mod_rate": 0.25,
        "alpha_0": "0.5/sqrt(L)",
        "alpha_exponent": 0.25,
    },
    "looped-nag": {**STEM, "depth": 2, "loops": 3, "alpha_0": "1/(N*L)", "modulator": 0.5},
    "variable-width": {
        **STEM,
        "depth": 4,
        "bottleneck": 0.5,
        "resize": "zero",
        "residual_scale": "1/sqrt(L)",
        "head": "tied",
    },
    "vanilla": {
        **STEM,
        "depth": 3,
        "block": "mlp",
        "shaping_eta": 0.7,
        "skip_scale": "sqrt(1-1/(l+1))",
    },
    "u-spa": {**STEM, "depth": 3, "rho_final": 0.6, "mask": "none"},
    "e-spa": {**STEM, "depth": 3, "gamma_final": 0.05, "block": "transformer", "mlp_ratio": 2},
    "value-skipinit": {
        **STEM,
        "depth": 3,
        "block": "transformer",
        "shape_beta": 0.1,
        "shaping_eta": 0.8,
    },
    "shaped-attention": {**STEM, "depth": 2, "shape_gamma": "0.5/L", "mask": "none"},
}
NAMES = sorted(entries())


def other(name: str) -> Architecture:
    return entry(name).build(**OTHERS[name])


def same(one: Architecture, two: Architecture) -> None:
    """Two descriptions of one network."""
    assert (
        one.groups == two.groups
        and one.slots == two.slots
        and one.bands == two.bands
        and one.sub_blocks == two.sub_blocks
    )
    assert (
        one.numbers.keys() == two.numbers.keys()
        and one.formulas == two.formulas
        and one.readout == two.readout
        and one.head == two.head
    )
    assert all(np.array_equal(one.numbers[name], two.numbers[name]) for name in one.numbers)
    parts = [
        {name: (part.variance, part.gram.tolist()) for name, part in arch.stem_parts.items()}
        for arch in (one, two)
    ]
    assert parts[0] == parts[1]
    assert repr(one.parameters) == repr(two.parameters)


@pytest.mark.parametrize("name", NAMES)
def test_replacing_nothing_changes_nothing(name: str):
    arch = other(name)
    same(replace(arch, name="x"), arch)
    same(replace(arch, input_gram=arch.stem_parts), arch)


@pytest.mark.parametrize("name", NAMES)
def test_a_family_builds_the_network_itself_at_its_own_sizes(name: str):
    """At other sizes every number is its formula's value there."""
    arch = other(name)
    assert arch.family is not None
    depth, loops = arch.sizes["L"], arch.sizes["N"]
    same(arch.family.build(depth, loops), arch)
    same(arch.family.member(arch, depth, loops), arch)
    if not any(
        len(number.entries) > 1 and number.order is None for number in arch.formulas.values()
    ) or name in ("nag", "variable-width"):
        deeper = arch.family.member(arch, 2 * depth, loops)
        assert {**deeper.parameters, "depth": depth} == {
            **arch.parameters
        } or "activation" in deeper.parameters
        for key, number in arch.formulas.items():
            if len(number.entries) == 1 and number.order is None:
                assert np.allclose(
                    deeper.numbers[key], number.at(deeper.sizes, deeper.depth), rtol=1e-12
                ), key


@pytest.mark.parametrize("name", [name for name in NAMES if "words" in OTHERS[name]])
def test_words_and_positions_are_groups(name: str):
    for arch in (
        other(name),
        replace(other(name), name="x"),
        other(name).family.build(other(name).sizes["L"], other(name).sizes["N"]),
    ):  # type: ignore[union-attr]
        assert {"embedding", "position"} <= set(arch.groups) and "stem" not in arch.groups


def test_the_smallest_inputs():
    """What stood in three places and was built from two of them."""
    half = A.variable_width(bottleneck=0.5)
    assert half.family is not None
    same(half.family.build(4, 1), half)
    tied = A.variable_width(words=(0, 1), head="tied", sgd_factors="embedding=2")
    assert "embedding" in tied.groups and tied.head.tied
    shaped = A.vanilla(block="mlp", depth=18)
    assert (
        shaped.family is not None
        and shaped.family.build(9, 1).parameters["activation"] != shaped.parameters["activation"]
    )
    gpt2 = A.transformer(depth=1, init="gpt2")
    assert gpt2.family is not None and gpt2.family.build(48, 1).numbers["c_u"] == pytest.approx(
        0.02**2 * 768 / 96, rel=1e-12
    )


def test_replaced_numbers_are_what_everybody_reads():
    """predict, exponents, check's ladder and the header of every table: with residual_scale 100
    none of them is what it was."""
    arch = A.residual_mlp(depth=4)
    changed = replace(arch, numbers={**arch.numbers, "residual_scale": 100.0})
    assert changed.parameters["residual_scale"] == 100.0 and "residual_scale=100" in str(
        sp.costs(changed)
    )
    assert (
        changed.formulas["residual_scale"] == formula("residual_scale", 100.0)
        and changed.formulas["c_w"] == arch.formulas["c_w"]
    )
    assert (
        changed.family is not None
        and changed.family.member(changed, 16, 1).numbers["residual_scale"] == 100.0
    )
    law = sp.exponents(changed, ["depth"], numbers=False).filter(quantity="residual_rms")[0]
    assert (
        law["leading"] == 0.5
        and sp.exponents(arch, ["depth"], numbers=False).filter(quantity="residual_rms")[0][
            "leading"
        ]
        == 0
    )
    (slope, before) = (
        [
            row["effective"]
            for row in sp.exponents(x, ["depth"], (2, 4, 8))
            if row["quantity"] == "residual_rms"
        ]
        for x in (changed, arch)
    )
    assert slope[0] == pytest.approx(0.5, abs=1e-3) and before[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"readout": Readout("last", sp.Normalise(sp.State(0)))},
        {"ensemble": "orthogonal"},
        {"input_gram": [[2.0, 0.5], [0.5, 1.0]]},
    ],
)
def test_whatever_is_replaced_stays_at_other_sizes(change: dict[str, Any]):
    arch = replace(A.residual_mlp(depth=4, tokens=2), **change)
    assert arch.family is not None
    member = arch.family.member(arch, 9, 1)
    assert member.depth == 9
    for name, value in change.items():
        found = getattr(member, name)
        alike = {
            "input_gram": np.array_equal,
            "readout": lambda x, y: replace(x, at=(9,)) == replace(y, at=(9,)),
        }.get(name, lambda x, y: x == y)
        assert alike(found, value)


def test_what_says_nothing_of_other_sizes_is_refused():
    arch = A.residual_mlp(depth=4)
    assert arch.family is not None
    listed = replace(
        arch, numbers={**arch.numbers, "residual_scale": np.array([1.0, 0.5, 0.25, 0.125])}
    )
    for wrong, says in (
        (listed, "residual_scale: a list of 4 values"),
        (replace(arch, slots=(0, 0, 1, 1)), "slots of residual-mlp"),
    ):
        with pytest.raises(sp.InputError, match=says):
            arch.family.member(wrong, 8, 1)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("1/sqrt(l)", [1, 1, 2**-0.5, 2**-0.5] * 2),
        ("a", range(1, 9)),
        ("l*a", [1, 2, 6, 8, 5, 6, 14, 16]),
        ("[2,3]", [2, 2, 3, 3] * 2),
        ((1, "N", 3, 4, 5, 6, 7, 8), [1, 2, 3, 4, 5, 6, 7, 8]),
        ("0.02**2*n/(2*L)", 0.0004 * 64 / 4),
        ("1/(N*sqrt(L))", 1 / (2 * 2**0.5)),
        (0.3, 0.3),
    ],
)
def test_formulas(given: Any, value: Any):
    """Two loops of two blocks of two sub-blocks at model width 64."""
    found = formula("x", given).at({"N": 2, "L": 2, "S": 4, "n": 64}, 8)
    assert np.allclose(found, np.array(list(value)) if np.ndim(found) else value, rtol=1e-14)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("1e-200*1e-200*N", "underflows to 0"),
        ("1/(l-l)", "no finite value"),
        ("n", "model_width, which was not given"),
        ("1,2,3", "3 values at 2 blocks, 8 applications"),
        ([[1]], "accepted: a number"),
        ("1,,2", "accepted: a number or an expression"),
        (True, "accepted: a number"),
        ("x", "'x' where a number"),
    ],
)
def test_formulas_that_are_none(given: Any, says: str):
    with pytest.raises(sp.InputError, match=says) as error:
        formula("x", given).at({"N": 2, "L": 2, "S": 4}, 8)
    assert "\n" not in str(error.value)


def test_numbers_that_depend_on_the_block():
    """8 blocks, pre-RMSNorm, SwiGLU of ratio 4, every std 0.02 at n = 1024, output matrices'
    divided by sqrt(2 l), or by sqrt(2 L)."""
    fixed = {name: "0.02**2*n" for name in ("c_q", "c_k", "c_v", "c_w", "c_g", "c_we")}
    shape = {
        "depth": 8,
        "norm_kind": "rms",
        "norm_eps": 1e-6,
        "activation": "silu",
        "gated": True,
        "mask": "causal",
        "words": (0, 1),
        "model_width": 1024,
    }
    for place, expected in (("l", 0.343190), ("L", 0.126573)):
        last = {"c_u": f"0.02**2*n/(2*{place})", "c_x": f"4*0.02**2*n/(2*{place})"}
        arch = A.transformer(**shape, **{**fixed, "c_we": "0.02**2"}, **last)
        assert sp.predict(arch, ["residual_variance"], [16])[0]["value"] == pytest.approx(
            expected, abs=6e-7
        )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"words": (0, 1), "token_cosine": 0.5}, "token_cosine=0.5 with words"),
        ({"words": (0, 1), "input_gram": np.eye(2)}, "input_gram with words"),
        ({"input_gram": np.eye(2), "token_cosine": 0.5}, "token_cosine=0.5 with input_gram"),
        ({"words": (0, 9), "vocabulary": 9}, "words: 9 at vocabulary=9"),
        ({"words": (0, -1)}, "words are whole numbers from 0 on"),
        ({"words": (0.5, 1)}, "words are whole numbers"),
        ({"words": (0, float("nan"))}, "words are whole numbers"),
        ({"input_gram": [[1, 1j], [-1j, 1]]}, "complex"),
        ({"input_gram": np.array([[1 + 0j]])}, "complex"),
        ({"c_w": "1e-400"}, "underflows to 0"),
        ({"c_w": "1e400"}, "overflows"),
        ({"residual_scale": "1e-200*1e-200*L"}, "underflows to 0"),
        ({"token_cosine": None}, "token_cosine=None"),
        ({"init": "gpt3"}, "init='gpt3'; accepted: gpt2"),
        ({"c_we": "0.1/L", "words": (0, 1)}, "c_we"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], says: str):
    with pytest.raises(sp.InputError, match=says) as error:
        A.transformer(**given)
    assert "\n" not in str(error.value) and "accepted: " in str(error.value)


def test_complex_grams_of_ones_own_are_refused():
    block = A.residual_mlp().sub_blocks[0]
    with pytest.raises(sp.InputError, match="complex128 entries; accepted: real numbers"):
        sp.Architecture(
            "x",
            (block,),
            range(1),
            numbers=A.residual_mlp().numbers,
            input_gram=np.eye(2) * (1 + 0j),
        )


@pytest.mark.parametrize(
    ("name", "now"),
    [("torch", "torch-encoder-layer"), ("xavier", "xavier-packed"), ("vit", "vit-2304.02034")],
)
def test_names_of_before_say_what_they_are_called_now(
    name: str, now: str, caplog: pytest.LogCaptureFixture
):
    arch = A.transformer(init=name)
    assert caplog.messages == [f"init={name} is called {now} now"]
    assert arch.parameters["init"] == now
    same(arch, A.transformer(init=now))


def test_torchs_encoder_layer():
    """Attention of two orthogonal tokens of variance 1 at head_dim 64: 0.0918 of torch's own
    layer, 0.0583 where every matrix has nn.Linear's default."""
    for init, expected in (("torch-encoder-layer", 0.0918), ("torch-linear", 0.0583)):
        arch = A.transformer(init=init, block="attention", tokens=2, token_cosine=0.0, head_dim=64)
        increment = sp.predict(arch, ["residual_variance"], [1])[0]["value"] - 1
        assert increment == pytest.approx(expected, abs=6e-5)
