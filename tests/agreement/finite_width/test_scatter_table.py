"""docs/scatter.csv: every registered architecture, what it must hold, the page that shows it."""

from __future__ import annotations

import csv
import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sigprop.agreement.finite_width.scatter import against_networks
from sigprop.architectures import entries

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """docs/make_scatter.py."""
    found = importlib.util.spec_from_file_location("make_scatter", DOCS / "make_scatter.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        found.loader.exec_module(module)
    return module


def recorded(file: str = "scatter.csv") -> list[dict[str, str]]:
    return list(csv.DictReader((DOCS / file).read_text().splitlines()))


def test_every_architecture_is_there_and_none_misses(script: ModuleType):
    """No row beyond what a right theory passes with probability 99 %, rms z below 1.3."""
    every = recorded()
    assert [line["architecture"] for line in every] == sorted(entries())
    told = script.summary(every)
    assert told.missed == () and told.rows > 1000
    assert max(told.rms) < script.MOST_RMS
    # the companion: one number that is twice as far would be seen
    (shift,) = (line for line in every if line["architecture"] == "transformer")
    far = [*(line for line in every if line is not shift), shift | {"shift_furthest": "-6"}]
    assert script.summary(far).missed == ("transformer",)


def test_gradients_are_of_registered_architectures_and_none_misses(script: ModuleType):
    every = recorded("scatter_gradients.csv")
    assert {line["architecture"] for line in every} <= set(entries())
    told = script.summary(every)
    assert told.missed == () and told.rows > 150
    assert max(told.rms) < script.MOST_RMS


def test_nothing_is_refused():
    assert not any(line["refused"] for line in recorded())


def test_the_page_shows_the_file(script: ModuleType):
    page = (DOCS / "finite-width.md").read_text()
    assert script.table(DOCS / "scatter.csv") in page
    assert script.table(DOCS / "scatter_gradients.csv") in page


def test_an_architecture_that_the_file_lacks_is_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The others' lines stay as they are."""
    lines = (DOCS / "scatter.csv").read_text().splitlines()
    others = [line for line in lines if not line.startswith("mlp,")]
    file = tmp_path / "scatter.csv"
    file.write_text("\n".join(others) + "\n")
    few: Any = partial(against_networks, units=64)
    monkeypatch.setattr(script, "NETWORKS", {16: 200, 32: 300, 64: 400})
    monkeypatch.setattr(script, "FILE", file)
    monkeypatch.setattr(script, "against_networks", few)
    monkeypatch.setattr("sys.argv", ["make_scatter.py", "--only", "mlp,nag"])
    assert script.main() == 0
    found = file.read_text().splitlines()
    assert [line for line in found if not line.startswith("mlp,")] == others
    assert len(found) == len(lines)
    # rows of the backward pass, in a file of their own
    back = tmp_path / "scatter_gradients.csv"
    monkeypatch.setattr(script, "GRADIENTS", back)
    monkeypatch.setattr("sys.argv", ["make_scatter.py", "--gradients", "--only", "mlp"])
    script.main()  # whose exit code so few networks do not decide
    (line,) = csv.DictReader(back.read_text().splitlines())
    assert "gradient" in line["variance_row"]


def test_an_architecture_that_is_not_known_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("sys.argv", ["make_scatter.py", "--only", "mlp,transformr"])
    with pytest.raises(SystemExit):
        script.main()
    assert "--only transformr; accepted: completep" in capsys.readouterr().err
