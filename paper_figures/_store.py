"""What a figure leaves behind: NAME.TABLE.csv, its pictures, and NAME.json (written last), which says what they came from and what the points say."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.errors import InputError
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure, Rows
from sigprop.table import Table, write

TEXT = ("panel", "curve", "quantity", "group", "engine", "case", "status", "variable", "label", "verdict", "parametrisation")
LIBRARIES = ("jax", "numpy", "matplotlib")


def folder(out: str | Path) -> Path:
    """The folder, made where it is not there; raises ``InputError``."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)  # before anything is sampled for it
    except OSError as error:
        raise InputError(f"out={str(out)!r}: {error.strerror}; accepted: a folder that exists or can be made") from None
    return Path(out)


def stamp(figure: Figure, quick: bool, seed: int) -> dict[str, Any]:
    """What decides the tables: equal stamps, equal tables."""
    recipe = hashlib.sha256()
    for file in figure.files:
        recipe.update(file.read_bytes())
    return {"figure": figure.name, "quick": quick, "seed": seed, "sigprop": sp.__version__, "recipe": recipe.hexdigest()[:16]}


def done(figure: Figure, out: Path, quick: bool, seed: int) -> bool:
    """Whether the folder holds this figure's tables, whole and of the same stamp."""
    found = record(figure, out)
    wanted = stamp(figure, quick, seed)
    return {key: found.get(key) for key in wanted} == wanted and all(_digest(out / name) == digest for name, digest in found["files"].items())


def record(figure: Figure, out: Path) -> dict[str, Any]:
    """The figure's JSON; empty where there is none, or half of one."""
    try:
        found = json.loads((out / f"{figure.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


def save(out: Path, figure: Figure, tables: Mapping[str, Table]) -> None:
    """The tables, as CSV; what an earlier run said of them is withdrawn first."""
    (out / f"{figure.name}.json").unlink(missing_ok=True)
    for name, table in tables.items():
        write(out / f"{figure.name}.{name}.csv", table.to_csv())


def load(out: Path, figure: Figure, names: Mapping[str, Any] | None = None) -> dict[str, Rows]:
    """{table's name: its rows}, from the CSV files; raises ``InputError`` where there is none."""
    paths = sorted(out.glob(f"{figure.name}.*.csv")) if names is None else [out / name for name in names]  # in the order in which they were made
    files = {path.name.split(".")[1]: path for path in paths}
    if not files or not all(path.is_file() for path in paths):
        raise InputError(f"replot: {out} has not all tables of {figure.name}; accepted: a folder that sigprop figures wrote, or no --replot")
    return {name: read(path) for name, path in files.items()}


def read(path: Path) -> Rows:
    """A CSV file's rows: numbers as numbers, empty as None."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(file, strict=True)]
        except (ValueError, TypeError, csv.Error) as error:
            raise InputError(f"replot: {path}: {error}; accepted: a table that sigprop figures wrote") from None


def _value(key: str, text: str) -> Any:
    if key in TEXT or text == "":
        return text or None
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def document(out: Path, figure: Figure, marks: Mapping[str, Any], parameters: Mapping[str, Any], rows: Mapping[str, Rows], judged: Judged) -> dict[str, Any]:
    """Write the figure's JSON, and return it."""
    measured = [row for own in rows.values() for row in own if row.get("width") is not None]
    values = {key: sorted({row[key] for row in measured if row.get(key) is not None}) for key in ("width", "samples", "engine")}
    sizes = {"widths": values["width"], "samples": values["samples"], "engines": values["engine"]}
    words = {key if key.endswith("s") else f"{key}s": " and ".join(map(str, values[key])) for key in values}
    caption = figure.caption.format_map(words)
    found = {
        **marks,
        **{key: getattr(figure, key) for key in ("paper", "item", "shows")},
        "caption": caption,
        "verdict": judged.verdict,
        "judgement": judged.to_dict(),
        **sizes,
        "tables": {name: len(own) for name, own in rows.items()},
        "volatile": list(figure.volatile),
        "parameters": dict(parameters),
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in LIBRARIES}},
        "files": {f"{figure.name}.{name}.csv": _digest(out / f"{figure.name}.{name}.csv") for name in rows},
    }
    write(out / f"{figure.name}.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
