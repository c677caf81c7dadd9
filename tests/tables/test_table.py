"""Tables: every way out holds every row, JSON is strict, files are written whole or not at all."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import LineCollection

import sigprop as sp
from sigprop.errors import InputError
from sigprop.tables import table as tables
from sigprop.tables.cells import cell
from sigprop.tables.table import Table
from sigprop.tables.text import HEAD, TAIL, worst

PARAMETERS = {"depth": 2, "loops": 4, "input_gram": np.eye(2), "c_w": None}


def measured(count: int = 9) -> Table:
    rows = [
        {
            "quantity": "residual_variance",
            "application": a,
            "token": t,
            "value": 1 + 0.123456789 * a,
            "se": 0.01,
            "samples": 512,
            "width": 256,
            "engine": "dense",
        }
        for a in range(count)
        for t in (0, 1)
    ]
    return Table("looped-mlp", PARAMETERS, rows, "measure")


def verified() -> Table:
    def row(quantity: str, deviation: float, verdict: str, **keys: object) -> dict:
        values = {
            "theory": 2.0,
            "measured": 2 * (1 + deviation),
            "scale": 2.0,
            "deviation": deviation,
            "tolerance": 0.01,
        }
        return {
            "quantity": quantity,
            **keys,
            **values,
            "lower": deviation - 0.004,
            "upper": deviation + 0.004,
            "verdict": verdict,
        }

    rows = [
        row("residual_variance", 0.001 * a, "confirmed", application=a, token=0) for a in (0, 4, 8)
    ]
    rows += [row("state_cosine", 0.002, "confirmed", application=0, application_2=8, token=0)]
    rows += [
        row("ntk", -0.2, "rejected", group="w", token=0, token_2=0),
        row("ntk", 0.3, "inconclusive", token=0, token_2=0),
    ]
    return Table(
        "looped-mlp", PARAMETERS, rows, "verify", "rejected", {"seconds": 1.5, "rows": "not this"}
    )


def test_json_has_the_promised_keys_and_all_rows():
    document = json.loads(verified().to_json())
    assert list(document) == ["architecture", "parameters", "rows", "verdict", "seconds"]
    assert document["parameters"]["input_gram"] == [[1.0, 0.0], [0.0, 1.0]]
    assert len(document["rows"]) == 6
    assert "verdict" not in measured().to_dict()


def test_json_is_strict_about_nan_and_infinity():
    rows = [
        {"quantity": "ntk", "value": v}
        for v in (
            math.nan,
            math.inf,
            np.float32(-np.inf),
            np.float64(0.5),
            np.int64(3),
            np.bool_(True),
        )
    ]
    text = Table("mlp", {"scale": math.nan}, rows, "predict").to_json()

    def refuse(name):
        return pytest.fail(f"{name} in JSON")

    document = json.loads(text, parse_constant=refuse)
    assert [row["value"] for row in document["rows"]] == [None, None, None, 0.5, 3, True]
    assert document["parameters"] == {"scale": None}


def test_csv_keeps_all_digits_and_leaves_empty_what_does_not_apply():
    table = verified()
    read = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(read) == len(table)
    assert tuple(read[0]) == table.columns
    assert [float(row["deviation"]) for row in read] == [row["deviation"] for row in table]
    assert read[0]["group"] == "" and read[-2]["application"] == ""


def test_markdown_has_a_line_a_row():
    lines = measured().to_markdown().splitlines()
    assert len(lines) == 2 + len(measured())
    assert len({line.count("|") for line in lines}) == 1


def test_text_of_a_long_table_says_how_many_rows_are_left_out():
    table = measured(50)
    shown = str(table)
    assert f"{100 - HEAD - TAIL} of 100 rows left out" in shown
    assert len(shown.splitlines()) < HEAD + TAIL + 10
    assert len(json.loads(table.to_json())["rows"]) == 100
    assert len(table.to_csv().splitlines()) == 101


def test_text_is_aligned_and_says_shared_values_once():
    lines = str(measured(3)).splitlines()
    assert lines[0] == "looped-mlp (measure): depth=2, loops=4, input_gram=[[1.0, 0.0], [0.0, 1.0]]"
    assert lines[2].split() == ["quantity", "application", "token", "value", "se"]
    assert len({len(line) for line in lines[2:10]}) <= 2
    assert "1.12346" in str(measured(3)) and "1.123456" not in str(measured(3))
    assert lines[-1] == "all rows: samples=512, width=256, engine=dense"


def test_the_worst_row_is_the_gravest_verdict_then_the_largest_deviation():
    row = worst(verified())
    assert row is not None and row["verdict"] == "rejected"
    assert "verdict: rejected (worst row: ntk[token=0, token_2=0, group=w], deviation -0.2" in str(
        verified()
    )


def test_text_without_rows():
    assert "no rows" in str(Table("mlp", {}, [], "predict"))


def test_filter_and_iteration():
    table = measured().filter(quantity="residual_variance", application=[1, 2], token=0)
    assert [row["application"] for row in table] == [1, 2] and len(table) == 2
    assert len(measured().filter(quantity="ntk")) == 0
    with pytest.raises(InputError, match="filter: 'quantiy'"):
        measured().filter(quantiy="ntk")


@pytest.mark.parametrize("suffix", [".json", ".csv", ".md", ".JSON"])
def test_save_writes_by_suffix_and_leaves_nothing_else(tmp_path: Path, suffix: str):
    path = tmp_path / f"out{suffix}"
    path.write_text("old")
    measured().save(path)
    expected = getattr(measured(), tables.SUFFIXES[suffix.lower()])()
    assert path.read_text().rstrip("\n") == expected.rstrip("\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "missing/out.json"])
def test_save_refuses_in_one_line(tmp_path: Path, name: str):
    with pytest.raises(InputError, match="out=.*accepted: ") as caught:
        measured().save(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_cannot_be_written(tmp_path: Path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        measured().save(tmp_path / "x.json")


def test_an_interruption_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "out.json"
    path.write_text("old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tables.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measured().save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_plot_has_a_panel_a_quantity_with_labels(tmp_path: Path):
    path = tmp_path / "figure.png"
    figure = verified().plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [axes.get_title().split(",")[0] for axes in figure.axes] == [
        "residual_variance",
        "state_cosine",
        "ntk",
    ]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert np.array_equal(np.asarray(figure.axes[0].get_lines()[0].get_ydata()), [2.0, 2.0, 2.0])
    bars = [shape for shape in figure.axes[0].collections if isinstance(shape, LineCollection)]
    assert bars[0].get_segments()[0][:, 1] == pytest.approx([2 * (1 - 0.004), 2 * (1 + 0.004)])


def test_plot_takes_a_logarithm_only_over_two_decades_of_positive_values(tmp_path: Path):
    def scale(values: list[float]) -> str:
        rows = [
            {"quantity": "residual_variance", "application": a, "value": v}
            for a, v in enumerate(values)
        ]
        return Table("mlp", {}, rows, "predict").plot(tmp_path / "f.svg").axes[0].get_yscale()

    assert scale([1, 10, 1000]) == "log"
    assert scale([1, 10, 50]) == "linear"
    assert scale([-1, 10, 1000]) == "linear"


def test_plot_refuses_what_it_cannot_draw(tmp_path: Path):
    with pytest.raises(InputError, match="no rows"):
        Table("mlp", {}, [], "predict").plot(tmp_path / "f.png")
    with pytest.raises(InputError, match="suffix '.xyz'"):
        measured().plot(tmp_path / "f.xyz")


def test_text_says_where_networks_diverged():
    rows = [{"quantity": "residual_variance", "application": 0, "value": None}]
    assert str(
        Table("mlp", {}, rows, "measure", notes={"diverged": "networks diverged at application 3"})
    ).endswith("\nnetworks diverged at application 3")


def test_notebooks_show_what_terminals_show():
    """Every cell and line of the text stands in the HTML, escaped; head and tail of long tables."""
    rows = [
        {"quantity": "a<b", "application": a, "value": a / 3, "status": "exact"} for a in range(60)
    ]
    table = Table("mlp", {"init": "<script>"}, rows, "predict", notes={"remarks": ["x & y"]})
    shown = table._repr_html_()
    assert (
        "<script>" not in shown
        and "&lt;script&gt;" in shown
        and "a&lt;b" in shown
        and "x &amp; y" in shown
    )
    lines = str(table).splitlines()
    assert (
        shown.count("<tr>") == 1 + HEAD + TAIL + 1
        and next(line for line in lines if line.startswith("...")) in shown
    )
    assert all(f">{cell(row['value'])}<" in shown for row in rows[:HEAD] + rows[-TAIL:])
    assert "no rows" in Table("mlp", {}, [], "predict")._repr_html_()
    verdict = Table(
        "mlp",
        {},
        [
            {
                "quantity": "ntk",
                "value": 1.0,
                "verdict": "rejected",
                "deviation": 0.3,
                "tolerance": 0.1,
            }
        ],
        "verify",
        "rejected",
    )
    assert str(verdict).splitlines()[-1] in verdict._repr_html_()


def test_pandas_holds_every_row_or_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    table = Table(
        "mlp",
        {},
        [{"quantity": "ntk", "value": 1.0}, {"quantity": "ntk", "token": 1, "value": 2.0}],
        "predict",
    )
    if importlib.util.find_spec("pandas") is not None:
        frame = table.to_pandas()
        assert (
            list(frame.columns) == list(table.columns)
            and len(frame) == 2
            and frame["value"].sum() == 3.0
        )
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pandas is not installed"):
        table.to_pandas()


def test_a_page_holds_every_row_and_the_curves(tmp_path: Path):
    """One file that stands alone, well formed, the same from call to call; all rows, one a line of
    the table, marked by verdict; nothing that a browser would fetch or run."""
    table = sp.predict(sp.architectures.mlp(depth=40, tokens=2))
    path = tmp_path / "x.html"
    table.save(path)
    text = path.read_text()
    well_formed = text.removeprefix("<!DOCTYPE html>").replace('<meta charset="utf-8">', "")
    page = ElementTree.fromstring(well_formed.replace("<br>", "<br/>"))
    rows = page.findall(".//tbody/tr")
    assert len(rows) == len(table) > 80
    assert "<svg" in text and text == table.to_html()
    assert not re.search(r"<script|src=|@import", text)
    rejected = replace(table, rows=[{**table.rows[0], "verdict": "rejected"}])
    assert 'class="rejected"' in rejected.to_html() or "class='rejected'" in rejected.to_html()


def test_a_page_escapes_what_it_shows():
    """A name is text, never markup."""
    table = replace(sp.predict(sp.architectures.mlp(depth=1)), architecture="<b>&x")
    assert "<b>" not in table.to_html() and "&lt;b&gt;&amp;x" in table.to_html()
