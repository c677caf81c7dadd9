"""Programs of the tests are compiled without LLVM's optimisation: half the compile time. Most run
for milliseconds, so that their speed is not what a test waits for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from sigprop.runtime import compiling

LEVEL = "xla_backend_optimization_level"


def begin() -> None:
    """Compile without optimisation from now on, what tests compile themselves included; to be
    called before anything is compiled. A level in ``XLA_FLAGS`` stays."""
    given = os.environ.get("XLA_FLAGS", "")
    if LEVEL not in given:
        os.environ["XLA_FLAGS"] = f"{given} --{LEVEL}=0".strip()
    for options in (compiling.LIGHT, compiling.OUT_OF_CACHE):
        options[LEVEL] = 0


@pytest.fixture
def users_predictions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile predictions as users do, where what rounding leaves is compared to the bit."""
    from sigprop.theory.recursion import passes  # not before its shapes are checked

    def settings(programs: compiling._Programs) -> dict[str, object]:
        return compiling.supported(programs.options | {LEVEL: 1})

    monkeypatch.setattr(compiling._Programs, "settings", property(settings))
    passes.run.programs.clear()  # type: ignore[attr-defined]
    yield
    passes.run.programs.clear()  # type: ignore[attr-defined]
