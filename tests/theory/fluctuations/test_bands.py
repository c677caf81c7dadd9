"""Scatter and shift of networks of several widths: closed forms, plain networks, and scores of
heads that vanish with the width.

Errors of the theory are half-widths of 99 % intervals of eight sets of units; a row is further off
than ``FAR`` of them with probability 1e-4, and a mean over networks than four standard errors.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
from long_cases import apart
from scipy.special import erf
from skip_networks import FAR, agrees, network

import sigprop as sp
from sigprop.agreement.finite_width.scatter import against_networks, at_infinity
from sigprop.blocks.widths import narrowed
from sigprop.theory.recursion.units import beside, stems, unit

A = sp.architectures
KAPPA, SPREAD = 0.41672, 6.2156  # of gelu at c_1 = 1, c_2 = 2, strength 0.7, and M_4/M_2^2 - 1
STRENGTH = 0.7
Key = tuple[str, str, int | None]


def banded(
    widths: tuple[int, ...], reference: int, activation: Any = "gelu", **given: Any
) -> sp.Architecture:
    """Two matrices, gelu, RMSNorm; block l of widths[l] coordinates, stem and read-out of
    ``reference``."""
    plain = network(activation, depth=len(widths), rows=Fraction(2), norm="rms", **given)
    return narrowed(plain, widths, reference, "carry")


def rows_of(arch: sp.Architecture, quantities: list[str], **given: Any) -> dict[Key, Any]:
    """Rows of the last state by quantity, band and token, of the first of a pair."""
    table = sp.fluctuations(arch, quantities, [arch.depth], **{"units": 512} | given)
    return {
        (row["quantity"], row.get("group", ""), row.get("token")): dict(row)
        for row in table
        if row.get("token_2") in (None, 1)
    }


def test_bands_that_nothing_tells_apart():
    """One token, untied, two matrices of r = 2 behind RMSNorm: nVar = 2 q^2 + k/r sum kappa^2, no
    shift, whatever coordinates are called."""
    arch = replace(network("gelu", depth=2, rows=Fraction(2), norm="rms"), bands=(0.25, 0.75))
    row = rows_of(arch, ["residual_variance"])["residual_variance", "", 0]
    assert agrees(row, 2 * (1 + 2 * KAPPA) ** 2 + SPREAD / 2 * 2 * KAPPA**2, 0.0)


def is_a_network_of_its_own(arch: sp.Architecture) -> bool:
    """Tell if the first half, where all blocks are, fluctuates as a network of that width does,
    and the other as a stem that nothing writes to."""
    rows = rows_of(arch, ["residual_variance", "band_variance"])
    inside = 2 * (2 * (1 + 2 * KAPPA) ** 2 + SPREAD / 2 * 2 * KAPPA**2)
    expected = {
        ("band_variance", "band 1", 0): inside,
        ("band_variance", "band 2", 0): 4.0,
        ("residual_variance", "", 0): (inside + 4) / 4,
    }
    return all(agrees(rows[key], n_variance, 0.0) for key, n_variance in expected.items())


def test_a_band_of_its_own():
    assert is_a_network_of_its_own(banded((16, 16), 32))


def test_one_weight_for_all_bands_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The companion: a unit of every band of the weight that one of all coordinates has. (The
    activation is one of its own, so that nobody else is given the program.)"""
    for module in (unit, beside, stems):
        monkeypatch.setattr(module, "among", lambda t, widths: t + 0 * widths)
    own = sp.Activation("gelu_of_one_weight", lambda x: jax.nn.gelu(x, approximate=False))
    assert not is_a_network_of_its_own(banded((16, 16), 32, own))


