"""The head: logits' variance, a word's contact with its own embedding, the initial
cross-entropy; predicted, sampled, and in finite networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from networks import having_rows

import sigprop as sp
from sigprop.errors import InputError, NoRule
from sigprop.theory.predictions.logits import cross_entropy

QUANTITIES = ["logit_variance", "logit_contact", "cross_entropy"]


def make(**given: Any) -> sp.Architecture:
    return sp.architectures.transformer(
        **{"words": [0, 1, 0], "c_pe": 0.5, "head_dim": 4, "mlp_ratio": 1} | given
    )


def rows(table: sp.Table) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["quantity"], row["token"]): row for row in table}


@pytest.mark.parametrize(
    ("variance", "vocabulary"), [(0.0, 7), (1.0, 50), (4.0, 1000), (1.0, 50257)]
)
def test_cross_entropy_of_gaussian_logits(variance: float, vocabulary: int):
    """Against 4,000 draws of the logits, within 5 standard errors; no variance: log V."""
    found, rng = cross_entropy(variance, vocabulary), np.random.default_rng(0)
    if variance == 0:
        assert found == pytest.approx(math.log(vocabulary), abs=1e-9)
        return
    sampled = np.array(
        [
            np.log(np.exp(math.sqrt(variance) * rng.standard_normal(vocabulary)).sum())
            for _ in range(4000 if vocabulary < 10_000 else 200)
        ]
    )
    assert found == pytest.approx(sampled.mean(), abs=5 * sampled.std() / math.sqrt(len(sampled)))
    # the companion: variance counts
    assert abs(found - math.log(vocabulary)) > 50 * sampled.std() / math.sqrt(len(sampled))


def test_large_vocabularies_are_the_annealed_value():
    assert cross_entropy(0.3, 10**6) == pytest.approx(math.log(10**6) + 0.15, abs=1e-6)


def test_finite_networks_have_the_predicted_head():
    """All three rows of every token at n = 128: within 4 standard errors and 1/n terms of 3 %;
    pre-norm, final norm or not."""
    for given in ({"vocabulary": 40, "c_head": 2.0}, {"final_norm": True}):
        arch = make(**given)
        names = having_rows(arch, QUANTITIES)
        predicted, measured = (
            rows(sp.predict(arch, names)),
            rows(sp.measure(arch, width=128, samples=400, quantities=names)),
        )
        assert predicted.keys() == measured.keys() and len(predicted) == (
            9 if "vocabulary" in given else 6
        )
        for key, row in predicted.items():
            assert measured[key]["value"] == pytest.approx(
                row["value"], abs=4 * measured[key]["se"] + 0.03 * abs(row["value"])
            ), key


def test_the_contact_is_the_embeddings_share_of_the_output():
    """No branch: o = h_0/rms, so the contact is c_we/sqrt(c_we + c_pe); untied logits have
    C_head, tied ones c_we."""
    found = rows(
        sp.predict(
            make(residual_scale=0.0, final_norm=True, c_we=2.0, norm_kind="rms", head="tied"),
            QUANTITIES[:2],
        )
    )
    for t in range(3):
        assert found["logit_contact", t]["value"] == pytest.approx(2 / math.sqrt(2.5), rel=1e-12)
        assert found["logit_variance", t]["value"] == pytest.approx(2.0, rel=1e-12)
    other = rows(sp.predict(make(residual_scale=0.0, c_we=2.0, c_head=0.25), ["logit_variance"]))
    assert other["logit_variance", 0]["value"] == pytest.approx(0.25 * 2.5, rel=1e-12)


def test_a_read_out_of_several_states_has_no_contact_rule():
    arch = make()
    pooled = sp.Architecture(
        "pooled",
        arch.sub_blocks,
        arch.slots,
        arch.numbers,
        input_gram={"embedding": arch.stem_parts["embedding"]},
        readout=sp.Readout(at=(0, 2)),
    )
    with pytest.raises(NoRule, match="logit_contact"):
        sp.predict(pooled, ["logit_contact"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"head": "tied", "words": None}, "head=tied without words; accepted"),
        ({"head": "tied", "vocabulary": 10}, "vocabulary=10 at head=tied"),
        ({"head": "free"}, "head='free'; accepted"),
        ({"vocabulary": 1}, "vocabulary=1; accepted"),
        ({"c_head": -1}, "c_head=-1; accepted"),
    ],
)
def test_bad_input(given: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        make(**given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_contact_without_a_rule_takes_nothing_else_with_it():
    """Blocks of several widths read part of the stream, so theory has no contact there: left out
    where nothing was asked for, refused in one line where it was."""
    arch = sp.architectures.variable_width(depth=2, block="mlp", words=(0, 1))
    assert not arch.contact_known and "embedding" in arch.stem_parts
    found = sp.predict(arch, applications=[0, 2])
    assert len(found.filter(quantity="logit_variance")) == 2
    assert "logit_contact" not in {row["quantity"] for row in found}
    with pytest.raises(NoRule, match="logit_contact: no rule for a read-out of r"):
        sp.predict(arch, ["logit_contact"])
    for more in ({}, {"final_norm": True}):
        assert sp.architectures.transformer(words=(0, 1), **more).contact_known
