"""A jaxpr as a flat graph: calls are opened, loops are unrolled, branches that are known taken.

A loop's constants are one node for all its rounds, so parameters among them are tied; of what it
runs over every row is a node, so that stacked parameters are parameters of their own, ``name[k]``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from sigprop.errors import InputError
from sigprop.jaxmodules.nodes import (
    CONSTANT,
    LAYOUT,
    OUTPUT,
    PARAMETER,
    ROW,
    STACK,
    Graph,
    Node,
)

CALLS = {
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "remat2",
    "checkpoint",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}
"""Operations that only call another jaxpr."""
MOST_ROUNDS = 4096
MARK = "@"
"""First letter of a scope that names a module's path."""


class Flattener:
    """Appends a jaxpr's operations to a graph. draws: operations that are live by themselves."""

    def __init__(self, graph: Graph, draws: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.draws = draws
        self._rows: dict[tuple[Node, int], Node] = {}

    def closed(self, jaxpr: ClosedJaxpr, given: Sequence[Node], scope: str = "") -> list[Node]:
        """Append a jaxpr and the constants that it holds; returns its outputs."""
        constants = [self.constant(value) for value in jaxpr.consts]
        return self._open(jaxpr.jaxpr, [*constants, *given], scope)

    def constant(self, value: Any) -> Node:
        """Return a node that holds a value."""
        aval = jax.typeof(value)
        node = Node(CONSTANT, (), aval.shape, aval.dtype, live=False)
        self.graph.values[node] = value
        return self._added(node)

    def leaf(self, operation: str, aval: Any, name: str = "") -> Node:
        """Return a node of a parameter (with its name) or an input."""
        owner = name.rpartition(".")[0] or name
        node = Node(operation, (), tuple(aval.shape), aval.dtype, live=True, owner=owner)
        if name:
            self.graph.parameters[node] = name
        return self._added(node)

    def _added(self, node: Node) -> Node:
        self.graph.nodes.append(node)
        for given in node.given:
            given.users.append(node)
        return node

    def _open(self, jaxpr: Jaxpr, given: Sequence[Node], scope: str) -> list[Node]:
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], given, strict=True))

        def read(atom: Any) -> Node:
            return self.constant(atom.val) if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            inside = f"{scope}/{eqn.source_info.name_stack}"
            outputs = self._equation(eqn, [read(atom) for atom in eqn.invars], inside)
            values.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _equation(self, eqn: Any, given: list[Node], scope: str) -> Sequence[Node]:
        name = eqn.primitive.name
        inner = [jaxpr for jaxpr in _jaxprs(eqn.params) if len(jaxpr.jaxpr.invars) == len(given)]
        if name in CALLS and inner:
            return self.closed(inner[0], given, scope)
        live = any(node.live for node in given) or self._draws(eqn)
        control = CONTROL.get(name)
        if control is not None and (live or name == "cond"):
            outputs = control(self, eqn.params, given, scope)
            if outputs is not None:
                return outputs
        if name in STARTS and given[0].operation == PARAMETER:
            row = self._row_of_parameter(eqn, given)
            if row is not None:
                return [row]
        return self._operation(eqn, given, scope)

    def _draws(self, eqn: Any) -> bool:
        """Tell whether an operation, or one inside it, draws."""
        return eqn.primitive.name in self.draws or any(
            self._draws(inside) for jaxpr in _jaxprs(eqn.params) for inside in jaxpr.jaxpr.eqns
        )

    def _operation(self, eqn: Any, given: list[Node], scope: str) -> list[Node]:
        """One operation; of several outputs, a node that has all of them and a node for each."""
        bound = _bound(eqn)
        live = any(node.live for node in given) or self._draws(eqn)
        path, owner = _path(scope), next((node.owner for node in given if node.owner), "")
        common = {"live": live, "params": eqn.params, "source": eqn.source_info}
        avals = [var.aval for var in eqn.outvars]
        many = eqn.primitive.multiple_results
        aval = avals[0] if avals else jax.typeof(np.zeros(()))
        node = Node(eqn.primitive.name, (*given,), aval.shape, _dtype(aval), run=bound, **common)
        node.path = owner if owner.startswith(path) else path
        node.owner = owner if node.operation in LAYOUT else ""
        self._added(node)
        if not many:
            return [node]
        return [self._one_of(node, aval, index) for index, aval in enumerate(avals)]

    def _one_of(self, node: Node, aval: Any, index: int) -> Node:
        out = Node(OUTPUT, (node,), aval.shape, _dtype(aval), node.live, lambda all_: all_[index])
        out.params, out.path = {"index": index}, node.path
        return self._added(out)

    def row(self, of: Node, index: int) -> Node:
        """Return one row of an array that a loop runs over."""
        if of.operation == STACK:
            return of.given[index]
        if (of, index) not in self._rows:
            self._rows[of, index] = self._new_row(of, index)
        return self._rows[of, index]

    def _new_row(self, of: Node, index: int) -> Node:
        if of.operation == PARAMETER:
            name = self.graph.parameters[of]
            node = self.leaf(PARAMETER, jax.ShapeDtypeStruct(of.shape[1:], of.dtype))
            self.graph.parameters[node] = f"{name}[{index}]"
            self.graph.rows[f"{name}[{index}]"] = name, index
            node.owner = f"{of.owner}[{index}]" if of.owner else ""
            return node
        node = Node(ROW, (of,), of.shape[1:], of.dtype, of.live, lambda value: value[index])
        node.params = {"index": index}
        return self._added(node)

    def _row_of_parameter(self, eqn: Any, given: Sequence[Node]) -> Node | None:
        """One row of a parameter, taken at an index that is known: the row, of the output's
        shape."""
        of, shape = given[0], eqn.outvars[0].aval.shape
        long = [[size for size in sizes if size > 1] for sizes in (shape, of.shape[1:])]
        if len(of.shape) < 2 or of.shape[0] == 1 or long[0] != long[1]:
            return None
        if any(node.live for node in given[1:]):
            return None
        start = STARTS[eqn.primitive.name](eqn.params, [self.graph.value(n) for n in given[1:]])
        if start is None:
            return None
        row = self.row(of, min(max(start, 0), of.shape[0] - 1))
        node = Node("reshape", (row,), tuple(shape), row.dtype, True, owner=row.owner)
        node.run = lambda value: value.reshape(shape)
        return self._added(node)

    def stack(self, rows: Sequence[Node]) -> Node:
        """Return what a loop puts together, a row a round."""
        first = rows[0]
        node = Node(STACK, (*rows,), (len(rows), *first.shape), first.dtype, False)
        node.live = any(row.live for row in rows)
        node.run = lambda *values: jax.numpy.stack(values)
        return self._added(node)


