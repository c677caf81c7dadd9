"""The law of what a module's constructor computes: draws followed through its jaxpr.

Bits become uniform, uniform becomes normal or truncated normal through the inverse error function,
multiples and sums with numbers follow ``Law.affine``; layouts keep a law. What two arrays are
computed from, operation by operation and key by key, says whether one is a copy of the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from sigprop.jaxmodules.nodes import OUTPUT, ROW, STACK, Graph, Node, below, number_of
from sigprop.modules.laws import Law, constant, erfinv_of, normal, uniform, unknown

DRAW = "random_bits"
BITS, SIGN = "bits", "sign"
KEEP = {
    *("reshape", "transpose", "squeeze", "broadcast_in_dim", "expand_dims", "convert_element_type"),
    *("copy", "copy_p", "stop_gradient", "optimization_barrier", "rev", "reduce_precision"),
    *("slice", "dynamic_slice", "sharding_constraint", ROW, "name", "tile"),
}
"""Operations that move entries, or leave some out, and change none."""
Piece = tuple[int, tuple[int, ...], tuple[int, ...], Law]


@dataclass(frozen=True)
class Drawn:
    """What a node holds. same: a number, equal where two nodes hold the same entries; rows: of
    every row, the first that was drawn with the same key; sample: what bits become; pieces: as of
    ``Parameter``."""

    law: Law
    same: int
    rows: tuple[int, ...] = ()
    sample: Any = None
    pieces: tuple[Piece, ...] = ()


class Draws:
    """The laws of a constructor's graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._drawn: dict[Node, Drawn] = {}
        self._numbers: dict[Any, int] = {}
        wanted = below(graph.leaves)
        for node in graph.nodes:
            if node.live and node in wanted:
                self._drawn[node] = self._make(node)

    def of(self, node: Node) -> Drawn:
        """Return what a node holds; of one that depends on no draw, its value's law."""
        if node not in self._drawn:
            self._drawn[node] = self._fixed(node)
        return self._drawn[node]

    def _fixed(self, node: Node) -> Drawn:
        value = np.asarray(self.graph.value(node))
        same = self._number(("value", value.shape, value.tobytes()))
        number = number_of(value) if value.size else 0.0
        if number is not None:
            return Drawn(constant(number), same)
        return Drawn(unknown("no draw"), same)

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _make(self, node: Node) -> Drawn:
        if node.operation == DRAW:
            return self._bits(node)
        given = [self.of(one) if one.live else None for one in node.given]
        plain = repr([(key, str(value)) for key, value in sorted(node.params.items())])
        parts = [
            one.same if one is not None else self._constant(of)
            for one, of in zip(given, node.given, strict=True)
        ]
        same = self._number((node.operation, plain, *parts))
        found = self._rule(node, given)
        rows = tuple(r for one in given if one is not None for r in [one.rows] if r)
        kept = rows[0] if rows and node.shape and node.shape[0] == len(rows[0]) else ()
        return replace(found, same=same, rows=kept)

    def _constant(self, node: Node) -> Any:
        if jax.numpy.issubdtype(node.dtype, jax.dtypes.extended):
            return self._keys(node).tobytes()
        return np.asarray(self.graph.value(node)).tobytes()

    def _keys(self, node: Node) -> Any:
        return np.asarray(jax.random.key_data(self.graph.value(node)))

    def _bits(self, node: Node) -> Drawn:
        """Fresh bits; equal keys draw equal ones."""
        (key,) = node.given
        if key.live:
            return Drawn(unknown("a key that is drawn"), self._number(object()))
        data = self._keys(key)
        width = node.params["bit_width"]
        sample = np.linspace(0, 2.0**width, 513)[:-1].astype(f"uint{width}")
        same = self._number((DRAW, node.shape, width, data.tobytes()))
        rows: tuple[int, ...] = ()
        if len(key.shape) == 1:
            texts = [row.tobytes() for row in data]
            rows = tuple(map(texts.index, texts))
        return Drawn(Law(BITS), same, rows, sample)

    def _rule(self, node: Node, given: Sequence[Drawn | None]) -> Drawn:
        """What an operation leaves; 'same' and 'rows' are filled in after."""
        name = node.operation
        live = [one for one in given if one is not None]
        if name in KEEP:
            return self._kept(node, live[0])
        if name in (STACK, "concatenate"):
            return self._joined(node)
        if name == OUTPUT:
            return self._output(node)
        if live[0].sample is not None:
            return self._of_bits(node, live[0])
        if name == "sign":
            return Drawn(Law(SIGN, 0.0, 1.0), 0)
        if name in CHANGES and len(live) == 1:
            values = [self._value(n) for n in node.given]
            ends = _rounding(node.dtype)
            return Drawn(CHANGES[name](live[0].law, values, ends), 0)
        if name == "mul" and len(live) == 2:
            return Drawn(_signed(live[0].law, live[1].law), 0)
        if name == "select_n":
            return self._chosen(node)
        return Drawn(unknown(name), 0)

    def _value(self, node: Node) -> float | None:
        """A constant operand's number: None of what is drawn, nan where its entries differ."""
        if node.live:
            return None
        value = np.asarray(self.graph.value(node))
        return float(value.flat[0]) if (value == value.flat[0]).all() else math.nan

    def _kept(self, node: Node, of: Drawn) -> Drawn:
        (first, *_) = node.given
        if node.size > first.size and of.law.variance:
            return Drawn(unknown("a smaller array, repeated"), 0)
        if of.pieces and node.shape != first.shape:
            return Drawn(unknown("filled in pieces"), 0)
        if node.operation == "convert_element_type" and of.sample is not None:
            if not jax.numpy.issubdtype(node.dtype, jax.numpy.unsignedinteger):
                return Drawn(unknown("bits as numbers"), 0)
            return replace(of, same=0, sample=of.sample.astype(node.dtype))
        return replace(of, same=0)

    def _of_bits(self, node: Node, of: Drawn) -> Drawn:
        """Bits that are shifted and set; floats of them, where these are uniform on [1, 2)."""
        if node.operation in BITWISE:
            other = np.asarray(self.graph.value(node.given[1])).flat[0]
            return replace(of, sample=BITWISE[node.operation](of.sample, other))
        if node.operation == "bitcast_convert_type":
            floats = of.sample.view(np.dtype(node.dtype)).astype(np.float64)
            coarse = 2 * float(jax.numpy.finfo(node.dtype).eps)
            if np.abs(floats - 1 - np.arange(floats.size) / floats.size).max() <= coarse:
                return Drawn(uniform(1.0, 2.0), 0)
        return Drawn(unknown(f"{node.operation} of bits"), 0)

    def _output(self, node: Node) -> Drawn:
        """The orthonormal columns of a matrix's QR factors."""
        call = node.given[0]
        if call.operation in ("qr", "householder_product") and node.params["index"] == 0:
            return Drawn(Law("orthogonal", 0.0, 1 / max(node.shape[-2:])), 0)
        return Drawn(unknown(call.operation), 0)

    def _chosen(self, node: Node) -> Drawn:
        """One of several, where the choice is the same for all entries."""
        which = self._value(node.given[0])
        if which is None or math.isnan(which):
            return Drawn(unknown("select_n"), 0)
        return self.of(node.given[1 + int(which)])

    def _joined(self, node: Node) -> Drawn:
        """Arrays one after another: one law, or pieces."""
        axis = 0 if node.operation == STACK else node.params["dimension"]
        parts = [self.of(given) for given in node.given]
        laws = {part.law for part in parts}
        if any(part.pieces or part.sample is not None for part in parts):
            return Drawn(unknown("filled in pieces"), 0)
        if len(laws) == 1:
            return Drawn(laws.pop(), 0)
        inner = [int(np.prod(node.shape[k + 1 :])) for k in range(len(node.shape))]
        pieces: list[Piece] = []
        start = 0
        for given, part in zip(node.given, parts, strict=True):
            shape = (1, *given.shape) if node.operation == STACK else given.shape
            pieces.append((start * inner[axis], shape, (*inner,), part.law))
            start += shape[axis]
        return Drawn(unknown("filled in pieces"), 0, pieces=tuple(pieces))


