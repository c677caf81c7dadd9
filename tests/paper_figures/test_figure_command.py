"""The registered figures as a user meets them: the list, bad input, the page of verdicts, and
the gallery."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sigprop import paper_figures
from sigprop.cli import run
from sigprop.paper_figures import _make, _store
from sigprop.paper_figures._run import Run

ROOT = Path(__file__).parents[2]


def test_list_says_what_there_is(capsys: Any):
    assert run(["figures", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"looped-energy", "looped-cosines", "verdicts"} <= {one["name"] for one in listed}
    assert all(
        set(one) == {"name", "paper", "item", "shows"} and all(one.values()) for one in listed
    )
    assert run(["figures", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(listed)


@pytest.mark.parametrize(
    "given",
    [
        ["looped-enegy"],
        ["--formats", "gif"],
        ["--seed", "-1"],
        ["--out", "/dev/null/x"],
        ["--replot", "--out", "/tmp"],
        ["--quik"],
    ],
    ids=lambda given: " ".join(given),
)
def test_bad_input_is_one_line(given: list[str], capsys: Any):
    assert run(["figures", *given]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sigprop: ") and len(said.splitlines()) == 1


def test_the_summary_of_all_verdicts_is_judged_from_its_table(tmp_path: Path):
    figure = paper_figures.figure("verdicts")
    document = _make.make(figure, tmp_path, Run(quick=True), ["png"])
    assert document["verdict"] == "confirmed"
    rows = _store.load(tmp_path, figure).rows["deviations"]
    assert (
        figure.judge(
            {"deviations": [row | {"theory": 1.03 * row["theory"]} for row in rows]}
        ).verdict
        == "rejected"
    )


def test_every_figure_has_its_place_in_the_gallery():
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    for figure in paper_figures.figures().values():
        assert f"## {figure.name}" in page and f"sigprop figures {figure.name}" in page
        picture = ROOT / "docs" / "images" / "figures" / f"{figure.name}.png"
        assert picture.is_file() and picture.stat().st_size < 150_000
        shown = page.replace("\\*", "*")
        assert all(
            part in shown
            for part in re.split(r"\{\w+\}", figure.caption.replace("{{", "{").replace("}}", "}"))
        ), f"{figure.name}: docs/make_gallery.py"
