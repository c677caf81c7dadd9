"""What a network costs: parameters, floating-point operations, key-value cache, and what narrow
blocks or skipped tokens save of them.

flops = 2 s d V + sum_a [2 s P_a + 4 s^2 d_a], a multiply-add counting two: s tokens, d the stem's
width, V words, P_a entries of application a's matrices, d_a coordinates of its queries; kv_cache =
numbers a token leaves behind, sum_a 2 x key coordinates. What is idle at end points of other widths
than the stem's is left out. A token that is skipped (Mixture-of-Depths, at initialisation) costs
its keys and values only, at skipped_kv=drop nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.modulators import Modulator
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import Attend, Bias, Linear, PositionBias, Read
from sigprop.language.nodes import Gate, Truncate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import rows_of, walk
from sigprop.tables.table import Table


def costs(
    arch: Architecture, width: int = 1024, sequence: int = 1024, vocabulary: int = 0
) -> Table:
    """Count parameters, operations of a forward pass over one sequence, and the cache, beside those
    of the same network without savings, as this module says.

    width: d, of the stem and the read-out; sequence: s; vocabulary: V of an untied embedding and
    head (0: none). Rows: quantity, value, reference (every block of width d, nothing skipped),
    saving = 1 - value/reference, and at_equal_cost = reference/value: of flops, the tokens it
    trains on for the same compute. Raises ``InputError``. Source: 2606.18246 (released solver),
    2606.16112; tests/test_costs.py.
    """
    arch.without_sampled("costs")
    sizes = {"width": width, "sequence": sequence, "vocabulary": vocabulary}
    _check(sizes)
    totals = _totals(arch, width, sequence, vocabulary)
    rows = [
        {"quantity": name, "value": value, "reference": reference}
        | (
            {"saving": 1 - value / reference, "at_equal_cost": reference / value}
            if value and reference
            else {}
        )
        for name, (value, reference) in totals.items()
    ]
    return Table(arch.name, dict(arch.parameters), rows, "costs", notes=sizes)


def _check(sizes: Mapping[str, int]) -> None:
    """Raise ``InputError`` for a size that is no whole number."""
    for name, value in sizes.items():
        least = 0 if name == "vocabulary" else 1
        if isinstance(value, bool) or int(value) != value or value < least:
            raise InputError(f"{name}={value}; accepted: an integer from {least} on")


def _totals(
    arch: Architecture, width: int, sequence: int, vocabulary: int
) -> dict[str, tuple[float, float]]:
    """Return {quantity: (of the network, of the same without savings)}."""
    stem = _share(arch)
    n = width / stem
    ends = 2.0 * vocabulary * width
    return {
        "parameters": (ends + _parameters(arch, n, stem), ends + _parameters(arch, width, None)),
        "flops": (
            sequence * ends + _flops(arch, n, stem, sequence),
            sequence * ends + _flops(arch, width, None, sequence),
        ),
        "kv_cache": (_cache(arch, n, False), _cache(arch, width, True)),
    }


def _share(arch: Architecture) -> float:
    """Return the share of the stream's coordinates that the stem gives."""
    nodes = [node for node in walk(arch.initial[0]) if isinstance(node, Truncate)]
    return min(
        (float(np.ravel(evaluate(node.fraction, arch.number_tables))[0]) for node in nodes),
        default=1.0,
    )


def _block(arch: Architecture, a: int) -> SubBlock:
    """Return the sub-block of an application."""
    return arch.sub_blocks[arch.kind_table[a]]


def _matrices(arch: Architecture, a: int, n: float, stem: float | None) -> dict[str, float]:
    """Return the entries of every matrix and bias of an application, of networks n coordinates
    wide; stem: None where all blocks own all of them."""
    owned = 1.0 if stem is None else float(arch.owned[a])
    entries = {}
    for name, node in _block(arch, a).weights.items():
        each = (
            1.0
            if isinstance(node, Bias)
            else 1 / node.size
            if isinstance(node, Gate)
            else node.count / node.size
            if isinstance(node, PositionBias)
            else owned * n * float(rows_of(node.of))
        )
        rows, columns = owned * n * float(node.rows), each * arch.copies.get(name, 1)
        if (
            stem is not None
            and owned > stem
            and isinstance(node, Linear)
            and _uses(arch, name, a) == 1
        ):
            columns -= n * (owned - stem) * (a == 0 and isinstance(node.of, Read))
            # walked parents first: the one that writes
            rows -= (
                n
                * (owned - stem)
                * (a == arch.depth - 1 and name == list(_block(arch, a).weights)[0])
            )
        entries[name] = rows * columns
    return entries


def _uses(arch: Architecture, weight: str, a: int) -> int:
    """Return how many applications the slot of this one has."""
    return len(next(used for used in arch.applications_of(weight).values() if a in used))


def _parameters(arch: Architecture, n: float, stem: float | None) -> float:
    """Count the entries of all slots, modulators and routers included; a slot as its first
    application has it."""
    firsts = {
        name: [used[0] for used in arch.applications_of(name).values()] for name in arch.drawn
    }
    total = sum(node.directions * n * len(firsts[name]) for name, node in arch.scored.items())
    return total + sum(
        _matrices(arch, a, n, stem)[name] for name in arch.weights for a in firsts[name]
    )


def _kept(arch: Architecture, a: int) -> float:
    """Return the share of tokens that an application does not skip."""
    for node in _block(arch, a).modulators.values():
        numbers = {name: table[a] for name, table in arch.number_tables.items()}
        variance, power, least = (
            evaluate(scalar, numbers) for scalar in (node.variance, node.power, node.skip_below)
        )
        return (
            1.0
            if least == 0
            else 1 - float(Modulator(node.directions, power, variance).below(least))
        )
    return 1.0


def _flops(arch: Architecture, n: float, stem: float | None, sequence: int) -> float:
    """Count operations of all applications: matrices, attention's scores and sums, modulators and
    routers; of experts those that a token is sent to."""
    total = 0.0
    for a in range(arch.depth):
        block = _block(arch, a)
        kept = 1.0 if stem is None else _kept(arch, a)
        always = _of_every_token(block)
        sent = {
            weight: node.chosen / node.count
            for node in block.experts.values()
            for weight in block.copies
        }
        for name, entries in _matrices(arch, a, n, stem).items():
            share = sent.get(name, 1.0) * (1.0 if name in always else kept)
            total += 2 * sequence * entries * share
        owned = 1.0 if stem is None else float(arch.owned[a])
        total += sum(
            4
            * sequence**2
            * kept
            * (kept if node.kept_by else 1.0)
            * owned
            * n
            * float(rows_of(node.query))
            for node in block.attention
        )
        total += sum(2 * sequence * node.directions * n for node in block.scored.values())
    return total


def _of_every_token(block: SubBlock) -> set[str]:
    """Return the weights of keys and values that skipped tokens have too."""
    return {
        leg.weight
        for node in block.attention
        if not node.kept_by
        for side in (node.key, node.value)
        for leg in walk(side)
        if isinstance(leg, Linear)
    }


def _cache(arch: Architecture, n: float, whole: bool) -> float:
    """Count the numbers a token leaves behind; whole: at full width, none skipped."""
    owned = np.ones(arch.depth + 1) if whole else arch.owned
    nodes: list[tuple[int, Attend]] = [
        (a, node) for a in range(arch.depth) for node in _block(arch, a).attention
    ]
    kept = [_kept(arch, a) if node.kept_by and not whole else 1.0 for a, node in nodes]
    return sum(
        2 * share * float(owned[a]) * n * float(rows_of(node.key))
        for share, (a, node) in zip(kept, nodes, strict=True)
    )
