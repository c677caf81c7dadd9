"""Which powers of the number of tokens an architecture follows: laws where attention is uniform and
tokens are exchangeable, else the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import sympy

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import NoRule
from sigprop.language.expression import Attend, Dropout, Normalise, State
from sigprop.language.nodes import Modulate
from sigprop.language.scalar import Scalar, names
from sigprop.language.traversal import walk
from sigprop.language.vectors import Scale, Sum, Vector
from sigprop.scaling.growth_rows import mixes
from sigprop.theory.exponents.laws import Law, power_law
from sigprop.theory.exponents.laws_of import FamilyLaws
from sigprop.theory.exponents.tokens.ladder import TOGETHER
from sigprop.theory.exponents.tokens.orders import (
    LOCAL,
    NEVER,
    Order,
    Place,
    averaged,
    diagonal,
    gradient,
    overlap,
    places,
)


def laws_of_tokens(arch: Architecture) -> FamilyLaws:
    """The laws in the number of tokens of a network with three of them or more."""
    try:
        check_counted(arch)
        found = dict(_laws(arch))
    except NoRule as error:
        return FamilyLaws({}, {}, {"": f"no law: {error}"})
    return FamilyLaws({key: _law(order) for key, order in found.items()}, {})


def _law(order: Order) -> Law:
    """Return an order as a law."""
    log = None if order.log is None else sympy.nsimplify(order.log)
    return power_law(sympy.nsimplify(order.power), {}, log)


def check_counted(arch: Architecture) -> None:
    """Raise ``NoRule`` where the counting does not hold: attention that is not uniform, tokens that
    differ, no skip, numbers that are zero."""
    nodes = [node for block in arch.sub_blocks for node in block.attention]
    if not all(_plain(node) for node in nodes):
        raise NoRule("attention is not uniform over all tokens, or over those before")
    if arch.token_tables or arch.sampled or arch.scored:
        raise NoRule("numbers of its own for every token")
    if arch.lanes > 1 or len(arch.bands) > 1 or any(len(b.reads) > 1 for b in arch.sub_blocks):
        raise NoRule("several lanes, reads, or bands of coordinates")
    if len(arch.readout.at) > 1:
        raise NoRule("read-outs at several depths")
    for block in arch.sub_blocks:
        if not (_additive(block.rule[0]) and _local(block.reads[0])):
            raise NoRule("the rule keeps no share of the state")
    for name in _numbers(arch):
        if not np.all(arch.number_tables.get(name, np.ones(1))):
            raise NoRule(f"{name} is zero")


def _plain(node: Attend) -> bool:
    """Tell if every token's weights are even, over all tokens or over those before."""
    masked = isinstance(node.scores.mask, str)
    return node.uniform and masked and not (node.bias or node.rate or node.kept_by)


def _additive(rule: Vector) -> bool:
    """Tell if the state stands in a rule as it is, up to a factor and a norm, beside the write."""
    match rule:
        case State():
            return True
        case Scale(of=of) | Normalise(of=of):
            return _additive(of)
        case Sum(terms):
            return any(_additive(term) for term in terms) and not any(
                isinstance(node, Modulate) for node in walk(rule)
            )
    return False


def _local(read: Vector) -> bool:
    """Tell if a read is the state, up to a factor and a norm."""
    return all(isinstance(node, (State, Scale, Normalise)) for node in walk(read))


def _numbers(arch: Architecture) -> Iterator[str]:
    """Yield the named numbers that writes are multiplied by; queries may be zero."""
    for block in arch.sub_blocks:
        queries = {node.query for node in block.attention}
        for node in (*walk(block.branch), *walk(block.rule[0])):
            if node in queries or isinstance(node, (Normalise, Dropout, Attend)):
                continue
            fields = vars(node).values()
            yield from (
                n.name for value in fields if isinstance(value, Scalar) for n in names(value)
            )


def _laws(arch: Architecture) -> Iterator[tuple[tuple[str, str | None], Order]]:
    """Yield the order of every quantity and group."""
    tokens, causal = arch.readout.tokens, _causal(arch)
    states = _overlaps(arch)
    yield ("residual_rms", None), Order(0.0)
    yield (TOGETHER, None), Order(states[-1])
    if not arch.norm_lane:
        yield ("update", None), _update(arch, states, causal)
    yield ("gradient", None), Order({"each": 1.0, "last": 0.0}.get(tokens, -1.0))
    groups: dict[str, list[Order]] = {}
    for a, x in enumerate(states[:-1]):
        block = arch.sub_blocks[(arch.kind_table or ())[a]]
        for weight, place in places(block.branch, x):
            groups.setdefault(weight, []).append(gradient(place, tokens, causal))
    for name, part in arch.stem_parts.items():
        place = Place(LOCAL, 0.0, _of_gram(part.gram))
        groups[name] = [gradient(place, tokens, False)]
    last = {"each": 1.0, "last": 0.0}.get(tokens, averaged(states[-1]))
    groups[READOUT] = [Order(last)]
    for name, orders in groups.items():
        yield ("weight_gradient", name), max(orders, key=_size)
    if not mixes(arch):
        yield from ((("ntk", name), Order(0.0)) for name in (*arch.groups, None))


def _size(order: Order) -> tuple[float, float]:
    """Return what orders are compared by; an open logarithm counts as more than any."""
    return order.power, math.inf if order.log is None else order.log


def _causal(arch: Architecture) -> bool:
    """Tell if attention is over the tokens before."""
    return any(n.scores.mask == "causal" for block in arch.sub_blocks for n in block.attention)


def _overlaps(arch: Architecture) -> list[float]:
    """Return the power of tokens' overlaps at every state."""
    states = [_of_gram(arch.input_gram)]
    for kind in arch.kind_table or ():
        x = states[-1]
        states.append(max(x, overlap(arch.sub_blocks[kind].branch, x)))
    return states


def _of_gram(gram: np.ndarray) -> float:
    """Return 0 for tokens of one positive cosine, -inf for orthogonal ones. Raises ``NoRule`` for
    others, which are no family."""
    off = gram[~np.eye(len(gram), dtype=bool)]
    if not np.allclose(off, off[0]) or off[0] < 0 or not np.allclose(np.diag(gram), gram[0, 0]):
        raise NoRule("tokens that differ, or of a negative cosine")
    return NEVER if off[0] == 0 else 0.0


def _update(arch: Architecture, states: list[float], causal: bool) -> Order:
    """Return the order of what is added to the first state, rms over tokens."""
    orders = [
        diagonal(arch.sub_blocks[kind].branch, x)
        for kind, x in zip(arch.kind_table or (), states, strict=False)
    ]
    power = max(orders)
    return Order(power / 2, 0.5 if causal and power < 0 else 0.0)
