"""At 80 columns, and at others, every output shows all its columns or says which it does not, and
no line is longer; a layout that loses a column fails the same check (the companion)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sigprop.cli import run
from sigprop.cli.side_by_side import summary_lines
from sigprop.prescriptions.prescription import Prescription
from sigprop.tables import layout
from sigprop.tables.cells import cell
from sigprop.tables.document import KEYS
from sigprop.tables.formulas import broken
from sigprop.tables.table import Table
from sigprop.theory.derivations.derive import Derivation

NETWORK = "looped-mlp --set depth=1 --set loops=2 --set matrices=1"
FEW = "--width 16 --samples 8 --seed 4"
SIZES = "--base width=256,depth=8 --target width=4096,depth=64"
COMMANDS = {
    "predict": f"predict {NETWORK}",
    "predict tokens": f"predict {NETWORK} --set tokens=2",
    "measure": f"measure {NETWORK} {FEW}",
    "verify": f"verify {NETWORK} {FEW} --quick",
    "exponents": f"exponents {NETWORK} --sizes 2,3,4 --variable depth",
    "symbols": "exponents transformer --symbols",
    "limits": "exponents mlp --sizes 2,4,8",
    "tokens": "exponents transformer --set score_scale=zero_query --variable tokens --symbols",
    "critical": "critical looped-transformer --per-class --criterion variance,adam",
    "prescribe": f"prescribe transformer {SIZES}",
    "prescribe values": f"prescribe transformer {SIZES} --learning-rate 1e-3 --optimizer adam",
    "costs": "costs variable-width",
    "check": f"check {NETWORK} --variable loops --steps 1 --samples 4 --width 16",
    "derive": f"derive {NETWORK}",
    "derive tokens": "derive transformer",
    "derive closed": "derive mlp",
    "derive finite width": "derive mlp --set activation=gelu --finite-width",
}
WRITTEN = {"group": "groups", "value": "target", "criterion": "why (criterion)"}
"""A prescription's columns under the names that its text gives them."""


