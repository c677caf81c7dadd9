"""Architectures that are the transformer with other numbers: what their papers promise, and what
they share with it."""

from __future__ import annotations

import pytest

import sigprop as sp
from sigprop.errors import InputError

A = sp.architectures
SMALL = {"tokens": 2, "head_dim": "inf"}


def predicted(arch, quantity="residual_variance"):
    return [row["value"] for row in sp.predict(arch, [quantity])]


@pytest.mark.parametrize(
    ("arch", "same"),
    [
        (A.completep(depth=3, **SMALL), A.transformer(depth=3, residual_scale=1 / 3, **SMALL)),
        (A.sandwich_transformer(**SMALL), A.transformer(norm="sandwich", **SMALL)),
        (A.parallel_transformer(**SMALL), A.transformer(block="parallel", **SMALL)),
        (
            A.deeploop(
                loops=1, depth=2, skip_scale="(2*L)**0.25", c_v=1, c_u=1, c_w=1, c_x=1, **SMALL
            ),
            A.deepnorm(c_v=1, c_u=1, c_w=1, c_x=1, **SMALL),
        ),
    ],
    ids=lambda arch: arch.name,
)
def test_same_numbers_as_the_transformer_with_those_parameters(
    arch: sp.Architecture, same: sp.Architecture
):
    for quantity in ("residual_variance", "gradient_variance"):
        assert predicted(arch, quantity) == pytest.approx(predicted(same, quantity), rel=1e-12)


def test_parallel_writes_add_up():
    """Both branches read one state through matrices of their own: their variances add."""
    alone = [
        predicted(A.transformer(block=block, **SMALL))[-1] - 1 for block in ("attention", "mlp")
    ]
    assert predicted(A.parallel_transformer(**SMALL))[-1] == pytest.approx(
        1 + sum(alone), rel=1e-12
    )


def test_deepscalelm_keeps_unit_variance():
    for tokens, tolerance in ((8, 0.15), (64, 0.02)):
        assert predicted(A.deepscalelm(depth=12, tokens=tokens, score_scale="zero_query"))[
            -1
        ] == pytest.approx(1, abs=tolerance)


def test_deepnorm_and_deeploop_numbers():
    numbers = A.deepnorm(depth=8).numbers
    assert numbers["skip_scale"] == pytest.approx(2) and numbers["c_v"] == pytest.approx(1 / 8)
    assert (
        numbers["c_w"] == pytest.approx(0.4 / 8)
        and numbers["c_x"] == pytest.approx(1.6 / 8)
        and numbers["c_q"] == 1
    )
    numbers = A.deeploop(depth=2, loops=4).numbers
    assert numbers["skip_scale"] == pytest.approx(4) and numbers["c_u"] == pytest.approx(1 / 64)


def test_uncorrelated_tokens_have_no_corrected_initialisation():
    with pytest.raises(InputError, match="token_cosine=0: attention would average everything away"):
        A.deepscalelm(tokens=4, token_cosine=0)
