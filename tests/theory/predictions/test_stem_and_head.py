"""Stem and head: parts of the stem, equal words, initialisations people train with, the final
norm and the logits."""

from __future__ import annotations

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError

T = sp.architectures.transformer


def test_equal_words_have_equal_embeddings_and_positions_tell_them_apart():
    arch = T(words=[3, 5, 3], c_we=2.0, c_pe=0.5, block="attention")
    variance, same = arch.stem_parts["embedding"]
    assert variance == 2.0
    np.testing.assert_allclose(same, [[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    np.testing.assert_allclose(arch.input_gram, [[2.5, 0, 2], [0, 2.5, 0], [2, 0, 2.5]])
    assert arch.tokens == 3
    patches = T(c_we=2.0, c_pe=0.5, tokens=2, token_cosine=0.5, block="attention")
    np.testing.assert_allclose(patches.input_gram, [[2.5, 1], [1, 2.5]])


def test_the_tangent_kernel_has_a_row_for_every_part_of_the_stem():
    """A part's row is sum of <dz/dw_0, dz/dw_0> K, K the Gram of what it embeds: times their
    variances they add up to one stem's."""
    parts = T(words=[0, 1, 0], c_we=1.0, c_pe=0.5, block="attention", depth=1)
    whole = T(input_gram=parts.input_gram, block="attention", depth=1)

    def value(arch):
        return {
            (row.get("group"), row["token"], row["token_2"]): row["value"]
            for row in sp.predict(arch, ["ntk"])
        }

    split, one = value(parts), value(whole)
    for t in range(3):
        for s in range(t, 3):
            assert split["embedding", t, s] + 0.5 * split["position", t, s] == pytest.approx(
                one["stem", t, s], rel=1e-11, abs=1e-13
            )
            assert split[None, t, s] - split["position", t, s] / 2 == pytest.approx(
                one[None, t, s], rel=1e-11
            )


def test_gradients_of_the_stems_parts_do_not_hold_their_variance():
    """The gradient of an embedding is that of the stem times what it embeds, whatever c_we gives
    the stem that variance."""

    def gradient(arch):
        return {row["group"]: row["value"] for row in sp.predict(arch, ["weight_gradient"])}

    found = gradient(T(words=[0, 1, 0], c_we=3.0, block="attention", norm="none"))
    whole = gradient(
        T(
            input_gram=3.0 * np.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]),
            block="attention",
            norm="none",
        )
    )
    assert 3 * found["embedding"] == pytest.approx(whole["stem"], rel=1e-12)
    assert found["readout"] == pytest.approx(whole["readout"], rel=1e-12)


def test_sgd_factors_multiply_their_groups_rows_of_the_tangent_kernel():
    plain, scaled = (
        sp.predict(T(tokens=2, depth=1, sgd_factors=f), ["ntk"]) for f in (None, "q=0,stem=3")
    )
    one, other = (
        {(r.get("group"), r["token"], r["token_2"]): r["value"] for r in table}
        for table in (plain, scaled)
    )
    for (group, t, s), value in one.items():
        expected = (
            one[None, t, s] - one["q", t, s] + 2 * one["stem", t, s]
            if group is None
            else {"q": 0, "stem": 3}.get(group, 1) * value
        )
        assert other[group, t, s] == pytest.approx(expected, rel=1e-12)


def test_the_final_norm_makes_every_logit_of_unit_variance():
    for depth in (1, 3):
        table = sp.predict(
            T(depth=depth, final_norm=True, tokens=2, norm_kind="rms"), ["logit_variance"]
        )
        assert [row["value"] for row in table] == pytest.approx([1, 1], rel=1e-12)
    table = sp.predict(T(depth=1, tokens=2), ["logit_variance", "residual_variance"], None)
    last = {
        row["token"]: row["value"]
        for row in table
        if row["quantity"] == "residual_variance" and row["application"] == 2
    }
    assert {
        row["token"]: row["value"] for row in table if row["quantity"] == "logit_variance"
    } == pytest.approx(last, rel=1e-12)


def test_logits_of_a_read_out_of_several_states():
    """o = (h_0 + h_1 + h_2)/3 of a tied stack: <o, o> = sum_ab <h_a, h_b>/9."""
    arch = sp.architectures.looped_mlp(loops=2, residual_scale=0.5)
    pooled = sp.Architecture(
        "pooled", arch.sub_blocks, arch.slots, arch.numbers, readout=sp.Readout(at=(0, 1, 2))
    )
    rows = sp.predict(pooled, ["residual_variance", "state_cosine"], [0, 1, 2])
    q = {row["application"]: row["value"] for row in rows if row["quantity"] == "residual_variance"}
    cross = {
        (row["application"], row["application_2"]): row["value"]
        for row in rows
        if row["quantity"] == "state_cosine"
    }
    total = sum(q.values()) + 2 * sum(c * np.sqrt(q[a] * q[b]) for (a, b), c in cross.items())
    assert sp.predict(pooled, ["logit_variance"])[0]["value"] == pytest.approx(total / 9, rel=1e-12)


def test_an_infinite_head_is_said_in_words():
    arch = T(head_dim="inf", block="attention")
    assert (
        arch.parameters["head_dim"] == "inf"
        and T(**{"head_dim": arch.parameters["head_dim"]}).parameters["head_dim"] == "inf"
    )


def test_initialisations_as_variances():
    gpt2 = T(init="gpt2", depth=12, words=[0, 1]).numbers
    assert gpt2["c_q"] == pytest.approx(0.02**2 * 768) and gpt2["c_u"] == pytest.approx(
        0.02**2 * 768 / 24
    )
    assert gpt2["c_x"] == pytest.approx(0.02**2 * 4 * 768 / 24) and gpt2["norm_eps"] == 1e-5
    vit = T(init="vit").numbers  # the variances that 2304.02034 states
    assert [vit[c] for c in ("c_q", "c_k", "c_v", "c_u", "c_w", "c_x")] == pytest.approx(
        [1 / 2, 1 / 2, 1 / 2, 1 / 3, 2 / 5, 8 / 5]
    )
    assert T(init="torch", c_v=0.7).numbers["c_v"] == 0.7  # what is given wins
    wide = T(init="llama", model_width=1024).numbers
    assert wide["c_w"] == pytest.approx(0.02**2 * 1024) and wide["norm_eps"] == 1e-6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"init": "gpt3"}, "init='gpt3'"),
        ({"words": "0,x"}, "words='0,x'"),
        ({"words": [0, 1, 2], "tokens": 2}, "words: 3 of them but tokens=2"),
        ({"c_pe": -1}, "c_pe=-1; accepted"),
        ({"model_width": 0}, "model_width=0; accepted"),
        ({"sgd_factors": "q"}, "sgd_factors='q'; accepted"),
        ({"sgd_factors": "z=2"}, "sgd_factors: z=2.0; accepted"),
    ],
)
def test_bad_input(given: dict, says: str):
    with pytest.raises(InputError) as caught:
        T(**given)
    assert says in str(caught.value) and "\n" not in str(caught.value)
