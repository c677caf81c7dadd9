"""The functions behind the commands, replaced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import sigprop
from sigprop.tables.table import Table


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, dict[str, Any]]]:
    """sigprop's functions replaced by ones that record what they are given and return a small
    table."""
    made: list[tuple[str, Any, dict[str, Any]]] = []

    def fake(kind: str) -> Any:
        def call(arch: Any, *_: Any, **options: Any) -> Any:
            made.append((kind, arch, options))
            if kind == "derive":
                return SimpleNamespace(
                    to_json=lambda: '{"equations": []}',
                    to_latex=lambda: r"q_{a+1}",
                    __str__=lambda _: "q",
                )
            row = {
                "quantity": "residual_variance",
                "application": 8,
                "token": 0,
                "value": 1.5,
                "deviation": 0.001,
                "tolerance": 0.01,
            }
            judged = kind in ("verify", "verify_exponents", "check")
            verdict = (
                {"mlp": "rejected", "residual-mlp": "inconclusive"}.get(arch.name, "confirmed")
                if judged
                else None
            )
            return Table(arch.name, arch.parameters, [row], kind, verdict)

        return call

    for kind in (
        "derive",
        "predict",
        "measure",
        "verify",
        "exponents",
        "critical",
        "verify_exponents",
    ):
        monkeypatch.setattr(sigprop, kind, fake(kind), raising=False)
    monkeypatch.setattr("sigprop.coordinate_check.check.check", fake("check"))
    return made
