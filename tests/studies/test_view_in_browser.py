"""The page to look at, in a browser: what is drawn is what the rows say. Opt-in (``-m long``);
needs playwright and a Chromium of the system."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from study_pages import ACTIVATIONS, DEPTHS, HARD, TOKENS, about, predicted, verified

from sigprop.studies.view.page import page
from sigprop.tables.table import Table

pytestmark = pytest.mark.long
CELLS = len(DEPTHS) * len(ACTIVATIONS)
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Open a study's page; no errors, no dialogs and no requests may have come of it at the end."""
    troubles: list[str] = []
    sheets: list[Any] = []

    def show(table: Table, width: int = 1280, **more: Any) -> Any:
        path = tmp_path / "study.html"
        path.write_text(page(table, about(**more)), encoding="utf-8")
        sheet = chromium.new_page(viewport={"width": width, "height": 900})
        sheet.on("console", lambda message: troubles.append(message.text))
        sheet.on("pageerror", lambda error: troubles.append(str(error)))
        sheet.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        sheet.on("request", lambda request: troubles.append(request.url))
        sheet.goto(path.as_uri())
        assert troubles == [path.as_uri()]
        troubles.clear()
        sheets.append(sheet)
        return sheet

    yield show
    for sheet in sheets:
        sheet.close()
    assert [trouble for trouble in troubles if not trouble.startswith("blob:")] == []


def drawn(sheet: Any) -> tuple[int, int]:
    """How many points and lines are drawn."""
    return sheet.locator("#figure .point").count(), sheet.locator("#figure .line").count()


def choose(sheet: Any, **choices: str) -> None:
    """Make choices above the plot, by their labels."""
    for name, wanted in choices.items():
        sheet.select_option(f"#choose-{name}", label=wanted)


def column(sheet: Any, name: str) -> list[str]:
    """A column's cells on this page of rows."""
    place = sheet.locator(f'#heads th[data-name="{name}"]').evaluate("node => node.cellIndex")
    return sheet.locator(f"#rows tr td:nth-child({place + 1})").all_inner_texts()


def sort(sheet: Any, name: str) -> None:
    sheet.click(f'#heads th[data-name="{name}"] button')


def narrow(sheet: Any, **texts: str) -> str:
    """Fill filter boxes; what the page says of the rows then."""
    for name, text in texts.items():
        sheet.fill(f'#boxes input[data-name="{name}"]', text)
    return sheet.inner_text("#count")


def test_points_and_lines_are_the_rows(opened: Open, tmp_path: Path):
    sheet = opened(verified())
    assert drawn(sheet) == (CELLS, len(ACTIVATIONS))  # last application, mean over tokens
    sheet.screenshot(path=tmp_path / "1280.png", full_page=True)
    choose(sheet, application="all", token="all")
    total = len(ACTIVATIONS) * TOKENS * sum(DEPTHS)
    assert drawn(sheet)[0] == total
    choose(sheet, application="3", token="1")
    assert drawn(sheet) == (len(ACTIVATIONS) * sum(d >= 3 for d in DEPTHS), len(ACTIVATIONS))
    choose(sheet, quantity="weight_gradient")
    assert drawn(sheet) == (CELLS, len(ACTIVATIONS))  # all groups together
    assert sheet.locator("#choose-group option:checked").inner_text() == "total"
    choose(sheet, group="all", **{"y-scale": "log"})
    assert drawn(sheet) == (3 * CELLS, 3 * len(ACTIVATIONS))
    choose(sheet, **{"x-axis": "activation", "curves": "depth"})
    assert drawn(sheet)[0] == 3 * CELLS
    choose(sheet, quantity="ntk")
    assert drawn(sheet) == (0, 0) and f"{CELLS} points" in sheet.inner_text("#plot-notes")


def test_applications_stand_along_the_axis(opened: Open):
    sheet = opened(verified())
    choose(sheet, **{"x-axis": "application"}, curves="depth", token="0")
    assert drawn(sheet) == (len(ACTIVATIONS) * sum(DEPTHS), CELLS)
    choose(sheet, quantity="state_cosine", **{"x-axis": "application_2"})
    assert drawn(sheet) == (len(ACTIVATIONS) * sum(DEPTHS), CELLS)
    choose(sheet, **{"x-axis": "depth"}, curves="activation")
    assert drawn(sheet) == (CELLS, len(ACTIVATIONS))


def heights(sheet: Any) -> tuple[list[float], Callable[[float], float]]:
    """The points' places from the top, and the place of a number by the axis's own marks."""
    places = "nodes => nodes.map(n => Number(/translate\\(\\S+ (\\S+)\\)/.exec(n.outerHTML)[1]))"
    found = sheet.locator("#figure .point").evaluate_all(places)
    marks = sheet.locator('#figure .axes text[text-anchor="end"]').evaluate_all(
        "nodes => nodes.map(n => [Number(n.textContent), Number(n.getAttribute('y')) - 4])"
    )
    (low, bottom), (high, top) = marks[0], marks[-1]
    return found, lambda value: bottom + (value - low) / (high - low) * (top - bottom)


def test_points_lie_where_the_axis_says(opened: Open):
    table = verified()
    sheet = opened(table)
    choose(sheet, application="2", token="0")
    choose(sheet, **{"y-scale": "linear"})
    rows = table.filter(quantity="residual_variance", application=2, token=0)
    found, place = heights(sheet)
    assert found == pytest.approx([place(row["measured"]) for row in rows], abs=0.1)
    choose(sheet, value="deviation")
    found, place = heights(sheet)
    assert found == pytest.approx([place(row["deviation"]) for row in rows], abs=0.1)
    assert sheet.locator("#figure .levels path").count() == 3  # 0 and the tolerance


