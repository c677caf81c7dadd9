"""``sigprop list``: the registry as text and as JSON."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Mapping
from typing import Any

from sigprop.architectures import entries
from sigprop.blocks.variances import INITIALISATIONS, Initialisation
from sigprop.description.quantities import QUANTITIES
from sigprop.language.activations import ACTIVATIONS
from sigprop.tables.cells import cell
from sigprop.tables.plain import plain

RATIO = 4.0
"""Hidden units over the width that an initialisation's numbers are shown at."""


def as_json() -> str:
    """One document: every architecture with its parameters, reference and predicted quantities."""
    architectures: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "summary": entry.summary,
            "reference": entry.reference,
            "parameters": {
                name: {
                    "default": default,
                    "help": entry.parameters[name].help,
                    "accepts": entry.parameters[name].accepts,
                }
                for name, default in entry.defaults.items()
            },
            "quantities": list(QUANTITIES),
        }
        for entry in entries().values()
    ]
    named = {
        name: {
            "fits": one.fits,
            "about": one.about,
            "numbers": one.variances(RATIO),
            "model_width": one.width,
        }
        for name, one in INITIALISATIONS.items()
    }
    return json.dumps(
        plain(
            {
                "architectures": architectures,
                "quantities": _quantities(),
                "activations": list(ACTIVATIONS),
                "initialisations": named,
            }
        ),
        indent=1,
        allow_nan=False,
    )


def as_text() -> str:
    """Architectures with their defaults, then the table of parameters, then quantities; wrapped
    to the terminal."""
    width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 160))
    known = entries()
    out = ["Architectures, and the defaults of their parameters (--set key=value)"]
    for entry in known.values():
        defaults = " ".join(
            f"{key}={'none' if value is None else cell(getattr(value, 'name', value))}"
            for key, value in entry.defaults.items()
        )
        out += [
            "",
            *_wrap(f"  {entry.name}  ({entry.reference})", width, "    "),
            *_wrap("    " + entry.summary, width, "    "),
        ]
        out += _wrap("    " + defaults, width, "    ")
    used = {name: p for entry in known.values() for name, p in entry.parameters.items()}
    out += ["", "Parameters [accepted values]", ""]
    out += _entries(
        {key: f"{parameter.help} [{parameter.accepts}]" for key, parameter in used.items()}, width
    )
    out += ["", "Activations", "", *_wrap("  " + ", ".join(ACTIVATIONS), width, "  ")]
    out += [
        "",
        f"Initialisations (--set init=NAME): numbers at mlp_ratio={RATIO:g}, the class they fit",
        "",
    ]
    out += _entries(
        {
            name: f"{one.fits}: {one.about} [{_numbers(one)}]"
            for name, one in INITIALISATIONS.items()
        },
        width,
    )
    out += ["", "Quantities (--quantity)", ""]
    return "\n".join(out + _entries(_quantities(), width))


def _quantities() -> dict[str, str]:
    """What each is, and which come only when they are asked for."""
    return {
        name: quantity.help + ("" if quantity.unasked else " (only when asked for)")
        for name, quantity in QUANTITIES.items()
    }


def _numbers(one: Initialisation) -> str:
    """c_q = c_k = c_v = 0.5, ...: numbers of one value together."""
    by_value: dict[str, list[str]] = {}
    for name, value in one.variances(RATIO).items():
        by_value.setdefault(cell(value), []).append(name)
    width = [] if one.width is None else [f"n = {one.width} unless model_width says"]
    return ", ".join(
        [*(f"{' = '.join(names)} = {value}" for value, names in by_value.items()), *width]
    )


def _entries(texts: Mapping[str, str], width: int) -> list[str]:
    size = max(map(len, texts), default=0)
    return [
        line
        for key, text in texts.items()
        for line in _wrap(f"  {key:<{size}}  {text}", width, " " * (size + 4))
    ]


def _wrap(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
