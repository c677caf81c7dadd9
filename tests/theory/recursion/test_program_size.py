"""One program serves any depth: it has as many operations at 1,000 applications as at 10, so
compile time cannot grow."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from long_cases import apart

import sigprop as sp
from sigprop.theory.recursion import kernels, passes

A = sp.architectures


class Lowered(Exception):
    """Carries the lowered program's text, an operation a line, out of ``kernels`` before
    anything is compiled."""


def operations(arch: sp.Architecture, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lines of the lowered program, those of every inner loop included."""

    def lowered(*args: Any) -> None:
        raise Lowered(passes.run.compiled().lower(*args).as_text())

    monkeypatch.setattr(kernels, "run", lowered)
    with pytest.raises(Lowered) as caught:
        kernels.kernels(arch)
    return len(str(caught.value).splitlines())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_program_does_not_grow_with_depth(
    activation: str, tied: bool, monkeypatch: pytest.MonkeyPatch
):
    def make(n):
        return (
            A.looped_mlp(depth=1, loops=n, activation=activation)
            if tied
            else A.residual_mlp(depth=n, activation=activation)
        )

    few, many = (operations(make(n), monkeypatch) for n in (10, 1000))
    assert few == many > 100


def test_an_unrolled_loop_would_be_seen():
    """Companion: the prefix that ``jax.lax.associative_scan`` computes unrolls its levels, and
    the count tells."""
    prefix = jax.jit(lambda x: jax.lax.associative_scan(jnp.add, x))
    lines = [len(prefix.lower(jnp.zeros(n)).as_text().splitlines()) for n in (10, 1000)]
    assert lines[1] > 1.5 * lines[0]


ROUNDED = {
    "untied": A.residual_mlp(depth=5, activation="gelu", tokens=2, token_cosine=0.4, c_b=0.1),
    "tied": A.looped_mlp(depth=2, loops=3, activation="relu", tokens=2, token_cosine=0.3),
    "read-outs": A.mlp(depth=6, activation="tanh", tokens=2, token_cosine=0.3),
    "attention": A.looped_transformer(
        depth=1, loops=3, tokens=2, head_dim=float("inf"), score_scale="zero_query"
    ),
    "modulators": A.nag(depth=5, alpha_0=0.5, modulator="learned"),
    "bands": A.variable_width(depth=3, block="mlp", tokens=2),
}


@pytest.mark.parametrize("name", apart(ROUNDED, ["modulators"]))
def test_rounding_sizes_up_changes_no_number(name: str, monkeypatch: pytest.MonkeyPatch):
    rounded = sp.predict(ROUNDED[name])
    monkeypatch.setattr("sigprop.theory.recursion.program.shared", lambda size: size)
    monkeypatch.setattr("sigprop.theory.recursion.kernels.shared", lambda size: size)
    exact = sp.predict(ROUNDED[name])
    assert [
        {**row, "value": None, "log_value": None, "error": None, "scale": None} for row in rounded
    ] == [{**row, "value": None, "log_value": None, "error": None, "scale": None} for row in exact]
    for one, other in zip(rounded, exact, strict=True):
        assert one["value"] == pytest.approx(
            other["value"], rel=1e-13, abs=1e-14 * (other.get("scale") or 1)
        ), one


def test_depths_share_programs():
    """5 to 8 steps are one program, 9 another."""
    passes.run.programs.clear()
    counts = []
    for steps in (5, 6, 7, 8, 9):
        sp.predict(A.mlp(depth=steps - 1), ["residual_variance"])
        counts.append(len(passes.run.programs))
    assert counts == [1, 1, 1, 1, 2]
