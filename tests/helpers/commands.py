"""Commands in processes of their own, with a cache folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sigprop.runtime import cache

ROOT = Path(__file__).parents[2]
SMALL = ["predict", "mlp", "--set", "depth=3", "--quantity", "residual_variance", "--json"]
"""The words of a command that compiles one program."""
COMMAND = [sys.executable, "-m", "sigprop", *SMALL]


def environment(home: Path, **more: str) -> dict[str, str]:
    """The user's, with a cache folder of its own and none of the tests' settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JAX_") and name != cache.SWITCH
    }
    return (
        kept | {"XDG_CACHE_HOME": str(home), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"} | more
    )


def ran(home: Path, words: Sequence[str], **more: str) -> subprocess.CompletedProcess[str]:
    """A process, to its end: the interpreter with these words."""
    return subprocess.run(
        [sys.executable, *words],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=300,
    )