def _sliced(params: Any, indices: Sequence[Any]) -> int | None:
    start = params["start_indices"][0]
    return start if params["limit_indices"][0] == start + 1 else None


def _dynamic(params: Any, indices: Sequence[Any]) -> int | None:
    return int(indices[0]) if params["slice_sizes"][0] == 1 else None


def _gathered(params: Any, indices: Sequence[Any]) -> int | None:
    """Of arrays of three axes and more: a row of a table of two is an embedding."""
    sizes, numbers = params["slice_sizes"], params["dimension_numbers"]
    one = sizes[0] == 1 and numbers.start_index_map == (0,) and np.size(indices[0]) == 1
    return int(np.ravel(indices[0])[0]) if one and len(sizes) > 2 else None


STARTS: dict[str, Callable[[Any, Sequence[Any]], int | None]] = {
    "slice": _sliced,
    "dynamic_slice": _dynamic,
    "gather": _gathered,
}
"""Operations that may take one row, to which of the first axis; None where they do not."""


def _bound(eqn: Any) -> Callable[..., Any]:
    """What computes an operation from values."""
    params = eqn.primitive.get_bind_params(eqn.params)

    def run(*values: Any) -> Any:
        with eqn.ctx.manager:
            return eqn.primitive.bind(*values, **params)

    return run


def _jaxprs(params: Any) -> Iterator[ClosedJaxpr]:
    """The jaxprs among an operation's parameters."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, ClosedJaxpr):
                yield one
            elif isinstance(one, Jaxpr) and not one.constvars:
                yield ClosedJaxpr(one, ())


def _dtype(aval: Any) -> Any:
    return getattr(aval, "dtype", None)


def _path(scope: str) -> str:
    """The path of the innermost module that a scope names."""
    found = re.findall(rf"{MARK}([^/()]*)", scope)
    return found[-1] if found else ""


def _scan(flat: Flattener, params: Any, given: Sequence[Node], scope: str) -> Sequence[Node] | None:
    """Unroll a loop of a known number of rounds."""
    fixed, carried, length = params["num_consts"], params["num_carry"], params["length"]
    constants, carry, over = given[:fixed], given[fixed : fixed + carried], given[fixed + carried :]
    if length == 0 or length > MOST_ROUNDS:
        return None
    ys: dict[int, Sequence[Node]] = {}
    for index in range(length)[:: -1 if params["reverse"] else 1]:
        rows = [flat.row(node, index) for node in over]
        out = flat.closed(params["jaxpr"], [*constants, *carry, *rows], scope)
        carry, ys[index] = out[:carried], out[carried:]
    columns = zip(*(ys[index] for index in range(length)), strict=True)
    return [*carry, *map(flat.stack, columns)]


def _while(
    flat: Flattener, params: Any, given: Sequence[Node], scope: str
) -> Sequence[Node] | None:
    """Unroll a loop whose condition is known in every round."""
    of_test, of_body = params["cond_nconsts"], params["body_nconsts"]
    test, body = given[:of_test], given[of_test : of_test + of_body]
    carry = list(given[of_test + of_body :])
    for _ in range(MOST_ROUNDS):
        (going,) = flat.closed(params["cond_jaxpr"], [*test, *carry], scope)
        if going.live:
            return None
        if not bool(flat.graph.value(going)):
            return carry
        carry = flat.closed(params["body_jaxpr"], [*body, *carry], scope)
    raise InputError(
        f"model: a loop of more than {MOST_ROUNDS} rounds at {_path(scope) or 'the top'}; "
        f"accepted: fewer"
    )


def _cond(flat: Flattener, params: Any, given: Sequence[Node], scope: str) -> Sequence[Node] | None:
    """Take the branch of a choice that is known."""
    if given[0].live:
        return None
    branches = params["branches"]
    chosen = int(np.clip(int(flat.graph.value(given[0])), 0, len(branches) - 1))
    return flat.closed(branches[chosen], given[1:], scope)


CONTROL = {"scan": _scan, "while": _while, "cond": _cond}
"""Operations that hold jaxprs to what opens them; None: it stays an operation."""
