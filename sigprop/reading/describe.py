"""All applications of a module as one description: equal sub-blocks are one kind, weights get the
module's own names, a parameter that is used several times is one slot."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import Part as StemPart
from sigprop.description.sub_block import Readout, SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import State, TokenTable, Vector
from sigprop.language.scalar import Number
from sigprop.reading.converter import Application, Drawn


def architecture(
    name: str,
    applications: Sequence[Application],
    *,
    gram: np.ndarray | dict[str, StemPart],
    readout: Vector,
    same: Callable[[str], str],
) -> Architecture:
    """Assemble the description. same: a parameter's name to that of the one it equals."""
    kinds: list[SubBlock] = []
    table: list[int] = []
    for application in applications:
        assert application.block is not None
        if application.block not in kinds:
            kinds.append(application.block)
        table.append(kinds.index(application.block))
    firsts = [applications[table.index(kind)] for kind in range(len(kinds))]
    names = _weight_names(firsts)
    renames = [_renames(first, names[kind]) for kind, first in enumerate(firsts)]
    blocks = tuple(_renamed(block, renames[kind]) for kind, block in enumerate(kinds))
    renamed = [renames[kind] for kind in table]
    for application, given in zip(applications, renamed, strict=True):
        application.names = given
    return Architecture(
        name,
        blocks,
        _slots(applications, renamed, same),
        _numbers(applications, renamed),
        kinds=table,
        token_tables=_tables(applications, renamed),
        input_gram=gram,
        readout=Readout(read=readout),
    )


def _weight_names(firsts: Sequence[Application]) -> list[dict[str, str]]:
    """Of every kind: its own names of weights to names that are the module's, as short as they can
    be and stand for one weight."""
    every = [
        (kind, key, drawn)
        for kind, first in enumerate(firsts)
        for key, drawn in first.weights.items()
    ]
    ways = product(("", "w"), (False, True), range(1, 12))
    for prefix, rows, length in ways:
        names = [_label(drawn, length, rows, prefix) for _, _, drawn in every]
        if len(set(names)) == len(names) and all(name[0].isalpha() for name in names):
            break
    else:
        names = [f"{_label(drawn, 2)}_{i}" for i, (_, _, drawn) in enumerate(every)]
    found: list[dict[str, str]] = [{} for _ in firsts]
    for (kind, key, _), name in zip(every, names, strict=True):
        found[kind][key] = name
    return found


def _label(drawn: Drawn, length: int, rows: bool = False, prefix: str = "w") -> str:
    """The last parts of a parameter's path; a bias says so, rows of a packed matrix by number, and
    where asked those of a stacked parameter; prefix: of a layer that has a number alone."""
    *path, last = re.sub(r"\[(\d+)\]", r"_\1" if rows else "", drawn.parameter).split(".")
    last = "weight" if last == "kernel" else last
    if last.removesuffix("weight") and last.removesuffix("bias"):
        path.append(last.removesuffix("_weight").removesuffix("_bias"))
    words = "_".join(path[-length:])
    size = max(drawn.stop - drawn.start, 1)
    packed = f"_{drawn.start // size}" if drawn.start or drawn.packed else ""
    ending = "_bias" if last.endswith("bias") else ""
    name = re.sub(r"\W", "_", f"{words}{packed}{ending}") or "w"
    return name if name[0].isalpha() else f"{prefix}{name}"


def _renames(first: Application, weights: dict[str, str]) -> dict[str, str]:
    """Numbers, weights and tables of one kind to their names in the description."""
    suffix = next(iter(weights.values()), "block")
    taken: set[str] = set()
    found = dict(weights)
    for number, role in first.roles.items():
        name = f"c_{weights[role]}" if role in weights else f"{role}_{suffix}"
        while name in taken:
            name += "_"
        taken.add(name)
        found[number] = name
    for table, values in first.tables.items():
        name = f"{'mean' if values.ndim == 1 else 'bias'}_{suffix}"
        while name in taken:
            name += "_"
        taken.add(name)
        found[table] = name
    return found


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """The same expression with numbers and weights under other names."""
    if isinstance(node, Number):
        return Number(names[node.name])
    if isinstance(node, TokenTable):
        return replace(node, name=names[node.name])
    if isinstance(node, tuple):
        return tuple(_renamed(inside, names) for inside in node)
    if isinstance(node, SubBlock):
        return SubBlock(*(_renamed(part, names) for part in (node.reads, node.branch, node.rule)))
    if not is_dataclass(node) or not isinstance(node, Vector):
        return node
    changed = {f.name: _renamed(getattr(node, f.name), names) for f in fields(node)}
    if "weight" in changed:
        changed["weight"] = names[changed["weight"]]
    return replace(node, **changed)


def _slots(
    applications: Sequence[Application],
    renamed: Sequence[dict[str, str]],
    same: Callable[[str], str],
) -> dict[str, list[int]]:
    """Weight to its slot at every application; where it does not stand, any."""
    depth = len(applications)
    found: dict[str, list[int]] = {}
    keys: dict[str, list[tuple[str, int, int]]] = {}
    firsts: dict[tuple[str, int, int], Drawn] = {}
    for at, (application, names) in enumerate(zip(applications, renamed, strict=True)):
        for key, drawn in application.weights.items():
            name = names[key]
            met = keys.setdefault(name, [])
            entry = (same(drawn.parameter), drawn.start, drawn.stop)
            first = firsts.setdefault(entry, drawn)
            if not math.isclose(first.law.variance, drawn.law.variance, rel_tol=1e-9):
                raise InputError(
                    f"{drawn.parameter}: starts as a multiple of {first.parameter}; accepted: "
                    f"copies as they are, or draws of their own"
                )
            if first.axis != drawn.axis:
                raise InputError(
                    f"{drawn.parameter}: used as it is and transposed; accepted: one of the two"
                )
            if entry not in met:
                met.append(entry)
            found.setdefault(name, [0] * depth)[at] = met.index(entry)
    return found


def _numbers(
    applications: Sequence[Application], renamed: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Number to its value, or its values at every application (where it does not stand, its
    first)."""
    values: dict[str, dict[int, float]] = {}
    for at, (application, names) in enumerate(zip(applications, renamed, strict=True)):
        for key, value in application.numbers.items():
            values.setdefault(names[key], {})[at] = value
    found: dict[str, Any] = {}
    for name, met in values.items():
        first = next(iter(met.values()))
        table = [met.get(at, first) for at in range(len(applications))]
        found[name] = first if len(set(table)) == 1 else table
    return found


def _tables(
    applications: Sequence[Application], renamed: Sequence[dict[str, str]]
) -> dict[str, np.ndarray]:
    """Table to its values, or to those at every application (where it does not stand, its
    first)."""
    values: dict[str, dict[int, np.ndarray]] = {}
    for at, (application, names) in enumerate(zip(applications, renamed, strict=True)):
        for key, value in application.tables.items():
            values.setdefault(names[key], {})[at] = value
    found: dict[str, np.ndarray] = {}
    for name, met in values.items():
        first = next(iter(met.values()))
        if all(np.array_equal(first, value) for value in met.values()):
            found[name] = first
        else:
            found[name] = np.stack([met.get(at, first) for at in range(len(applications))])
    return found


def readout_of(passed: Sequence[Any], wrapped: Callable[[Any, Vector], Vector]) -> Vector:
    """What the read-out sees: the last state, through the last norm."""
    read: Vector = State(0)
    for term in reversed(passed):
        read = wrapped(term, read)
    return read