BITWISE: dict[str, Callable[[Any, Any], Any]] = {
    "shift_right_logical": np.right_shift,
    "or": np.bitwise_or,
    "and": np.bitwise_and,
}


def _rounding(dtype: Any) -> float:
    """How far, relative, ends of intervals are rounded."""
    floats = jax.numpy.issubdtype(dtype, jax.numpy.floating)
    return 4 * float(jax.numpy.finfo(dtype).eps) if floats else 0.0


def _signed(one: Law, other: Law) -> Law:
    """The law of a product with independent signs, where the other factor has no mean."""
    law, sign = (one, other) if other.kind == SIGN else (other, one)
    if sign.kind == SIGN and law.known and law.mean == 0:
        return law
    return unknown("a product of draws")


def _linear(scale: float, shift: float) -> Callable[[Law], Law]:
    return lambda law: law.affine(scale, shift)


def _affine(change: Callable[[Any, Any], Callable[[Law], Law]]) -> Any:
    """The rule of an operation of a draw and a number."""

    def rule(law: Law, values: Sequence[float | None], ends: float) -> Law:
        left, right = values
        number = right if left is None else left
        if number is None or math.isnan(number):
            return unknown("numbers that differ between entries")
        return change(left, right)(law)

    return rule


def _divided(left: float | None, right: float | None) -> Callable[[Law], Law]:
    if left is not None or not right:
        return lambda law: unknown("a number over a draw")
    return _linear(1 / right, 0.0)


