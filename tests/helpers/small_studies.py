"""Studies whose units cost next to nothing, and what their stores hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import sigprop as sp
from sigprop.studies.running import one
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Unit

SIZES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def feigned(patch: pytest.MonkeyPatch, size: int = 1, rows: int = 3) -> list[str]:
    """Let units of this process return rows of that size (characters) at once, and return the keys
    of those that were run, as they are."""
    keys: list[str] = []

    def done(command: str, unit: Unit, described: Any) -> Outcome:
        keys.append(unit.key)
        text = (unit.key * (size // len(unit.key) + 1))[:size]
        return Outcome(
            [
                {"quantity": "q", "application": k, "value": k / 3, "text": f"{text}{k}"}
                for k in range(rows)
            ]
        )

    patch.setattr(one, "_done", done)
    return keys


def study(folder: Path, **more: Any) -> sp.Study:
    """Twelve units of predict."""
    given: dict[str, Any] = {
        "command": "predict",
        "architecture": "looped-mlp",
        "parameters": {"depth": 2},
        "options": {"quantities": ["residual_variance"]},
        "grid": {"loops": [1, 2], "residual_scale": list(SIZES)},
    }
    return sp.Study("small", store=folder / "small.db", **(given | more))


def written(folder: Path, asked: sp.Study) -> Path:
    """Write a study's file beside its store."""
    path = folder / "small.toml"
    lines: list[str] = []
    for key, value in asked.plan.document.items():
        if isinstance(value, dict):
            lines += [f"{key}.{name} = {json.dumps(inner)}" for name, inner in value.items()]
        elif key == "list":
            lines += ["list = [" + ", ".join(map(_inline, value)) + "]"]
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    path.write_text("\n".join(lines))
    return path


def _inline(table: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items()) + "}"


def rows(asked: sp.Study) -> list[dict[str, Any]]:
    """The rows, without where they come from, as JSON has them: to the bit."""
    return json.loads(asked.results(provenance=False).to_json())["rows"]