def sampled(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """<h, h>, <h[0], h[1]> and, in each half, <h, h> of plain networks: blocks of n/2, n and n/2
    coordinates, a stem of n/2."""
    root, found = np.linalg.cholesky([[1, 0.3], [0.3, 1]]), []
    for _ in range(count):
        h = np.zeros((n, 2))
        h[: n // 2] = rng.standard_normal((n // 2, 2)) @ root.T
        for d in (n // 2, n, n // 2):
            read = h[:d] / np.sqrt((h[:d] ** 2).mean(axis=0))
            u = rng.standard_normal((2 * d, d)) @ read / np.sqrt(d)
            phi = u * (1 + erf(u / 2**0.5)) / 2
            h[:d] += STRENGTH * (rng.standard_normal((d, 2 * d)) @ phi) / np.sqrt(d)
        halves = [(h[at, 0] ** 2).mean() for at in (slice(n // 2), slice(n // 2, n))]
        found.append([(h[:, 0] ** 2).mean(), h[:, 0] @ h[:, 1] / n, *halves])
    return np.array(found)


NAMES: list[Key] = [
    ("residual_variance", "", 0),
    ("token_covariance", "", 0),
    ("band_variance", "band 1", 0),
    ("band_variance", "band 2", 0),
]


def test_as_plain_networks_have_it():
    """At 1/n = 0, by a line through two widths, and 2 % of n_variance for what it leaves."""
    arch = banded((16, 32, 16), 16, tokens=2)
    rows = rows_of(arch, ["residual_variance", "token_covariance", "band_variance"])
    picked, rng = [rows[name] for name in NAMES], np.random.default_rng(0)
    networks = {n: sampled(n, count, rng) for n, count in {32: 4000, 96: 2000}.items()}
    found = at_infinity(networks, np.array([row["value"] for row in picked]))
    for k, row in enumerate(picked):
        error = 4 * found.variance_se[k] + 0.02 * found.variance[k]
        off = abs(row["n_variance"] - found.variance[k])
        assert off < error + FAR * row["n_variance_error"]
        assert error < 0.5 * row["n_variance"]  # so that a weight of 1 in all bands is seen
        off = abs(row["n_shift"] - found.shift[k])
        assert off < 4 * found.shift_se[k] + FAR * row["n_shift_error"]


HEADS, SCORES = 8, 2.25


def attending(widths: tuple[int, ...], reference: int) -> sp.Architecture:
    """Heads whose scores vanish with the width: two orthogonal tokens, a causal mask."""
    given = {"block": "attention", "heads": HEADS, "score_scale": "linear", "mask": "causal"}
    return A.variable_width(
        depth=1,
        schedule=widths,
        reference_width=reference,
        tokens=2,
        input_gram=[[1, 0], [0, 1]],
        c_q=SCORES**0.5,
        c_k=SCORES**0.5,
        **given,
    )


@pytest.mark.parametrize("width", apart((16, 32), [32]))
def test_scores_that_vanish_with_the_width(width: int):
    """The last token attends to two with weights 1/2 +- s/4, s the difference of scores: of H
    heads of a share w of the coordinates n E s^2 = 2 c H/w, and the write's square is 1/2 + s^2/8.
    (The limit has s = 0, and scatter of other origin.)"""
    rows = rows_of(attending((width,), 32), ["write_variance"], units=2048)
    row = rows["write_variance", "", 1]
    expected = SCORES * HEADS / (4 * width / 32)
    assert abs(row["n_shift"] - expected) < FAR * row["n_shift_error"] + 0.02 * expected
    assert row["n_shift_error"] < expected / 4  # so that a share or a head less is seen


@pytest.mark.long
def test_gradients_as_networks_have_them():
    """The largest of 30 deviations over their errors: a right theory's is above 4 with probability
    2e-3."""
    arch = banded((16, 32), 16)
    quantities = ["gradient_variance", "band_gradient", "weight_gradient"]
    table = against_networks(
        arch, {32: 8000, 64: 16000, 128: 16000}, quantities=quantities, units=1024
    )
    every = [abs(row[k]) for row in table for k in ("variance_z", "shift_z") if row[k] is not None]
    assert len(every) > 10 and max(every) < 4


@pytest.mark.long
def test_the_registered_network_as_networks_have_it():
    arch = A.variable_width(depth=3, schedule=(32, 16, 32), reference_width=32, tokens=2)
    quantities = ["residual_variance", "token_cosine"]
    table = against_networks(
        arch, {64: 4000, 128: 8000, 256: 8000}, quantities=quantities, units=1024
    )
    every = [abs(row[k]) for row in table for k in ("variance_z", "shift_z") if row[k] is not None]
    assert len(every) > 10 and max(every) < 4
