"""A jaxpr flattened computes what the function does: calls, loops, branches, known or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.errors import InputError
from sigprop.jaxmodules.flattening import Flattener
from sigprop.jaxmodules.nodes import INPUT, PARAMETER, Graph, below, evaluate, number_of

W = jnp.linspace(-1, 1, 12).reshape(3, 2, 2)
X = jnp.linspace(0.5, 1.0, 4).reshape(2, 2)


def flat(function: Callable[..., Any]) -> Graph:
    """The graph of a function of a parameter [3, 2, 2] and an input [2, 2]."""
    with jax.numpy_rank_promotion("allow"):
        jaxpr = jax.make_jaxpr(function)(W, X)
    graph = Graph()
    flattener = Flattener(graph)
    given = [flattener.leaf(PARAMETER, W, "layers.w"), flattener.leaf(INPUT, X)]
    graph.leaves = flattener.closed(jaxpr, given)
    return graph


def value(graph: Graph) -> Any:
    """The output on W and X."""
    values = dict(graph.values)
    for node, name in graph.parameters.items():
        index = graph.rows[name][1] if name in graph.rows else None
        values[node] = W if index is None else W[index]
    values |= {node: X for node in graph.nodes if node.operation == INPUT}
    evaluate(graph.leaves, values)
    return values[graph.leaves[0]]


def scanned(w: Any, x: Any) -> Any:
    return jax.lax.scan(lambda h, one: (jnp.tanh(h @ one), h), x, w)[0]


def backwards(w: Any, x: Any) -> Any:
    return jax.lax.scan(lambda h, one: (h @ one, h), x, w, reverse=True)[1]


def while_loop(w: Any, x: Any) -> Any:
    body = lambda carry: (carry[0] + 1, carry[1] @ w[0])  # noqa: E731
    return jax.lax.while_loop(lambda carry: carry[0] < 3, body, (0, x))[1]


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "jit in jit": jax.jit(lambda w, x: jax.jit(jnp.matmul)(w[0], x) + 1),
    "remat": jax.checkpoint(lambda w, x: jnp.sin(w[1] @ x)),
    "custom jvp": lambda w, x: jax.nn.relu(w[1] @ x) + jax.nn.silu(x),
    "scan": scanned,
    "scan in reverse": backwards,
    "scan of a scan": lambda w, x: jax.lax.scan(lambda h, _: (scanned(w, h), None), x, None, 2)[0],
    "fori_loop": lambda w, x: jax.lax.fori_loop(0, 3, lambda k, h: h @ w[0] + k, x),
    "while_loop": while_loop,
    "cond that is known": lambda w, x: jax.lax.cond(jnp.array(2) > 1, jnp.sin, jnp.cos, x) @ w[0],
    "cond that is not": lambda w, x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x) @ w[0],
    "split": lambda w, x: jnp.split(x, 2)[1] @ w[2],
    "constants": lambda w, x: x + jnp.arange(4.0).reshape(2, 2) + w[0],
    "vmap": lambda w, x: jax.vmap(lambda one: one @ x)(w).sum(0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_flat_graph_computes_the_same(name: str):
    function = FUNCTIONS[name]
    graph = flat(function)
    with jax.numpy_rank_promotion("allow"):
        expected = np.asarray(function(W, X))
    np.testing.assert_allclose(np.asarray(value(graph)), expected, rtol=1e-6)


def test_known_control_flow_is_gone():
    """Scans, loops and branches that are known leave no trace."""
    for name in ("scan", "fori_loop", "while_loop", "cond that is known", "jit in jit"):
        operations = {node.operation for node in flat(FUNCTIONS[name]).nodes if node.live}
        assert not operations & {"scan", "while", "cond", "jit", "pjit"}, name


def test_rows_of_what_a_scan_runs_over_are_parameters():
    """name[k], each of its own shape; what a scan closes over is one."""
    graph = flat(FUNCTIONS["scan"])
    names = {graph.parameters[n]: n.shape for n in below(graph.leaves) if n in graph.parameters}
    assert names == {f"layers.w[{k}]": (2, 2) for k in range(3)}
    assert graph.rows["layers.w[1]"] == ("layers.w", 1)
    tied = flat(lambda w, x: jax.lax.scan(lambda h, _: (h @ w[0], None), x, None, 3)[0])
    used = [graph for graph in below(tied.leaves) if graph in tied.parameters]
    assert [tied.parameters[node] for node in used] == ["layers.w[0]"]


def test_a_loop_without_an_end_is_refused():
    with pytest.raises(InputError, match="more than 4096 rounds"):
        flat(
            lambda w, x: jax.lax.while_loop(
                lambda c: c[0] < 9999, lambda c: (c[0] + 1, c[1] + 1), (0, x)
            )[1]
        )


def test_scopes_name_paths():
    """The innermost module, and the parameter's own where it is more exact."""

    def function(w: Any, x: Any) -> Any:
        with jax.named_scope("@layers"):
            first = jnp.sin(x)
            with jax.named_scope("@layers.inner"):
                second = jax.vmap(jnp.cos)(x)
        return jnp.tanh(first + second)

    paths = {node.operation: node.place.path for node in flat(function).nodes}
    assert (paths["sin"], paths["cos"]) == ("layers", "layers.inner")
    assert paths["tanh"].startswith("tanh (test_flattening.py:")


@pytest.mark.parametrize("given", [0.1, 1e-5, 3.0, 1e30])
def test_numbers_are_those_that_were_written(given: float):
    """float32's nearest to 0.1 is read as 0.1."""
    assert number_of(jnp.full((2, 3), given, jnp.float32)) == given
    assert number_of(jnp.arange(2.0)) is None and number_of(jnp.zeros(0)) is None
    assert number_of(jnp.ones((2,), bool)) == 1.0
