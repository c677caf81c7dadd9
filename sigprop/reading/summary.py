"""A reading as text and as a table: every kind of sub-block as a formula, every parameter's law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigprop.description.architecture import Architecture
from sigprop.reading.converter import Application
from sigprop.reading.findings import pattern
from sigprop.tables.table import Table


def text(arch: Architecture, width: int, paths: Sequence[str], findings: Sequence[str]) -> str:
    """Write what was read: sizes, a line a kind of sub-block, what stands out."""
    lines = [
        f"{arch.name}: {arch.depth} applications of {len(arch.sub_blocks)} kinds, width {width}, "
        f"{arch.tokens} tokens"
    ]
    for kind, block in enumerate(arch.sub_blocks):
        first = paths[list(arch.kind_table).index(kind)]
        reads = ", ".join(
            f"r_{j} = {read}" if j else f"r = {read}" for j, read in enumerate(block.reads)
        )
        rule = ", ".join(f"h <- {lane}" for lane in block.rule)
        lines.append(f"  {first}: {reads}; f = {block.branch}; {rule}")
    return "\n".join([*lines, *(f"  {finding}" for finding in findings)])


def laws(arch: Architecture, applications: Sequence[Application], copies: dict[str, str]) -> Table:
    """Tabulate matrices and biases by kind and law: a row for those that are alike."""
    met: dict[tuple[Any, ...], dict[str, set[Any]]] = {}
    for at, application in enumerate(applications, 1):
        for drawn in application.weights.values():
            key = pattern(drawn.parameter), drawn.start, drawn.stop, str(drawn.law), drawn.fan_in
            sets = met.setdefault(key, {"slots": set(), "applications": set()})
            sets["slots"].add(copies[drawn.parameter])
            sets["applications"].add(at)
    rows = [
        {
            "parameter": kind,
            "rows": f"{start}..{stop - 1}",
            "law": law,
            "fan_in": fan_in,
            "slots": len(sets["slots"]),
            "applications": len(sets["applications"]),
        }
        for (kind, start, stop, law, fan_in), sets in met.items()
    ]
    return Table(arch.name, dict(arch.parameters), rows, "laws")
