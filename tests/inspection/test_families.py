"""Model families as ``docs/make_real_models.py`` judges them, some of them at small widths."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sigprop as sp

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/make_real_models.py."""
    found = importlib.util.spec_from_file_location("make_real_models", DOCS / "make_real_models.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("family", ["gpt2", "llama", "nanoGPT", "MLP"])
def test_a_family_is_not_rejected(script: ModuleType, family: str):
    """12 networks of widths 128 and 256, 4 tokens: a right table is rejected with probability 1 %
    at most; the seeds are fixed."""
    table, _ = script.judged(family, (128, 256), [12], 4)
    assert table.verdict in ("confirmed", "inconclusive")
    lines = script.lines(family, table, 1.0)
    assert [line["quantity"] for line in lines] == list(dict.fromkeys(r["quantity"] for r in table))
    assert all(float(line["rms_z"]) < 3 for line in lines)


def test_another_initialisation_is_rejected(script: ModuleType):
    """The companion: networks whose matrices are drawn half as wide again as those that were
    read."""
    build, example = script.builder("gpt2", 4)
    reading = sp.read(lambda: build(256), example(256))

    def wide() -> Any:
        model = build(256)
        with torch.no_grad():
            for block in model.h:
                block.mlp.c_proj.weight.mul_(1.5)
        return model

    wrong = sp.inspect(wide, example(256), seeds=12)
    assert wrong.verdict != "rejected"  # its own theory knows
    assert sp.inspect(replace(reading, make=wide), seeds=12).verdict == "rejected"


def test_the_table_in_the_docs(script: ModuleType):
    """Every family that the script knows, each confirmed, rms z below 1.5 over all rows."""
    rows = list(csv.DictReader((DOCS / "real_models.csv").read_text().splitlines()))
    assert {row["family"] for row in rows} == {*script.FAMILIES, *script.MODULES}
    assert {row["verdict"] for row in rows} == {"confirmed"}
    assert script.rms(rows) < 1.5


def test_families_in_the_file_are_kept(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A family that the file lacks is judged and added; the others' lines stay as they are."""
    lines = (DOCS / "real_models.csv").read_text().splitlines()
    others = [line for line in lines if not line.startswith("MLP,")]
    file = tmp_path / "real_models.csv"
    file.write_text("\n".join(others) + "\n")
    monkeypatch.setattr(script, "FILE", file)
    monkeypatch.setattr(script, "WIDTHS", (128, 256))
    monkeypatch.setattr("sys.argv", ["make_real_models.py", "--only", "gpt2,MLP", "--seeds", "12"])
    assert script.main() == 0
    found = file.read_text().splitlines()
    assert found[: len(others)] == others
    assert {line.split(",")[0] for line in found[len(others) :]} == {"MLP"}


def test_a_family_that_is_not_known_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Before anything is judged, with what would be accepted."""
    monkeypatch.setattr("sys.argv", ["make_real_models.py", "--only", "gpt2,llam"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--only llam; accepted: MLP, TransformerEncoder" in capsys.readouterr().err
