"""What a figure leaves behind: NAME.TABLE.csv, its pictures, and NAME.json (written last), which
says what they came from and what the points say."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import sigprop as sp
from sigprop.errors import InputError
from sigprop.paper_figures._judge import Judged
from sigprop.paper_figures._registry import Figure, Rows
from sigprop.tables.files import write
from sigprop.tables.table import Table

TEXT = (
    "panel",
    "curve",
    "quantity",
    "group",
    "engine",
    "case",
    "status",
    "variable",
    "label",
    "verdict",
    "parametrisation",
)
LIBRARIES = ("jax", "numpy", "matplotlib")
PARTS = ("architectures", "theory", "simulations", "scaling", "prescriptions")
MARKS = ("quick", "seed", "sigprop", "recipe", "parameters", "versions", "files")


def folder(out: str | Path) -> Path:
    """The folder, made where it is not there; raises ``InputError``."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)  # before anything is sampled for it
    except OSError as error:
        raise InputError(
            f"out={str(out)!r}: {error.strerror}; accepted: a folder that exists or can be made"
        ) from None
    return Path(out)


def stamp(figure: Figure, quick: bool, seed: int) -> dict[str, Any]:
    """What decides the tables: equal stamps, equal tables."""
    recipe = hashlib.sha256()
    recipe.update(_package())
    for file in figure.files:
        recipe.update(file.read_bytes())
    return {
        "figure": figure.name,
        "quick": quick,
        "seed": seed,
        "sigprop": sp.__version__,
        "recipe": recipe.hexdigest()[:16],
    }


@cache
def _package() -> bytes:
    """Theory, networks and architectures as they are: what changes there may change any table."""
    root, found = Path(sp.__file__).parent, hashlib.sha256()
    files = [*root.glob("*.py"), *(file for name in PARTS for file in (root / name).rglob("*.py"))]
    for file in sorted(files, key=lambda file: file.relative_to(root)):
        found.update(file.read_bytes())
    return found.digest()


def done(figure: Figure, out: Path, quick: bool, seed: int) -> bool:
    """Whether the folder holds this figure's tables, whole and of the same stamp."""
    found = record(figure, out)
    wanted = stamp(figure, quick, seed)
    return {key: found.get(key) for key in wanted} == wanted and all(
        _digest(out / name) == digest for name, digest in found["files"].items()
    )


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


def origin(out: Path, figure: Figure, tables: Mapping[str, Table]) -> dict[str, Any]:
    """What the saved tables came from, and their digests: what a later redrawing keeps."""
    return {
        "parameters": {name: table.parameters for name, table in tables.items()},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
        "files": {
            f"{figure.name}.{name}.csv": _digest(out / f"{figure.name}.{name}.csv")
            for name in tables
        },
    }


def load(out: Path, figure: Figure) -> dict[str, Rows]:
    """{table's name: its rows}, of the tables that the figure's JSON names; raises
    ``InputError`` where one of them is missing."""
    names = record(figure, out).get("files")
    if not names or not all((out / name).is_file() for name in names):
        raise InputError(
            f"replot: {out} has not all tables of {figure.name}; accepted: a folder that sigprop "
            f"figures wrote, or no --replot"
        )
    return {name.split(".")[1]: read(out / name) for name in names}


def read(path: Path) -> Rows:
    """A CSV file's rows: numbers as numbers, empty as None."""
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [
                {key: _value(key, text) for key, text in row.items()}
                for row in csv.DictReader(file, strict=True)
            ]
        except (ValueError, TypeError, csv.Error) as error:
            raise InputError(
                f"replot: {path}: {error}; accepted: a table that sigprop figures wrote"
            ) from None


def _value(key: str, text: str) -> Any:
    if key in TEXT or text == "":
        return text or None
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def document(
    out: Path, figure: Figure, marks: Mapping[str, Any], rows: Mapping[str, Rows], judged: Judged
) -> dict[str, Any]:
    """Write the figure's JSON, and return it; marks: ``stamp`` and ``origin`` of its tables."""
    measured = [row for own in rows.values() for row in own if row.get("width") is not None]
    values = {
        key: sorted({row[key] for row in measured if row.get(key) is not None})
        for key in ("width", "samples", "engine")
    }
    sizes = {"widths": values["width"], "samples": values["samples"], "engines": values["engine"]}
    words = {
        key if key.endswith("s") else f"{key}s": " and ".join(map(str, values[key]))
        for key in values
    }
    caption = figure.caption.format_map(words)
    found = {
        "figure": figure.name,
        **{key: getattr(figure, key) for key in ("paper", "item", "shows")},
        "caption": caption,
        "verdict": judged.verdict,
        "judgement": judged.to_dict(),
        **sizes,
        "tables": {name: len(own) for name, own in rows.items()},
        "volatile": list(figure.volatile),
        **marks,
    }
    write(out / f"{figure.name}.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
