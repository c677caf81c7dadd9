"""The operations of a jaxpr, one after another, and the values of what in them depends on nothing
that is drawn or given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError
from sigprop.modules.terms import Place, place

PARAMETER, INPUT, CONSTANT, OUTPUT, ROW, STACK = (
    "parameter",
    "input",
    "constant",
    "output",
    "row",
    "stack",
)
"""Operations that are no primitives: where values come from, one output of several, a row of what a
loop runs over, what a loop puts together."""


LAYOUT = {
    *("reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims", "copy", "copy_p"),
    *("convert_element_type", "stop_gradient", "optimization_barrier", "sharding_constraint"),
    *("reduce_precision", "name", "layout_constraint", "tile"),
}
"""Operations that move numbers and change none."""


@dataclass(eq=False)
class Node:
    """One array. operation: the primitive's name; given: what it is computed from; run: what
    computes it; live: depends on a parameter, a floating-point input, or a draw; path: of the
    module that computes it, '' where it is not known; owner: of the module whose parameter it is;
    users: the nodes that take it; source: where it stands in the user's code."""

    operation: str
    given: tuple[Node, ...]
    shape: tuple[int, ...]
    dtype: Any
    live: bool
    run: Callable[..., Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    owner: str = ""
    source: Any = None
    users: list[Node] = field(default_factory=list)

    @cached_property
    def place(self) -> Place:
        """Shape and path; where no module is known, the operation and the line of code."""
        return Place(self.shape, self.path or self.owner or f"{self.operation}{self._line()}")

    def _line(self) -> str:
        from jax._src import source_info_util  # no public name

        frame = None if self.source is None else source_info_util.user_frame(self.source.traceback)
        return "" if frame is None else f" ({Path(frame.file_name).name}:{frame.start_line})"

    @property
    def args(self) -> tuple[Node, ...]:
        """What it is computed from, as rules of any library ask for it."""
        return self.given

    @property
    def size(self) -> int:
        """How many entries."""
        return int(np.prod(self.shape))


@place.register
def _(node: Node) -> Place:
    return node.place


@dataclass(eq=False)
class Graph:
    """nodes: in order; parameters: node to name; values: of constants, inputs, and what was
    evaluated; leaves: what comes out; names: where each is in it; rows: name of a row of a stacked
    parameter to the parameter and which row."""

    library: ClassVar[str] = "jax"
    nodes: list[Node] = field(default_factory=list)
    parameters: dict[Node, str] = field(default_factory=dict)
    values: dict[Node, Any] = field(default_factory=dict)
    leaves: list[Node] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    rows: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def named_outputs(self) -> dict[str, Node]:
        """The outputs of floating point that are no constants, by where they are in what comes out;
        raises ``InputError`` where there is none."""
        floats = jax.numpy.floating
        found = {
            name: node
            for name, node in zip(self.names, self.leaves, strict=True)
            if node.live and jax.numpy.issubdtype(node.dtype, floats)
        }
        if not found:
            raise InputError("model: returns no array; accepted: a module that returns its state")
        return found

    def constant(self, node: Node) -> bool:
        """Tell whether a node depends on no parameter, no floating-point input and no draw."""
        return not node.live

    def value(self, node: Node) -> Any:
        """Evaluate a node; parameters and draws are as ``values`` has them."""
        evaluate([node], self.values)
        return self.values[node]

    def given(self, node: Node, values: Mapping[Any, Any]) -> NDArray[Any]:
        """Evaluate a node that depends on parameters from values of these."""
        held = {place: jax.numpy.asarray(value, place.dtype) for place, value in values.items()}
        needed = [n for n in below([node]) if not n.live]
        evaluate(needed, self.values)
        held |= {n: self.values[n] for n in needed}
        evaluate([node], held)
        return _array(held[node])

    def array(self, node: Node) -> NDArray[Any]:
        """Return a constant's or an input's value: booleans, or numbers in float64."""
        return _array(self.value(node))


def _array(value: Any) -> NDArray[Any]:
    """Booleans, or numbers in float64."""
    array = np.asarray(value)
    return array if array.dtype == bool else array.astype(np.float64)


def evaluate(wanted: Iterable[Node], values: dict[Node, Any]) -> None:
    """Compute nodes and what they need into ``values``, without recursion."""
    open_nodes = list(wanted)
    while open_nodes:
        node = open_nodes[-1]
        lacking = [given for given in node.given if given not in values]
        if node not in values and lacking:
            open_nodes += lacking
            continue
        open_nodes.pop()
        if node not in values:
            if node.run is None:
                raise InputError(f"{node.place.path}: a value that is not known before it is run")
            values[node] = node.run(*(values[given] for given in node.given))


def number_of(value: Any) -> float | None:
    """Return an array's number where all its entries are equal: the shortest that its precision
    tells from others, as the user wrote it."""
    array = np.asarray(value)
    if not array.size or not (array == array.flat[0]).all():
        return None
    return float(str(array.flat[0])) if array.dtype != bool else float(array.flat[0])


def below(outputs: Iterable[Node]) -> set[Node]:
    """Return every node that some are computed from, themselves included."""
    seen: set[Node] = set()
    open_nodes = list(outputs)
    while open_nodes:
        node = open_nodes.pop()
        if node not in seen:
            seen.add(node)
            open_nodes += node.given
    return seen