def _less(left: float | None, right: float | None) -> Callable[[Law], Law]:
    return _linear(1.0, -(right or 0.0)) if left is None else _linear(-1.0, left)


def _within(low: float, high: float, law: Law, ends: float) -> Law:
    """A clipped law: what lies within the ends already, or is cut by a rounding error of them."""
    slack = ends * (law.high - law.low) if math.isfinite(law.high - law.low) else 0.0
    inside = low <= law.low + slack and high >= law.high - slack
    return law if law.known and inside else unknown("clipped")


def _erf_inv(law: Law, ends: float) -> Law:
    """erf_inv of a uniform law: normal, where it reaches -1 and 1 but for a rounding error."""
    if law.kind == "uniform" and max(law.low + 1, 1 - law.high) < ends:
        return normal(0.0, math.sqrt(0.5))
    found = erfinv_of(law)
    if found.known and abs(law.mean) < ends:
        return replace(found, mean=0.0)
    return found


def _number(values: Sequence[float | None]) -> float:
    return next(value for value in values if value is not None)


CHANGES: dict[str, Callable[[Law, Sequence[float | None], float], Law]] = {
    "mul": _affine(lambda left, right: _linear(right if left is None else left, 0.0)),
    "add": _affine(lambda left, right: _linear(1.0, right if left is None else left)),
    "add_any": _affine(lambda left, right: _linear(1.0, right if left is None else left)),
    "sub": _affine(_less),
    "div": _affine(_divided),
    "neg": lambda law, values, ends: law.affine(-1.0),
    "erf_inv": lambda law, values, ends: _erf_inv(law, ends),
    "max": lambda law, values, ends: _within(_number(values), math.inf, law, ends),
    "min": lambda law, values, ends: _within(-math.inf, _number(values), law, ends),
    "clamp": lambda law, values, ends: _within(values[0] or 0.0, values[2] or 0.0, law, ends),
}
"""Operations of one draw and numbers, to the law that they leave; values: None for the draw; ends:
how far, relative, ends of intervals are rounded."""
