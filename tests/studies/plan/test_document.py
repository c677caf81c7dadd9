"""Study files: what they may hold, and how two differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sigprop.errors import InputError
from sigprop.studies.plan.document import changes, checked, flat, read

STUDY = {
    "name": "s",
    "command": "measure",
    "architecture": "mlp",
    "options": {"samples": 64},
    "grid": {"depth": [4, 8]},
    "list": [{"activation": "relu"}, {"activation": "tanh"}],
}


def test_a_file_is_called_as_it_says_or_as_its_file(tmp_path: Path):
    path = tmp_path / "ladder.toml"
    path.write_text('command = "predict"\narchitecture = "mlp"\n')
    assert read(path)["name"] == "ladder"
    path.write_text('name = "other"\ncommand = "predict"\narchitecture = "mlp"\n')
    assert read(path)["name"] == "other"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("command = ", "is not TOML"),
        ("comand = 'predict'", "did you mean 'command'"),
        ("architecture = 'mlp'", "command=None"),
        ("command = 3", "command=3"),
        ("command = 'predict'\ngrid = 3", "grid=3; accepted: a table"),
        ("command = 'predict'\n[options]\nerror = inf", "error=inf"),
        ("command = 'predict'\n[options]\nerror = 2024-01-01", "of date"),
        ("command = 'predict'\n[grid]\ndepth = [1, [2024-01-01]]", "of date"),
        ("command = 'predict'\n[grid]\nc_w = [nan]", "c_w=nan"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, match: str):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        read(path)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"grid": {"depth": [4, 8, 16]}}, "grid.depth: [4, 8] became [4, 8, 16]"),
        ({"grid": {}}, "grid.depth: [4, 8] became nothing"),
        ({"seeds": 3}, "seeds: nothing became 3"),
        ({"architecture": "nag"}, "architecture: mlp became nag"),
        ({"list": [{"activation": "relu"}]}, "list[2].activation: tanh became nothing"),
        ({"options": {"samples": 64, "width": 8}}, "options.width: nothing became 8"),
        ({"options": {"samples": 64.0}}, "options.samples: 64 became 64.0"),
    ],
)
def test_what_changed_is_said(change: dict[str, Any], said: str):
    assert changes(STUDY, {**STUDY, **change}) == [said]


def test_networks_may_become_more_or_fewer():
    assert changes(STUDY, STUDY) == []
    assert changes(STUDY, {**STUDY, "options": {"samples": 1000}}) == []
    assert changes(STUDY, {**STUDY, "options": {"samples": 2}}) == []


def test_every_value_has_its_dotted_name():
    names = dict(flat(checked(STUDY)))
    assert names["grid.depth"] == [4, 8] and names["list[1].activation"] == "relu"
