"""The page to look at, as text: it holds what it is given and asks for nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from study_pages import HARD, about, predicted, verified

from sigprop.studies.view import embedding
from sigprop.studies.view.page import page
from sigprop.tables.table import Table

VOID = {"meta", "input", "br", "link", "img"}


class Reader(HTMLParser):
    """Hold a page's elements: what each contains as text, and which were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, str] = {}
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.texts[tag] = self.texts.get(tag, "") + data
        if tag == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


def data_of(text: str) -> dict[str, Any]:
    """The embedded JSON."""
    (data,) = [t for attributes, t in Reader(text).scripts if attributes.get("id") == "data"]
    return json.loads(data)


def rows_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The embedded rows, unpacked as the page's script does."""
    unpacked = {
        column["name"]: [column["distinct"][code] for code in column["codes"]]
        if "codes" in column
        else column["values"]
        for column in data["columns"]
    }
    return [{name: cells[k] for name, cells in unpacked.items()} for k in range(data["rows"])]


@pytest.mark.parametrize("table", [verified(), predicted()], ids=["verify", "predict"])
def test_the_page_holds_the_rows(table: Table):
    varied = [name for name in about()["varied"] if name in table.columns]
    data = data_of(page(table, about()))
    assert rows_of(data) == [{name: row.get(name) for name in table.columns} for row in table]
    names = [column["name"] for column in data["columns"]]
    assert names[: len(varied)] == varied == data["varied"] and len(names) == len(table.columns)


def test_any_value_comes_through_as_itself():
    values = [HARD, "", None, True, 1, 1.0, "1", -0.5, 1e-300, 0.1 + 0.2, [1, None, "<"], "null"]
    table = Table(HARD, {}, [{HARD: value, "quantity": HARD} for value in values], HARD)
    hard = about(name=HARD, command=HARD, architecture=HARD, parameters={HARD: HARD}, varied=[HARD])
    text = page(table, hard)
    found = [row[HARD] for row in rows_of(data_of(text))]
    assert found == values and list(map(type, found)) == list(map(type, values))
    assert text.isascii() and text.lower().count("</script>") == 2
    assert len(Reader(text).scripts) == 2


def test_integers_beyond_a_browsers_keep_their_digits():
    rows = [{"quantity": "ntk", "value": 2**53, "seed": 2**63 - 1}]
    assert rows_of(data_of(page(Table("mlp", {}, rows, "measure"), {}))) == [
        {"quantity": "ntk", "value": 2**53, "seed": "9223372036854775807"}
    ]


def test_what_is_no_number_is_none():
    rows = [{"quantity": "ntk", "value": value} for value in (float("nan"), float("inf"), 1.0)]
    found = rows_of(data_of(page(Table("mlp", {}, rows, "predict"), {})))
    assert [row["value"] for row in found] == [None, None, 1.0]


def test_the_page_is_one_well_formed_file():
    reader = Reader(page(verified(), about()))
    assert reader.open == [] and reader.texts["title"] == "Looped MLP over depth"
    labelled = {value for tag, name, value in reader.attributes if name == "id"}
    assert {"plot", "table", "controls", "figure", "rows", "data"} <= labelled


def test_the_page_asks_for_nothing():
    text = page(verified(), about())
    assert set(re.findall(r"\w+://[^\s\"'<]*", text)) == {"http://www.w3.org/2000/svg"}
    asks = {"src", "href", "action", "srcset", "style"}
    assert not any(name in asks or name.startswith("on") for _, name, _ in Reader(text).attributes)
    policy = next(v for tag, name, v in Reader(text).attributes if name == "content" and v)
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    script = re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert script is not None


def test_nothing_is_put_into_the_page_as_markup():
    script = next(
        t for attributes, t in Reader(page(verified(), about())).scripts if not attributes
    )
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script


def test_the_same_study_gives_the_same_page():
    assert page(verified(), about()) == page(verified(), about())


def test_the_head_says_what_the_study_is():
    said = " ".join(Reader(page(verified(), about())).texts.values())
    for words in ("7 done", "1 failed", "2 waiting", "1/sqrt(L)", "2, 4, 8, 16", "relu, tanh"):
        assert words in said
    assert "1 unit failed" in said and "Seeds are independent." in said and "study.toml" in said
    assert "alert(" in said and "<script>alert" not in page(verified(), about())


def test_a_study_without_rows_says_so():
    text = page(Table("mlp", {}, [], "predict"), about())
    assert "no rows" in Reader(text).texts["p"] and "2 of its units wait" in text
    assert [t for _, t in Reader(text).scripts] == [] or not Reader(text).scripts[0][1].strip()


def test_little_is_known_and_still_there_is_a_page():
    assert Reader(page(predicted(), {})).texts["h1"] == "study"


def test_long_rows_are_shortened_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch):
    rows = [{"depth": k, "quantity": "ntk", "value": 1 / (k + 3)} for k in range(400)]
    table = Table("mlp", {}, rows, "predict")
    whole = len(embedding.embedded(table, {})[0])
    monkeypatch.setattr(embedding, "LIMIT", whole - 1)
    text = page(table, {})
    assert len(rows_of(data_of(text))) == 400 and "rounded to 7 digits" in text
    assert rows_of(data_of(text))[4]["value"] == 0.1428571
    monkeypatch.setattr(embedding, "LIMIT", whole // 4)
    text = page(table, {})
    shown = data_of(text)["rows"]
    assert 50 < shown < 400 and f"The last {400 - shown} of 400 rows are left out" in text
