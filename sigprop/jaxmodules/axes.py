"""What every axis of an array is: of features, of tokens, of a parameter's own, of scores.

Layouts are passed over when terms are made, so a rule asks here whether it sums over features,
whether a parameter lies along them, and which axis of scores are the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sigprop.jaxmodules.nodes import Node


class Own(NamedTuple):
    """An axis of a parameter: which of its shape."""

    axis: int


class Side(NamedTuple):
    """Tokens of scores: of the first or the second factor of a product."""

    product: Node
    second: bool


FEATURES, TOKENS, REPEATED = "features", "tokens", "repeated"
Label = Any
"""FEATURES, TOKENS, REPEATED (copies), an ``Own``, a ``Side``, or None where it is not known. Axes
of one entry are TOKENS."""
Labels = tuple[Label, ...]


def of_parameter(shape: Sequence[int]) -> Labels:
    """Return a parameter's axes."""
    return tuple(Own(axis) if size > 1 else TOKENS for axis, size in enumerate(shape))


def of_input(shape: Sequence[int]) -> Labels:
    """Return the axes of rows of features."""
    return tuple(FEATURES if axis == len(shape) - 1 else TOKENS for axis in range(len(shape)))


def places(labels: Labels, label: Label) -> tuple[int, ...]:
    """Return which axes have a label."""
    return tuple(axis for axis, one in enumerate(labels) if one == label)


def laid_out(node: Node, labels: Labels) -> Labels:
    """Return the axes after an operation that moves numbers."""
    of = node.given[0]
    if node.operation == "transpose":
        return tuple(labels[axis] for axis in node.params["permutation"])
    if node.operation == "broadcast_in_dim":
        found: list[Label] = [TOKENS if size == 1 else REPEATED for size in node.shape]
        for axis, size, label in zip(
            node.params["broadcast_dimensions"], of.shape, labels, strict=True
        ):
            if size == node.shape[axis] != 1:
                found[axis] = label
        return tuple(found)
    if node.operation == "tile":
        more = zip(node.params["reps"], of.shape, labels, strict=True)
        return tuple(
            label if reps == 1 else REPEATED if size == 1 else None for reps, size, label in more
        )
    return labels if node.shape == of.shape else _reshaped(of.shape, node.shape, labels)


def _reshaped(old: Sequence[int], new: Sequence[int], labels: Labels) -> Labels:
    """Axes that are split or run together, group by group of equal size."""
    found: list[Label] = []
    i = 0
    while len(found) < len(new):
        if new[len(found)] == 1:
            found.append(TOKENS)
            continue
        group: list[Label] = []
        count, covered, size = 0, 1, 1
        while count == 0 or covered != size:
            if covered <= size and i < len(old):
                covered *= old[i]
                group += [labels[i]] if old[i] > 1 else []
                i += 1
            else:
                size *= new[len(found) + count]
                count += 1
        split = [TOKENS if n == 1 else _one(group) for n in new[len(found) : len(found) + count]]
        found += split
    return tuple(found)


def _one(group: Sequence[Label]) -> Label:
    """The label of axes that are run together: theirs where they agree, a parameter's first."""
    if len(set(group)) == 1:
        return group[0]
    if set(group) == {FEATURES, REPEATED}:  # heads, some times over
        return FEATURES
    return group[0] if group and all(isinstance(label, Own) for label in group) else None


def combined(node: Node, operands: Sequence[tuple[Node, Labels]]) -> Labels:
    """Return the axes of an elementwise operation of live operands; a parameter that spreads what
    is one number a token spreads it over features."""
    found: list[Label] = []
    for axis, size in enumerate(node.shape):
        met = [
            labels[axis]
            for one, labels in operands
            if one.shape and one.shape[axis] == size and size > 1
        ]
        states = {label for label in met if not isinstance(label, Own) and label != REPEATED}
        sides = {label for label in states if isinstance(label, Side)}
        states = sides if sides and states - sides <= {TOKENS} else states  # numbers on scores
        if size == 1:
            found.append(TOKENS)
        elif len(states) == 1:
            found.append(states.pop())
        elif met and not states and len(operands) > 1:
            found.append(FEATURES)
        else:
            found.append(met[0] if len(set(met)) == 1 else None)
    return tuple(found)


def along_features(
    parameter: Node, own: Labels, node: Node, labels: Labels, *, heads: bool
) -> bool:
    """Tell whether a parameter lies along features and along nothing else: all of them, or, where
    ``heads`` may share it, a head's."""
    at = {axis for axis, label in enumerate(own) if isinstance(label, Own)}
    if not at or any(parameter.shape[axis] != node.shape[axis] for axis in at):
        return False
    features = {axis for axis in places(labels, FEATURES) if node.shape[axis] > 1}
    return at == features or (heads and at == {max(features, default=-1)})