def test_theory_alone_is_a_line(opened: Open):
    sheet = opened(predicted())
    assert drawn(sheet) == (len(DEPTHS), 1)
    assert sheet.locator("#figure .bars path").count() == 0
    assert "theory" in sheet.text_content("#figure .legend")


def test_seeds_are_averaged_as_independent(opened: Open):
    rows = [
        {"depth": depth, "seed": seed, "quantity": "ntk", "value": depth + seed, "se": 1.0}
        for depth in (1, 2, 3)
        for seed in range(4)
    ]
    sheet = opened(Table("mlp", {}, rows, "measure"), varied=["depth", "seed"])
    assert drawn(sheet) == (12, 4)
    choose(sheet, seed="mean")
    assert drawn(sheet) == (3, 1)
    sheet.locator("#figure .point").first.hover()
    half = 1.645 / 2
    assert f"{2.5 - half:.4g} .. {2.5 + half:.4g}" in sheet.inner_text("#tip")


def test_rejected_points_have_a_ring(opened: Open):
    table = verified()
    sheet = opened(table)
    choose(sheet, application="all", token="all")
    rejected = table.filter(quantity="residual_variance", verdict="rejected")
    assert sheet.locator("#figure .ring").count() == len(rejected) > 0


def test_a_point_says_its_row(opened: Open, tmp_path: Path):
    sheet = opened(verified())
    choose(sheet, application="2", token="0")
    sheet.locator("#figure .point").nth(3).hover()
    said = sheet.inner_text("#tip")
    assert "residual_variance" in said and "verdict" in said and "90 % interval" in said
    sheet.screenshot(path=tmp_path / "tip.png", full_page=True)
    sheet.mouse.move(0, 0)
    assert not sheet.is_visible("#tip")
    sheet.focus("#figure svg")
    sheet.keyboard.press("ArrowRight")
    assert sheet.is_visible("#tip")
    sheet.keyboard.press("Escape")
    assert not sheet.is_visible("#tip")


def test_rows_are_sorted_and_filtered(opened: Open):
    table = verified()
    sheet = opened(table)
    assert sheet.inner_text("#count") == f"{len(table)} rows"
    sort(sheet, "measured")
    found = [float(text) for text in column(sheet, "measured")]
    values = sorted(row["measured"] for row in table if row["measured"] is not None)
    assert found == pytest.approx(values[:50], rel=1e-5)
    sort(sheet, "measured")
    assert float(column(sheet, "measured")[0]) == pytest.approx(values[-1], rel=1e-5)
    assert sheet.get_attribute('#heads th[data-name="measured"]', "aria-sort") == "descending"
    while sheet.is_enabled("#next"):
        sheet.click("#next")
    assert column(sheet, "measured")[-1] == ""
    deep = len(table.filter(depth=[8, 16], activation="relu", quantity="state_cosine"))
    assert narrow(sheet, depth=">4", activation="REL", quantity="=state_cosine").startswith(
        f"{deep} of"
    )
    assert narrow(sheet, depth="4..8").startswith(f"{4 + 8} of")
    assert narrow(sheet, depth=">x").startswith(f"{4 + 8 + 2 + 16} of")
    assert sheet.get_attribute('#boxes input[data-name="depth"]', "aria-invalid") == "true"
    sheet.check("#filtered-only")
    choose(sheet, quantity="state_cosine")
    assert drawn(sheet) == (len(DEPTHS), 1)
    sheet.click("#clear")
    assert sheet.inner_text("#count") == f"{len(table)} rows" and drawn(sheet)[0] == CELLS


def saved(sheet: Any, button: str) -> str:
    """What the page saves."""
    with sheet.expect_download() as waiting:
        sheet.click(button)
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_what_is_saved_is_what_is_shown(opened: Open):
    table = verified()
    sheet = opened(table)
    narrow(sheet, quantity="ntk", depth="=16")
    rows = list(csv.DictReader(io.StringIO(saved(sheet, "#save-csv"), newline="")))
    assert [(row["depth"], row["note"]) for row in rows] == [("16", HARD)] * len(ACTIVATIONS)
    figure = ET.fromstring(saved(sheet, "#save-svg"))
    assert figure.tag == "{http://www.w3.org/2000/svg}svg"
    assert len([e for e in figure.iter() if e.get("class") == "point"]) == CELLS


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_no_wider_than_the_screen(opened: Open, tmp_path: Path, width: int):
    sheet = opened(verified(), width, parameters={"residual": "x" * 200, "words": 3})
    sheet.check("#constant")
    assert sheet.evaluate("document.documentElement.scrollWidth") <= width
    sheet.screenshot(path=tmp_path / f"{width}.png", full_page=True)


def test_fifty_thousand_rows_stay_usable(opened: Open):
    rows = [
        {"depth": k % 50, "seed": k // 50, "quantity": "ntk", "value": (k * 37 % 1009) / 7, "se": 1}
        for k in range(50_000)
    ]
    sheet = opened(Table("mlp", {}, rows, "measure"), varied=["depth", "seed"])
    assert "first 5000 of 50000 points" in sheet.inner_text("#plot-notes")
    took = sheet.evaluate(
        """() => {
          const start = performance.now();
          document.querySelector('#heads th[data-name="value"] button').click();
          const box = document.querySelector('#boxes input[data-name="depth"]');
          box.value = "<10";
          box.dispatchEvent(new Event("input"));
          return performance.now() - start;
        }"""
    )
    assert sheet.inner_text("#count") == "10,000 of 50,000 rows pass the filters" and took < 3000
    assert re.fullmatch(r"Page 1 of 200", sheet.inner_text("#page-number"))


def test_no_rows_no_trouble(opened: Open):
    sheet = opened(Table("mlp", {}, [], "predict"))
    assert "no rows" in sheet.inner_text("main")
