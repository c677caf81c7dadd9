"""The variance of what a branch writes: what the state grows by, and what networks have."""

from __future__ import annotations

from typing import Any

import pytest

import sigprop as sp

A = sp.architectures
UNTIED: dict[str, Any] = {
    "residual mlp": A.residual_mlp(depth=3, activation="gelu", residual_scale=0.7, tokens=2),
    "transformer": A.transformer(depth=2, tokens=3, head_dim=8, mask="causal", residual_scale=0.3),
    "parallel": A.parallel_transformer(depth=2, tokens=2, head_dim=8, residual_scale=0.5),
}


def by_place(arch: Any, quantity: str, **keys: Any) -> dict[tuple[Any, Any], float]:
    rows = sp.predict(arch, [quantity], **keys)
    return {(row["application"], row["token"]): row["value"] for row in rows}


@pytest.mark.parametrize("name", UNTIED)
def test_without_shared_matrices_it_is_what_the_variance_grows_by(name: str):
    """h + c f, f independent of h: V_a = V_(a-1) + c^2 <w_a, w_a>."""
    arch = UNTIED[name]
    written, variance = (by_place(arch, q) for q in ("write_variance", "residual_variance"))
    scale = arch.parameters.get("residual_scale")
    c = 1.0 if not isinstance(scale, float) else scale
    assert len(written) == arch.depth * arch.tokens
    for (a, t), value in written.items():
        grown = variance[a, t] - variance[a - 1, t]
        assert c**2 * value == pytest.approx(grown, rel=1e-9)


def test_a_loops_writes_overlap():
    """The companion: where applications share matrices it is not."""
    arch = A.looped_mlp(depth=1, loops=4, c_w=2, residual_scale=1)
    written, variance = (by_place(arch, q) for q in ("write_variance", "residual_variance"))
    assert abs(variance[3, 0] - variance[2, 0] - written[3, 0]) > 0.05 * written[3, 0]


@pytest.mark.parametrize("engine", ["matrix-free", "dense"])
def test_networks_have_it(engine: str):
    """A looped network of both engines, 200 of width 256: within 4.5 standard errors of each of
    eight rows and the 1/n that such a width leaves (10^-4 false alarms)."""
    arch = A.looped_mlp(depth=1, loops=4, tokens=2, activation="tanh", residual_scale=0.6)
    table = sp.measure(
        arch, quantities=["write_variance"], width=256, samples=200, engine=engine, seed=3
    )
    predicted = by_place(arch, "write_variance")
    for row in table:
        expected = predicted[row["application"], row["token"]]
        assert abs(row["value"] - expected) < 4.5 * row["se"] + 0.01 * expected
        assert abs(row["value"] - 1.15 * expected) > 4.5 * row["se"] + 0.01 * expected
