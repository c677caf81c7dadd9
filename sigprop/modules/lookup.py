"""What the rules of operations ask of whoever turns a graph into terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from sigprop.modules.terms import Term


class Graph(Protocol):
    """What rules ask of a graph of operations, of any library; library: whose it is, 'torch' or
    'jax'."""

    library: ClassVar[str]

    @property
    def parameters(self) -> Mapping[Any, str]: ...
    def constant(self, node: Any) -> bool: ...
    def value(self, node: Any) -> Any: ...
    def array(self, node: Any) -> NDArray[Any]: ...
    def given(self, node: Any, values: Mapping[Any, NDArray[Any]]) -> NDArray[Any]: ...


class Terms(Protocol):
    """What rules ask of whoever turns a graph into terms."""

    @property
    def graph(self) -> Graph: ...
    def term(self, node: Any) -> Term: ...
    def number(self, given: Any) -> float | None: ...
    def unknown(self, node: Any) -> Term: ...
    def part(self, node: Any, of: Any, axis: int, start: int, stop: int) -> Term: ...


def filled(given: Sequence[Any], *defaults: Any) -> tuple[Any, ...]:
    """Arguments, those that are not given as they are where nothing is said."""
    return (*given, *defaults[len(given) :])[: len(defaults)]