def answered(words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command prints, before it is text."""
    found: list[Any] = []
    for name in ("output", "prescribe", "commands"):
        monkeypatch.setattr(f"sigprop.cli.{name}.answer", found.append)
    assert run(words.split()) in (0, 1, 3)
    return found[-1]


def named(text: str) -> list[str]:
    """The lines in which columns are named: headers, and what is said of columns below."""
    lines = text.splitlines()
    heads = [a for a, b in zip(lines, lines[1:], strict=False) if re.fullmatch("-[- ]*", b)]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return heads + [
        part for part in paragraphs if part.startswith(("columns", "all rows: ", "why (criterion)"))
    ]


def lost(table: Table, text: str) -> list[str]:
    """Columns that the text neither shows nor names."""
    names = {name: name for name in table.columns}
    if isinstance(table, Prescription):
        names |= {
            name: written
            for name, written in WRITTEN.items()
            if re.search(rf"\b{re.escape(written)}", text)
        }
    where = "\n".join(named(text))
    return [
        name
        for name, written in names.items()
        if not re.search(rf"(?<!\w){re.escape(written)}(?!\w)", where)
    ]


def too_long(text: str, width: int) -> list[str]:
    """Lines beyond the width that could have been broken."""
    return [line for line in text.splitlines() if len(line) > width and " " in line.strip()]


@pytest.mark.parametrize("kind", COMMANDS)
def test_no_column_is_lost(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``str`` follows COLUMNS; at other widths, and without one, the same holds of ``to_text``."""
    monkeypatch.setenv("COLUMNS", "80")
    found = answered(COMMANDS[kind], monkeypatch)
    assert str(found) == found.to_text(80)
    for width in (72, 80, 100, 140, None):
        text = found.to_text(width)
        assert not too_long(text, width or len(text))
        if isinstance(found, Derivation):
            squeezed = re.sub(r"\s", "", text)
            for e in (*found.equations, *found.closed_form):
                formula = f"{e.name}{e.equation.lhs}={e.equation.rhs}"
                assert re.sub(r"\s", "", formula) in squeezed
            continue
        assert not lost(found, text)
        if not isinstance(found, Prescription):
            assert not lost(found, html_lines(found))
    if isinstance(found, Table):
        one_number_each(found)


def html_lines(table: Table) -> str:
    """A notebook's page as text: the header's cells in one line above a rule, then paragraphs."""
    page = table._repr_html_()
    head = " ".join(re.findall("<th>(.*?)</th>", page))
    return "\n\n".join([f"{head}\n---", *re.findall("<p>(.*?)</p>", page)])


def one_number_each(table: Table) -> None:
    """Every value of the shown rows stands in the text, to 6 digits or a hundredth of its error."""
    text = table.to_text(80)
    rows = table.rows if "rows left out" not in text else table.rows[:24]
    for row in rows:
        value = row.get("value")
        if isinstance(value, float):
            assert any(cell(value, digits) in text for digits in (6, 5, 4, 3))


def test_a_lost_column_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The companion: a layout that drops a column, and one that does not break lines."""
    monkeypatch.setenv("COLUMNS", "80")
    table = wide()
    assert not lost(table, str(table)) and not too_long(str(table), 80)
    assert not lost(table, html_lines(table))
    assert lost(table, html_lines(table).replace("number_7", "")) == ["number_7"]
    everything = layout.blocks
    monkeypatch.setattr(layout, "blocks", lambda *given: everything(*given)[:1])
    assert set(lost(table, str(table))) >= {"number_6", "number_7"}
    monkeypatch.setattr(layout, "blocks", lambda columns, _: everything(columns, None))
    assert too_long(str(table), 80)


def wide() -> Table:
    rows = [
        {"quantity": f"name {k}", "application": k, "token": 0, "token_2": 1}
        | {f"number_{j}": 1.2345678 * 10 ** (-j) * k for j in range(8)}
        | {"why": "words that go on for longer than a line has room for " * 2, "se": 0.5}
        for k in range(1, 4)
    ]
    return Table("mlp", {"input_gram": [[1.0] * 9] * 9}, rows, "predict")


def test_without_a_terminal_lines_have_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and pipes get one line a row, whatever the terminal beside them."""
    table = wide()
    monkeypatch.setattr(layout, "terminal_width", lambda: None)
    assert all(f"name {k}" in table.to_text() for k in (1, 2, 3))
    assert len(table.to_text().splitlines()) < len(table.to_text(80).splitlines())
    assert "input_gram=[9 x 9 values]" in table.to_text()


def test_words_go_on_in_the_next_line() -> None:
    """All keys stand in every block; a cell's words are all there, in order."""
    text = wide().to_text(80)
    heads = [line for line in named(text) if line.startswith("quantity")]
    assert len(heads) > 1 and all("  a  " in line and "t, s" in line for line in heads)
    assert set(KEYS) >= {"application", "token_2"} and "t = token, s = token_2" in text
    assert "all rows: why=words that go on" in text  # what all rows share is said once


def test_errors_keep_their_meaning() -> None:
    """A value beside its error has a hundredth of it; without an error, 6 digits."""
    rows = [
        {"quantity": "a", "token": 0, "token_2": k, "value": value, "se": error, "long": "x" * 50}
        for k, (value, error) in enumerate(
            [(1.2345678, 0.01), (1.2345678, 1e-9), (-0.00012345678, 0.3), (2.0, None), (0.0, 0.1)]
        )
    ]
    text = Table("mlp", {}, rows, "measure").to_text(80)
    for shown in ("1.2346 +- 0.01", "1.23457 +- 1e-09", "-0.000123 +- 0.3", "  2\n", "0 +- 0.1"):
        assert shown in text + "\n"


def test_formulas_break_where_few_brackets_are_open() -> None:
    """Nothing but spaces changes, and no power is torn apart."""
    formula = "f(a, b) = " + " + ".join(f"c_{k}**2*(x_{k} + y_{k}*(1 - z_{k}))" for k in range(9))
    lines = broken(formula, 60)
    assert len(lines) > 3 and all(len(line) <= 60 for line in lines)
    assert "".join("".join(lines).split()) == "".join(formula.split())
    assert all(line.lstrip().startswith("+ c_") for line in lines[1:])
    assert broken("x" * 90, 60) == ["x" * 90]


def test_cases_side_by_side_have_lines_of_their_own() -> None:
    line = (
        "a case of a long name        confirmed       1.0 s  detects 0.5 %  worst ntk[token=0]: 1"
    )
    assert summary_lines(line, None) == [line]
    assert summary_lines(line, 80)[-1] == "    worst ntk[token=0]: 1"


def test_lists_fit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["list"]) == 0
    assert not too_long(capfd.readouterr().out, 80)
