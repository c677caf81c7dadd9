"""Operations that take some entries, put terms one after another, or cut an image into patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.jaxmodules.axes import FEATURES, TOKENS, Own
from sigprop.jaxmodules.nodes import Node
from sigprop.modules.patterns import fused
from sigprop.modules.terms import Embedding, Fixed, Joined, Patches, Source, Term, Weight


def gathered(reader: Any, node: Node) -> Term:
    """Rows of a parameter, chosen by integers; a run of entries of a term."""
    of, indices = node.given
    weight = reader.term(of)
    sizes, numbers = node.params["slice_sizes"], node.params["dimension_numbers"]
    reader.axes[node] = (None,) * len(node.shape)
    if not isinstance(weight, Weight) or indices.live or len(of.shape) != 2:
        return reader.unknown(node)
    chosen = np.asarray(reader.graph.value(indices))
    by = numbers.start_index_map
    rows_first = by[:1] == (0,) and not chosen[..., 1:].any()
    if tuple(sizes) != (1, of.shape[1]) or not rows_first or numbers.operand_batching_dims:
        return reader.unknown(node)
    last = numbers.offset_dims[-1]
    reader.axes[node] = tuple(
        FEATURES if axis == last else TOKENS for axis in range(len(node.shape))
    )
    rows = Node("rows", (indices,), indices.shape[:-1], indices.dtype, live=False)
    rows.run = lambda value: np.clip(np.asarray(value)[..., 0], 0, of.shape[0] - 1)
    return Embedding(reader.rows(node), weight.parameter, Fixed(rows))


def sliced(reader: Any, node: Node) -> Term:
    """A run of entries along one axis."""
    starts, stops = node.params["start_indices"], node.params["limit_indices"]
    strides = node.params["strides"] or (1,) * len(starts)
    return _run(reader, node, starts, stops) if set(strides) == {1} else reader.unknown(node)


def sliced_at(reader: Any, node: Node) -> Term:
    """A run of entries that starts where fixed numbers say."""
    of, *given = node.given
    numbers = [reader.number(start) for start in given]
    sizes = node.params["slice_sizes"]
    if any(number is None for number in numbers):
        return reader.unknown(node)
    at = [int(number or 0) for number in numbers]
    starts = [
        min(max(n, 0), length - size) for n, length, size in zip(at, of.shape, sizes, strict=True)
    ]
    stops = [start + size for start, size in zip(starts, sizes, strict=True)]
    return _run(reader, node, starts, stops)


def _run(reader: Any, node: Node, starts: Any, stops: Any) -> Term:
    of = node.given[0]
    cut = [axis for axis, size in enumerate(node.shape) if size != of.shape[axis]]
    if len(cut) > 1:
        return reader.unknown(node)
    (axis,) = cut or (0,)
    return reader.part(node, of, axis, start=starts[axis], stop=stops[axis])


def one_of(reader: Any, node: Node) -> Term:
    """One of the outputs of a split."""
    call = node.given[0]
    if call.operation != "split":
        return reader.unknown(node)
    sizes, axis, index = call.params["sizes"], call.params["axis"], node.params["index"]
    start = sum(sizes[:index])
    return reader.part(node, call.given[0], axis, start=start, stop=start + sizes[index])


def joined(reader: Any, node: Node) -> Term:
    """Terms one after another."""
    axis = node.params["dimension"]
    reader.axes[node] = _labels(reader, node)
    order = reader.order(node)
    parts = tuple(reader.term(given) for given in node.given)
    return fused(Joined(reader.at(node), parts, order.index(axis)), reader.graph)


def _labels(reader: Any, node: Node) -> Any:
    """The axes of arrays one after another: where one has more than one entry, its label."""
    live = [reader.axes[given] for given in node.given if given.live]
    labels = []
    for k in range(len(node.shape)):
        met = {label[k] for label in live if isinstance(label[k], Own) or label[k] is not None}
        states = {label for label in met if not isinstance(label, Own)}
        labels.append(states.pop() if len(states) == 1 else None)
    return tuple(labels)


def patches(reader: Any, node: Node) -> Term:
    """A convolution of the input whose patches do not overlap."""
    image, kernel = node.given
    given, weight = reader.term(image), reader.term(kernel)
    numbers, params = node.params["dimension_numbers"], node.params
    size = tuple(kernel.shape[axis] for axis in numbers.rhs_spec[2:])
    plain = (
        tuple(params["window_strides"]) == size
        and all(tuple(pair) == (0, 0) for pair in params["padding"])
        and {*params["lhs_dilation"], *params["rhs_dilation"]} == {1}
        and node.shape[numbers.out_spec[0]] == 1
        and params["feature_group_count"] == params["batch_group_count"] == 1
    )
    reader.axes[node] = (None,) * len(node.shape)
    if not plain or not isinstance(given, Source) or not isinstance(weight, Weight):
        return reader.unknown(node)
    feature = numbers.out_spec[1]
    reader.axes[node] = tuple(
        FEATURES if axis == feature else TOKENS for axis in range(len(node.shape))
    )
    channels_first = Source(reader.view(image, numbers.lhs_spec))
    return Patches(reader.rows(node, flat=True), channels_first, weight.parameter, None, size)
