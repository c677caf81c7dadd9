"""What axes are after layouts: labels follow entries, and are given up where axes are mixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from sigprop.jaxmodules.axes import FEATURES, REPEATED, TOKENS, Own, laid_out, of_parameter
from sigprop.jaxmodules.flattening import Flattener
from sigprop.jaxmodules.nodes import INPUT, LAYOUT, Graph

F, T, R = FEATURES, TOKENS, REPEATED
GIVEN = (T, T, F)
"""Of an input [1, 4, 6]."""


def labels(function: Callable[[Any], Any], of: tuple[Any, ...] = GIVEN) -> Any:
    """The axes after layouts of an array [1, 4, 6]."""
    jaxpr = jax.make_jaxpr(function)(jnp.zeros((1, 4, 6)))
    graph = Graph()
    flat = Flattener(graph)
    source = flat.leaf(INPUT, jnp.zeros((1, 4, 6)))
    (node,) = flat.closed(jaxpr, [source])
    chain = []
    while node is not source:
        assert node.operation in LAYOUT, node.operation
        chain.append(node)
        (node, *_) = node.given
    for one in reversed(chain):
        of = laid_out(one, of)
    return of


LAYOUTS: dict[str, tuple[Callable[[Any], Any], tuple[Any, ...]]] = {
    "transpose": (lambda x: x.transpose(2, 0, 1), (F, T, T)),
    "heads": (lambda x: x.reshape(1, 4, 2, 3), (T, T, F, F)),
    "heads and back": (lambda x: x.reshape(1, 4, 2, 3).reshape(4, 6), (T, F)),
    "heads first": (lambda x: x.reshape(4, 2, 3).swapaxes(0, 1), (F, T, F)),
    "tokens split": (lambda x: x.reshape(2, 2, 6), (T, T, F)),
    "an axis of one": (lambda x: x[0][:, None, :, None], (T, T, F, T)),
    "tokens and features run together": (lambda x: x.reshape(24), (None,)),
    "cut across": (lambda x: x.reshape(3, 8), (None, None)),
    "turned, then cut": (lambda x: x[0].T.reshape(2, 3, 4), (F, F, T)),
    "repeated": (lambda x: jnp.broadcast_to(x[0][None], (5, 4, 6)), (R, T, F)),
    "heads, repeated": (lambda x: jnp.repeat(x.reshape(4, 2, 3), 2, axis=1), (T, F, F)),
    "cast": (lambda x: x.astype(jnp.bfloat16), (T, T, F)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str):
    function, expected = LAYOUTS[name]
    assert labels(function) == expected


def test_a_parameter_keeps_its_own_axes():
    """Which of its shape: turned, run together (the first of them), cut."""
    assert of_parameter((1, 4, 6)) == (T, Own(1), Own(2))
    own = of_parameter((1, 4, 6))
    assert labels(lambda x: x[0].T, own) == (Own(2), Own(1))
    assert labels(lambda x: x.reshape(24), own) == (Own(1),)
    assert labels(lambda x: x.reshape(4, 2, 3), own) == (Own(1), Own(2), Own(2))
