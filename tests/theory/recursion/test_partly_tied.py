"""Tying only attention, or only the MLP, is a table of slots per weight, and gives its own
answer, on networks too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sigprop as sp

NAMES = ["residual_variance", "token_covariance", "gradient_variance"]
ATTENTION = ("q", "k", "v", "u")


def network(attention: bool, mlp: bool) -> sp.Architecture:
    """Two loops of (attention, MLP), each tied or not."""
    arch = sp.architectures.looped_transformer(
        loops=2, tokens=2, mlp_ratio=1, residual_scale=1.0, norm_kind="rms"
    )
    tied, untied = (0, 1, 0, 1), (0, 1, 2, 3)
    return replace(
        arch,
        slots={w: tied if (attention if w in ATTENTION else mlp) else untied for w in arch.weights},
    )


def ends(arch: sp.Architecture) -> list[float]:
    """The last state's variance and the stem's gradient."""
    rows = sp.predict(arch, ["residual_variance", "gradient_variance"], [0, 4])
    return [
        row["value"]
        for row in rows
        if (row["quantity"], row["application"])
        in (("residual_variance", 4), ("gradient_variance", 0))
    ]


def test_four_tyings_are_four_networks():
    values = np.array(
        [ends(network(attention, mlp))[0] for attention in (False, True) for mlp in (False, True)]
    )
    assert min(abs(values[i] - values[j]) for i in range(4) for j in range(i)) > 0.05


@pytest.mark.parametrize("key", [(True, False), (False, True)])
def test_finite_networks(key: tuple[bool, bool]):
    """Width 256, 400 networks: within 5 standard errors and 3 % for the width; the companion,
    the other tying, is not."""
    found = sp.measure(network(*key), width=256, samples=400, quantities=NAMES)

    def off(arch: sp.Architecture) -> float:
        pairs = zip(sp.predict(arch, NAMES), found, strict=True)
        return max(
            abs(f["value"] - r["value"]) / (5 * f["se"] + 0.03 * r["scale"]) for r, f in pairs
        )

    assert off(network(*key)) < 1 and off(network(not key[0], not key[1])) > 2
