"""Variable-width networks: the paper's integers, band recursions written out by hand, laws, and
what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sympy

import sigprop as sp
from sigprop.blocks.widths import vee
from sigprop.errors import InputError
from sigprop.paper_figures._released import RELEASED

A = sp.architectures
WIDTHS, REFERENCE = (24, 16, 8, 16, 32), 16
PLAIN: dict[str, Any] = {
    "depth": 5,
    "schedule": WIDTHS,
    "reference_width": REFERENCE,
    "block": "mlp",
    "gated": False,
    "activation": "relu",
    "tokens": 2,
}
EDGES = (0, 8, 16, 24, 32)


def banded(quantity: str, **given: Any) -> np.ndarray:
    """[D + 1, K] of token 0 (with token 1)."""
    table = sp.predict(A.variable_width(**{**PLAIN, **given}), [quantity])
    return np.array([row["value"] for row in table if row["token"] == 0]).reshape(6, 4)


@pytest.mark.parametrize("size", RELEASED)
def test_widths_of_the_released_solver(size: tuple[int, int]):
    assert vee(*size, 0.3, 0.75, 32) == tuple(map(int, RELEASED[size].split()))


def test_a_v_needs_three_blocks():
    assert vee(64, 2, 0.3, 0.75, 16) == (64, 64) and vee(64, 1, 0.3, 0.75, 16) == (64,)


def test_parameters_are_matched_before_rounding():
    widths = np.array(vee(10000, 16, 0.3, 0.75, 1), dtype=float) / 10000
    idle = (3 + 4) * (widths[0] - 1) * widths[0]
    assert 16 * widths @ widths - idle == pytest.approx(16 * 16, rel=1e-3)
    assert widths[11] == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize("resize", ["carry", "zero"])
def test_bands_count_the_blocks_that_write_to_them(resize: str):
    """q_i = 1[i <= d] + number of blocks l with d_l >= i; zero-padding forgets what was before
    the last that did not."""
    found = banded("band_variance", resize=resize)
    for k, low in enumerate(EDGES[:-1]):
        q = [float(low < REFERENCE)]
        for d in WIDTHS:
            q.append(q[-1] + 1 if low < d else q[-1] if resize == "carry" else 0.0)
        np.testing.assert_allclose(found[:, k], q, rtol=1e-12)
    if resize == "carry":
        shares = np.diff(EDGES) / EDGES[-1]
        # mean write count = width budget
        assert (found[-1] - found[0]) @ shares == pytest.approx(sum(WIDTHS) / EDGES[-1], rel=1e-12)


@pytest.mark.parametrize("resize", ["carry", "zero"])
def test_covariances_of_bands_by_hand(resize: str):
    """C_i += f(c) 1[i <= d_l], c the cosine over the coordinates that block l reads, f relu's
    arc-cosine kernel."""
    cosine = 0.3
    c, q = (np.where(np.array(EDGES[:-1]) < REFERENCE, start, 0.0) for start in (cosine, 1.0))
    rows = [c]
    for d in WIDTHS:
        own, shares = np.array(EDGES[1:]) <= d, np.diff(EDGES)
        x = (c * shares)[own].sum() / (q * shares)[own].sum()
        write = (math.sqrt(1 - x * x) + (math.pi - math.acos(x)) * x) / math.pi
        c, q = (
            np.where(own, old + new, old if resize == "carry" else 0.0)
            for old, new in ((c, write), (q, 1.0))
        )
        rows.append(c)
    np.testing.assert_allclose(
        banded("band_covariance", resize=resize, token_cosine=cosine), rows, rtol=1e-10
    )


def test_gradients_pass_by_blocks_that_do_not_own_the_coordinates():
    """Written by block 1 and next read by block 5: coordinates 16..24 carry one gradient through
    all that is between."""
    found = banded("band_gradient")
    np.testing.assert_allclose(found[1:5, 2], found[1, 2], rtol=1e-14)
    assert found[0, 2] > found[1, 2]
    np.testing.assert_allclose(found[0:5, 3], found[0, 3], rtol=1e-14)  # of block 5 alone
    np.testing.assert_array_equal(found[5, 2:], [0, 0])  # the read-out sees the first d


def test_equal_widths_are_the_transformer():
    """A law: every block as wide as the reference is the pre-norm transformer."""
    same = {
        "tokens": 2,
        "score_scale": "linear",
        "heads": 4,
        "activation": "silu",
        "gated": True,
        "mlp_ratio": 2,
        "final_norm": True,
    }
    arch = A.variable_width(depth=2, schedule=[16, 16], reference_width=16, **same)
    other = A.transformer(depth=2, norm_kind="rms", **same)
    assert arch.bands == (1.0,)
    for quantity in (
        "residual_variance",
        "token_covariance",
        "gradient_variance",
        "weight_gradient",
        "ntk",
    ):
        mine, plain = ([row["value"] for row in sp.predict(a, [quantity])] for a in (arch, other))
        assert mine == pytest.approx(plain, rel=1e-12)


def test_the_derived_recursion_is_the_papers():
    """c^l = sum_k width_k theta C_k / sqrt(sum q sum q), read by block l; C_k += eps^2 Gamma
    theta."""
    d = sp.derive(A.variable_width(**{**PLAIN, "final_norm": False}))
    a, b, t, s, k = (next(x for x in d["state"].free_symbols if x.name == name) for name in "abtsk")
    nu, theta, width = (sympy.Function(name) for name in ("nu", "theta", "width"))

    def own(p):
        return next(
            f
            for f in d["read"].atoms(sympy.Function)
            if f.func.__name__ == "theta" and f.args[0] == nu(p)
        ).func(nu(p), k)

    g = sympy.Function("G")

    def total(term):
        return sympy.Sum(term, (k, 1, 4))

    def norm(p, u):
        return sympy.sqrt(total(g(p, p, u, u, k) * width(k) * own(p) / nu(p)))

    expected = total(g(a, b, t, s, k) * width(k) * own(a) * own(b) / (norm(a, t) * norm(b, s)))
    assert d["read"].rhs == expected
    eps = sympy.Symbol("residual_scale", positive=True)
    assert (
        sympy.expand(
            d["state"].rhs
            - g(a, b, t, s, k)
            - eps * sympy.Function("X")(a + 1, b, t, s, k) * own(a)
        )
        == 0
    )
    assert theta(nu(a), k).func.__name__ == own(a).func.__name__ and own(a) ** 2 == own(a)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bottleneck": 1.2}, "not narrower than the ends"),
        ({"position": 0.05, "depth": 8}, "the turn is block 0"),
        ({"schedule": (16, 8)}, "2 widths at depth=4"),
        ({"heads": 5}, "heads=5: it does not divide width"),
        ({"schedule": "16,0"}, "accepted: vee, or a list"),
        ({"positions": "rotary"}, "heads lose coordinates"),
        ({"norm": "post"}, "norm"),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        A.variable_width(**given)


def test_a_band_must_end_where_a_truncation_does():
    arch = A.variable_width(**PLAIN)
    from dataclasses import replace

    with pytest.raises(InputError, match="ends within one"):
        replace(arch, bands=(0.4, 0.6), input_gram=arch.stem_parts)
