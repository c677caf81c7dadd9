"""``sigprop list``: the registry as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

from sigprop.parameters import PARAMETERS
from sigprop.plain import plain
from sigprop.registry import entries
from sigprop.rows import QUANTITIES
from sigprop.table_text import cell, grid


def as_json() -> str:
    """One document: every architecture with its parameters, reference and predicted quantities."""
    architectures: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "summary": entry.summary,
            "reference": entry.reference,
            "parameters": {
                name: {"default": default, "help": PARAMETERS[name].help, "accepts": PARAMETERS[name].accepts} for name, default in entry.defaults.items()
            },
            "quantities": list(QUANTITIES),
        }
        for entry in entries().values()
    ]
    quantities = {name: quantity.help for name, quantity in QUANTITIES.items()}
    return json.dumps(plain({"architectures": architectures, "quantities": quantities}), indent=1, allow_nan=False)


def as_text() -> str:
    """Architectures, then the table of parameters with each architecture's default, then quantities."""
    known = entries()
    out = ["Architectures", ""]
    out += [f"  {line}" for line in grid({"name": list(known), "reference": [e.reference for e in known.values()], "what": [e.summary for e in known.values()]})]
    used = {name: None for entry in known.values() for name in entry.defaults}
    columns: dict[str, list[Any]] = {"key": list(used)}
    for name, entry in known.items():
        columns[name] = [_default(entry.defaults, key) for key in used]
    columns |= {"accepts": [PARAMETERS[key].accepts for key in used], "what": [PARAMETERS[key].help for key in used]}
    out += ["", "Parameters (--set key=value) and their defaults; -: not a parameter of this architecture", ""]
    out += [f"  {line}" for line in grid(columns)]
    out += ["", "Quantities (--quantity)", ""]
    out += [f"  {line}" for line in grid({"name": list(QUANTITIES), "what": [quantity.help for quantity in QUANTITIES.values()]})]
    return "\n".join(out)


def _default(defaults: Any, key: str) -> str:
    if key not in defaults:
        return "-"
    return "none" if defaults[key] is None else cell(defaults[key])
