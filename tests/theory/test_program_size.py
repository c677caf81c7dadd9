"""One program serves any depth: it has as many operations at 1,000 applications as at 10, so compile time cannot grow."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import sigprop as sp
from sigprop.theory import kernels, passes

A = sp.architectures


class Lowered(Exception):
    """Carries the lowered program's text, an operation a line, out of ``kernels`` before anything is compiled."""


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
def test_the_program_does_not_grow_with_depth(activation: str, tied: bool, monkeypatch: pytest.MonkeyPatch):
    make = lambda n: A.looped_mlp(depth=1, loops=n, activation=activation) if tied else A.residual_mlp(depth=n, activation=activation)  # noqa: E731
    few, many = (operations(make(n), monkeypatch) for n in (10, 1000))
    assert few == many > 100


def test_an_unrolled_loop_would_be_seen():
    """Companion: the prefix that ``jax.lax.associative_scan`` computes unrolls its levels, and the count tells."""
    prefix = jax.jit(lambda x: jax.lax.associative_scan(jnp.add, x))
    lines = [len(prefix.lower(jnp.zeros(n)).as_text().splitlines()) for n in (10, 1000)]
    assert lines[1] > 1.5 * lines[0]
