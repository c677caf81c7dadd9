"""What a network costs: parameters, floating-point operations, key-value cache, and what narrow
blocks or skipped tokens save of them."""

from __future__ import annotations

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.modulators import Modulator
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import Attend, Bias, Linear, Read
from sigprop.language.nodes import Gate, Truncate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import rows_of, walk
from sigprop.tables.table import Table


def costs(
    arch: Architecture, width: int = 1024, sequence: int = 1024, vocabulary: int = 0
) -> Table:
    """Parameters, operations of a forward pass over one sequence, and the cache, beside those of
    the same network without savings.

    flops = 2 s d V + sum_a [2 s P_a + 4 s^2 d_a], a multiply-add counting two: s tokens, d the
    stem's width, V words, P_a entries of application a's matrices, d_a coordinates of its queries;
    kv_cache = numbers a token leaves behind, sum_a 2 x key coordinates. What is idle at end points
    of other widths than the stem's is left out. A token that is skipped (Mixture-of-Depths, at
    initialisation) costs its keys and values only, at skipped_kv=drop nothing.

    width: d, of the stem and the read-out; sequence: s; vocabulary: V of an untied embedding and
    head (0: none). Rows: quantity, value, reference (every block of width d, nothing skipped),
    saving = 1 - value/reference, and at_equal_cost = reference/value: of flops, the tokens it
    trains on for the same compute. Raises ``InputError``. Source: 2606.18246 (released solver),
    2606.16112; tests/test_costs.py.
    """
    for name, value, least in (
        ("width", width, 1),
        ("sequence", sequence, 1),
        ("vocabulary", vocabulary, 0),
    ):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise InputError(f"{name}={value}; accepted: an integer from {least} on")
    stem = _share(arch)
    n = width / stem
    ends = 2.0 * vocabulary * width
    found = {
        "parameters": (ends + _parameters(arch, n, stem), ends + _parameters(arch, width, None)),
        "flops": (
            sequence * ends + _flops(arch, n, stem, sequence),
            sequence * ends + _flops(arch, width, None, sequence),
        ),
        "kv_cache": (_cache(arch, n, False), _cache(arch, width, True)),
    }
    rows = [
        {"quantity": name, "value": own, "reference": whole}
        | ({"saving": 1 - own / whole, "at_equal_cost": whole / own} if own and whole else {})
        for name, (own, whole) in found.items()
    ]
    return Table(
        arch.name,
        dict(arch.parameters),
        rows,
        "costs",
        notes={"width": width, "sequence": sequence, "vocabulary": vocabulary},
    )


def _share(arch: Architecture) -> float:
    """Of the stream's coordinates, those that the stem gives."""
    nodes = [node for node in walk(arch.initial[0]) if isinstance(node, Truncate)]
    return min(
        (float(np.ravel(evaluate(node.fraction, arch.number_tables))[0]) for node in nodes),
        default=1.0,
    )


def _block(arch: Architecture, a: int) -> SubBlock:
    return arch.sub_blocks[arch.kind_table[a]]


def _matrices(arch: Architecture, a: int, n: float, stem: float | None) -> dict[str, float]:
    """Entries of every matrix and bias of an application, of networks n coordinates wide; stem:
    None where all blocks own all of them."""
    own = 1.0 if stem is None else float(arch.owned[a])
    entries = {}
    for name, node in _block(arch, a).weights.items():
        each = (
            1.0
            if isinstance(node, Bias)
            else 1 / node.size
            if isinstance(node, Gate)
            else own * n * float(rows_of(node.of))
        )
        rows, columns = own * n * float(node.rows), each
        if (
            stem is not None
            and own > stem
            and isinstance(node, Linear)
            and _uses(arch, name, a) == 1
        ):
            columns -= n * (own - stem) * (a == 0 and isinstance(node.of, Read))
            # walked parents first: the one that writes
            rows -= (
                n
                * (own - stem)
                * (a == arch.depth - 1 and name == list(_block(arch, a).weights)[0])
            )
        entries[name] = rows * columns
    return entries


def _uses(arch: Architecture, weight: str, a: int) -> int:
    """How many applications the slot of this one has."""
    return len(next(used for used in arch.applications_of(weight).values() if a in used))


def _parameters(arch: Architecture, n: float, stem: float | None) -> float:
    """Of all slots, modulators included; a slot as its first application has it."""
    firsts = {
        name: [used[0] for used in arch.applications_of(name).values()] for name in arch.drawn
    }
    total = sum(node.directions * n * len(firsts[name]) for name, node in arch.modulators.items())
    return total + sum(
        _matrices(arch, a, n, stem)[name] for name in arch.weights for a in firsts[name]
    )


def _kept(arch: Architecture, a: int) -> float:
    """The share of tokens that an application does not skip."""
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
    total = 0.0
    for a in range(arch.depth):
        kept = 1.0 if stem is None else _kept(arch, a)
        attends = _block(arch, a).attention
        seen = [node for node in attends if not node.kept_by]  # keys and values of every token
        always = {
            leg.weight
            for node in seen
            for side in (node.key, node.value)
            for leg in walk(side)
            if isinstance(leg, Linear)
        }
        for name, entries in _matrices(arch, a, n, stem).items():
            total += 2 * sequence * entries * (1.0 if name in always else kept)
        own = 1.0 if stem is None else float(arch.owned[a])
        total += sum(
            4
            * sequence**2
            * kept
            * (kept if node.kept_by else 1.0)
            * own
            * n
            * float(rows_of(node.query))
            for node in attends
        )
        total += sum(
            2 * sequence * node.directions * n for node in _block(arch, a).modulators.values()
        )
    return total


def _cache(arch: Architecture, n: float, whole: bool) -> float:
    own = np.ones(arch.depth + 1) if whole else arch.owned
    nodes: list[tuple[int, Attend]] = [
        (a, node) for a in range(arch.depth) for node in _block(arch, a).attention
    ]
    kept = [_kept(arch, a) if node.kept_by and not whole else 1.0 for a, node in nodes]
    return sum(
        2 * share * float(own[a]) * n * float(rows_of(node.key))
        for share, (a, node) in zip(kept, nodes, strict=True)
    )
