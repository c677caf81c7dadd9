"""docs/real-models.md: the module of flax that it shows, run as it stands."""

from __future__ import annotations

import runpy
from pathlib import Path

import jax
import pytest
from documents import ROOT, python

import sigprop as sp

pytest.importorskip("flax")
PAGE = ROOT / "docs" / "real-models.md"


def test_the_module_of_flax_runs(tmp_path: Path):
    """Read, predicted, measured: nothing rejected."""
    (code,) = [code for code in python(PAGE) if "from flax import nnx" in code]
    file = tmp_path / "flax_page.py"
    file.write_text(code, encoding="utf-8")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        names = runpy.run_path(str(file), {"sp": sp})
    assert len(names["reading"].paths) == 4
    assert names["table"].verdict in ("confirmed", "inconclusive")
