"""The (q, c) equations of tokens that are alike, iterated as numbers, are what ``predict`` finds
on the full T x T Gram."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from iterate import Iterated
from sympy.core.function import AppliedUndef

import sigprop as sp
from sigprop.theory.attention.draws import draws
from sigprop.theory.attention.heads import Form, Leg
from sigprop.theory.attention.sampling import expectation

ROWS = ["residual_variance", "token_covariance", "gradient_variance", "gradient_covariance"]
SMALL: dict[str, Any] = {
    "tokens": 3,
    "token_cosine": 0.4,
    "norm_kind": "rms",
    "residual_scale": 0.5,
    "activation": "relu",
}
UNIFORM = {
    "untied": sp.architectures.transformer(**SMALL, depth=2, score_scale="zero_query"),
    "looped": sp.architectures.looped_transformer(**SMALL, loops=2, score_scale="linear", heads=2),
    "values beside attention": sp.architectures.value_skipinit(
        tokens=3, token_cosine=0.4, depth=2, shape_beta=0.5, score_scale="zero_query", mask="none"
    ),
    "post-norm, mean": sp.architectures.looped_transformer(
        **SMALL, loops=2, block="attention", norm="post", readout="mean", score_scale="zero_query"
    ),
}


def compare(arch: sp.Architecture, it: Iterated, rel: float) -> None:
    for row in sp.predict(arch, ROWS):
        a, pair = row["application"], "tt" if "token_2" not in row else "ts"
        head = "G" if row["quantity"] in ("residual_variance", "token_covariance") else "H"
        assert it(f"{head}_{pair}", a, a) == pytest.approx(row["value"], rel=rel, abs=rel), row


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_attention(name: str):
    """Closed forms only: to 1e-10."""
    compare(UNIFORM[name], Iterated(UNIFORM[name], sp.derive(UNIFORM[name])), 1e-10)


def heads(arch: sp.Architecture, it: Iterated, a: int, b: int) -> dict[str, float]:
    """P_tt, P_ts, J_tt, J_ts of Gaussian scores at applications a and b, from the Grams that the
    equations give."""
    t, scores = arch.tokens, arch.sub_blocks[0].attention[0].scores
    name = "R0" if len(arch.sub_blocks) > 1 else "R"

    def gram(i, j):
        return (it(f"{name}_tt", i, j) - it(f"{name}_ts", i, j)) * np.eye(t) + it(
            f"{name}_ts", i, j
        )

    zero = jnp.zeros(1)
    legs = [
        Leg(*(c * jnp.asarray(g)[None] for g in (gram(a, a), gram(a, b), gram(b, b))), zero, zero)
        for c in (arch.numbers["c_q"], arch.numbers["c_k"])
    ]

    def sums(h: Any) -> dict[str, Any]:
        def jacobian(w):
            return jnp.einsum("cbts,su->cbtsu", w, np.eye(t)) - jnp.einsum("cbts,cbtu->cbtsu", w, w)

        return {
            "P": jnp.einsum("cbtu,cbsu->bts", h.omega_a, h.omega_b),
            "J": jnp.einsum("cbtvu,cbsvu->bts", jacobian(h.omega_a), jacobian(h.omega_b)),
        }

    found: dict[str, float] = {}
    for seed in range(4):
        one = expectation(scores, Form(), jnp.asarray(draws(scores, t, seed)), *legs, a == b, sums)
        for key, value in one.items():
            table = np.asarray(value[0])
            found[f"{key}_tt"] = found.get(f"{key}_tt", 0) + np.diag(table).mean() / 4
            found[f"{key}_ts"] = (
                found.get(f"{key}_ts", 0) + table[~np.eye(t, dtype=bool)].mean() / 4
            )
    return found


def test_gaussian_scores_of_a_looped_transformer():
    """head_dim = inf: the four numbers of a head, sampled, in the derived equations: to 0.3 %
    (the sampled heads' own error)."""
    arch = sp.architectures.looped_transformer(
        **SMALL, loops=2, block="attention", head_dim="inf", c_q=3
    )
    memo = functools.cache(lambda it, a, b: heads(arch, it, a, b))
    functions = {
        name: lambda it, a, b, name=name: memo(it, a, b)[name]
        for name in ("P_tt", "P_ts", "J_tt", "J_ts")
    }
    compare(arch, Iterated(arch, sp.derive(arch), functions), 3e-3)


def test_at_a_fixed_head_dim_queries_and_keys_have_numbers_of_their_own():
    """dQ and dK differ by their own head's keys and queries there; one symbol for both would be
    wrong (0.5 % at head_dim 32)."""

    def make(d):
        return sp.architectures.transformer(**SMALL, block="attention", head_dim=d)

    def heads(d, group):
        return {
            str(f.func)
            for f in sp.derive(make(d))[f"weight_gradient[{group}]"].rhs.atoms(AppliedUndef)
            if str(f.func).startswith("J")
        }

    assert heads(8, "q") == {"JQ_tt", "JQ_ts"} and heads(8, "k") == {"JK_tt", "JK_ts"}
    assert heads("inf", "q") == heads("inf", "k") == {"J_tt", "J_ts"}


def test_other_networks_keep_sums_over_tokens():
    """A causal mask, or inputs that differ: the equations hold for every pair of tokens, with
    the sums standing."""
    for given in ({"mask": "causal"}, {"softcap": 1.0}, {"input_gram": np.diag([1.0, 1.0, 2.0])}):
        names = {
            e.name
            for e in sp.derive(
                sp.architectures.transformer(
                    **SMALL | {"token_cosine": 0.0}, block="attention", depth=1, **given
                )
            ).equations
        }
        assert "write" in names and "write|tt" not in names
    assert not sp.derive(
        sp.architectures.transformer(**SMALL, block="attention", depth=1)
    ).closed_form
