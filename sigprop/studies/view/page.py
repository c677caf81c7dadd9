"""The page to look at: a study's rows as one HTML file that asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any

from sigprop.studies.view.embedding import embedded
from sigprop.studies.view.heading import footing, heading, text
from sigprop.tables.document import Document
from sigprop.tables.plain import plain

STYLES = ("page", "explore")
SCRIPTS = (
    "data",
    "filters",
    "dimensions",
    "points",
    "scales",
    "drawing",
    "legend",
    "tips",
    "figure",
    "plot",
    "table",
    "start",
)
"""The page's styles and scripts, in the order in which they are put together."""


def page(table: Document, about: Mapping[str, Any]) -> str:
    """Return a study's page: what it is, a plot, and its rows to sort and to filter.

    table  rows, one a number: varied parameters first, then the keys that say which number it is,
           then its values
    about  what the study is: name, command, architecture, parameters (those that are fixed),
           varied (names), units (done, failed, waiting), failures (cell and reason), versions,
           sources, created, remarks

    Same arguments, same text. Texts of either may hold anything: none becomes a tag or a script.
    """
    plainly: dict[str, Any] = plain(about)
    style, script = "".join(_part(f"{name}.css") for name in STYLES), _script()
    body, notes = f'<p class="empty">{_emptiness(plainly)}</p>', []
    if table.rows:
        data, notes = embedded(table, plainly)
        body = _filled("explore.html", data=data)
    return _filled(
        "page.html",
        policy=f"script-src {_hash(script)}; style-src {_hash(style)}",
        title=text(plainly.get("name") or "study"),
        style=style,
        heading=heading(table, plainly, notes),
        body=body,
        footing=footing(plainly),
        script=script if table.rows else "",
    )


def _emptiness(about: Mapping[str, Any]) -> str:
    """Say why there is nothing to look at yet."""
    units = about.get("units") or {}
    waiting = units.get("waiting") or 0
    more = f" {waiting} of its units wait to be run." if waiting else ""
    return f"This study has no rows.{more}"


def _part(name: str) -> str:
    """Return a static part of the page."""
    folder = resources.files("sigprop.studies.view").joinpath("static")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _filled(name: str, **values: str) -> str:
    """Return a static part with its places filled."""
    return Template(_part(name)).substitute(values)


def _script() -> str:
    """Return the scripts as one, in a scope of its own: names there hide none of the browser's."""
    parts = "\n".join(_part(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n{{\n{parts}}}\n'


def _hash(content: str) -> str:
    """Return a policy's word for a script or style: no other may run, however it got there."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
