"""Figures: the verdict from the kept rows alone and that it can fail, resuming, redrawing without
sampling, the same seed's same tables, what is written out, bad input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

import sigprop as sp
from sigprop import paper_figures
from sigprop.cli import run
from sigprop.paper_figures import Figure, _judge, _make, _registry, _store
from sigprop.paper_figures._draw import curve, legend_of_points
from sigprop.paper_figures._run import Run

WIDTHS = (64, 512)
ENOUGH = Run(quick=True, samples=768)


def tables(run: Run) -> dict[str, sp.Table]:
    """Two curves of a small stack."""
    rows = []
    for scale in (0.25, 0.5):
        stack = sp.architectures.looped_mlp(loops=4, residual_scale=scale)
        rows += run.points(
            stack, "residual_variance", (0, 2, 4), widths=WIDTHS, curve=f"scale {scale}"
        )
    return {"variance": run.table("small", rows, {"loops": 4})}


def draw(figure: Any, tables: Any) -> None:
    axes = figure.subplots()
    curve(axes, tables["variance"][:6], "application", 0, "variance")
    axes.set(xlabel="application $a$", ylabel="variance")
    legend_of_points(figure, tables["variance"])


def small(name: str = "small-one", **changes: Any) -> Figure:
    """A figure of the tests."""
    about = {
        "paper": "none",
        "item": "none",
        "shows": "a test",
        "caption": "{samples} networks of width {widths}, {engines} engine.",
    }
    own = {"tables": tables, "draw": draw, "seconds": 1.0, "sources": (Path(__file__),)} | changes
    return Small(name=name, **about, **own)


class Small(Figure):
    @property
    def files(self) -> tuple[Path, ...]:
        return self.sources


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    found = {name: small(name) for name in ("small-one", "small-two")}
    monkeypatch.setattr(_registry, "figures", lambda: found)
    monkeypatch.setattr(paper_figures, "figures", lambda: found)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one figure, of enough networks to confirm."""
    out = tmp_path_factory.mktemp("figures")
    document = _make.make(small(), out, ENOUGH, ["png", "svg"])
    assert document["verdict"] == "confirmed", document["judgement"]
    return out


def shifted(rows: list[dict[str, Any]], factor: float, keep: str = "") -> list[dict[str, Any]]:
    """Rows with the theory of the curves whose name contains ``keep`` multiplied."""
    return [
        row | {"theory": factor * row["theory"]} if keep in row["curve"] else row for row in rows
    ]


def copied(made: Path, out: Path) -> Path:
    """A folder's files in another."""
    for file in made.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def test_the_verdict_comes_from_the_rows_alone_and_a_shift_of_three_percent_fails(made: Path):
    rows = _store.load(made, small()).rows["variance"]
    assert _judge.points({"variance": rows}).verdict == "confirmed"
    for factor in (0.97, 1.03):
        for own in ("scale 0.25", "scale 0.5"):
            moved = {"variance": shifted(rows, factor, own)}
            assert _judge.points(moved).verdict == "rejected", (factor, own)


def test_rows_come_back_as_they_were(tmp_path: Path):
    """Every float to the bit, integers as integers, text as text whatever it looks like and
    whatever its column is called; what a row has not is None, in the table's columns' order."""
    rows: list[dict[str, Any]] = [
        {"curve": "1e3", "size": 3, "theory": 1 / 3, "measured": 1.0, "note": "0.5"},
        {"size": 2**60, "curve": "7", "theory": -5e-324, "measured": math.nan, "panel": ""},
    ]

    def given(run: Run) -> dict[str, sp.Table]:
        return {"first": run.table("t", rows, {"sizes": (1, 2)}), "none": run.table("t", [])}

    figure = small(tables=given)
    _store.keep(tmp_path, _make.sampled(figure, Run()))
    shown = _store.load(tmp_path, figure, _store.asked(figure, Run()).key)
    assert shown.tables["none"].rows == []
    assert shown.tables["first"].parameters == {"sizes": [1, 2]}
    back = shown.rows["first"]
    columns = ["curve", "size", "theory", "measured", "note", "panel"]
    assert [list(row) for row in back] == [columns] * 2
    for row, was in zip(back, rows, strict=True):
        expected = {name: was.get(name) for name in columns}
        if was["measured"] != was["measured"]:
            expected["measured"] = None  # JSON has no other word for it
        assert [(type(row[k]), repr(row[k])) for k in columns] == [
            (type(v), repr(v)) for v in expected.values()
        ]


def test_replot_draws_the_same_picture_without_sampling(
    made: Path, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Figure]
):
    before = {kind: (made / f"small-one.{kind}").read_bytes() for kind in ("png", "svg", "json")}
    for name in ("measure", "predict"):
        monkeypatch.setattr(sp, name, None, raising=False)
    registered["small-one"] = small(tables=None)
    assert (
        run(["figures", "small-one", "--replot", "--out", str(made), "--formats", "png,svg"]) == 0
    )
    assert before == {kind: (made / f"small-one.{kind}").read_bytes() for kind in before}


def test_same_seed_same_tables_another_seed_others():
    one, same, other = (tables(Run(samples=8, seed=seed))["variance"] for seed in (3, 3, 4))
    assert [row["measured"] for row in one] == pytest.approx(
        [row["measured"] for row in same], rel=1e-6
    )
    assert [row["measured"] for row in one] != pytest.approx(
        [row["measured"] for row in other], rel=1e-6
    )


def test_an_interrupted_run_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registered: dict[str, Figure], capsys: Any
):
    def stopped(run: Run) -> Any:
        raise KeyboardInterrupt

    def few(run):
        return tables(dataclasses.replace(run, samples=8))

    registered["small-one"] = small("small-one", tables=few)
    registered["small-two"] = small("small-two", tables=stopped)
    given = ["figures", "--quick", "--jobs", "1", "--out", str(tmp_path), "--formats", "png"]
    assert run(given) == 130
    assert (tmp_path / "small-one.json").exists() and not (tmp_path / "small-two.json").exists()
    assert "keeps what is done" in capsys.readouterr().err
    registered["small-one"], registered["small-two"] = (
        small("small-one", tables=stopped),
        small("small-two", tables=few),
    )
    assert run(given) == 3  # eight networks confirm nothing
    said = capsys.readouterr().out.splitlines()
    assert (
        "1 to make" in said[0]
        and "kept" in said[1]
        and any("small-two" in line and "made" in line for line in said)
    )
    assert str(tmp_path) in said[-1]
    registered["small-one"] = small("small-one", tables=few)
    monkeypatch.setattr(
        _make, "sampled", lambda *_: (_ for _ in ()).throw(AssertionError("made again"))
    )
    assert run([*given, "--seed", "1"]) == 70  # another seed is another figure
    assert "AssertionError: made again" in capsys.readouterr().err


def test_another_run_or_another_recipe_is_made(made: Path, tmp_path: Path):
    figure = small()
    assert _store.done(figure, made, ENOUGH)
    for other in ({"quick": False}, {"seed": 1}, {"samples": 8}):
        assert not _store.done(figure, made, dataclasses.replace(ENOUGH, **other))
    (tmp_path / "recipe").write_text("changed")
    assert not _store.done(small(sources=(tmp_path / "recipe",)), made, ENOUGH)
    assert not _store.done(figure, tmp_path, ENOUGH)


def test_a_rejected_figure_fails_the_command(
    made: Path, tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    rows = _store.load(made, small()).rows["variance"]

    def moved(run: Run) -> dict[str, sp.Table]:
        return {"variance": run.table("small", shifted(rows, 1.03))}

    _make.make(small(tables=moved), tmp_path, ENOUGH, ["png"])
    given = ["figures", "small-one", "--replot", "--out", str(tmp_path), "--formats", "png"]
    assert run([*given, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "rejected"


def test_files_are_written_again_from_the_store(
    made: Path, tmp_path: Path, registered: dict[str, Figure]
):
    """An edited or lost file is what the store has again; no number of it is believed."""
    table, about = "small-one.variance.csv", "small-one.json"
    (copied(made, tmp_path) / table).write_text("curve,theory\nscale 0.25,2.0\n")
    (tmp_path / about).unlink()
    given = ["figures", "small-one", "--replot", "--out", str(tmp_path), "--formats", "png,svg"]
    assert run(given) == 0
    for name in (table, about, "small-one.svg"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_what_was_shown_last_is_replotted(tmp_path: Path, registered: dict[str, Figure]):
    """The store keeps several runs of a figure; each is there still when it is asked for."""
    seeds = [Run(quick=True, samples=8, seed=seed) for seed in (3, 4)]
    first, second = (_make.make(small(), tmp_path, each, ["png"]) for each in seeds)
    assert (first["seed"], second["seed"]) == (3, 4) and first["unit"] != second["unit"]
    assert _make.again(small(), tmp_path, ["png"]) == second
    key = _store.asked(small(), seeds[0]).key
    assert _make.again(small(), tmp_path, ["png"], key) == first
    assert _make.again(small(), tmp_path, ["png"]) == first


def test_of_two_runs_of_one_figure_both_show_the_first(tmp_path: Path):
    """As two processes on one folder: what is kept stays, whoever writes it out."""
    made = _make.sampled(small(), Run(quick=True, samples=8))
    again = made._replace(outcome=made.outcome._replace(seconds=made.outcome.seconds + 1))
    documents = [_make.kept(small(), tmp_path, each, ["png"]) for each in (made, again)]
    assert documents[0] == documents[1] and documents[0]["seconds"] == made.outcome.seconds


def test_an_older_folder_without_a_store_is_not_replotted(
    made: Path, tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    for file in made.iterdir():
        if ".db" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert run(["figures", "small-one", "--replot", "--out", str(tmp_path)]) == 2
    assert "has not all tables of small-one" in capsys.readouterr().err
    assert not _store.done(small(), tmp_path, ENOUGH)


def test_a_store_of_something_else_is_said_in_a_line(
    tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    (tmp_path / "figures.db").write_bytes(b"something else")
    for more in ([], ["--replot"]):
        assert run(["figures", "small-one", "--out", str(tmp_path), *more]) == 2
        said = capsys.readouterr().err
        assert "figures.db" in said and "accepted:" in said and len(said.splitlines()) == 1


def test_a_figure_that_fails_keeps_no_other_from_being_made(
    tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    def broken(run: Run) -> Any:
        raise ArithmeticError("a mistake of ours")

    registered["small-one"] = small("small-one", tables=broken)
    registered["small-two"] = small(
        "small-two", tables=lambda run: tables(dataclasses.replace(run, samples=8))
    )
    assert (
        run(["figures", "--quick", "--jobs", "1", "--out", str(tmp_path), "--formats", "png"]) == 70
    )
    assert (tmp_path / "small-two.json").exists()
    assert "small-one: failed, ArithmeticError: a mistake of ours" in capsys.readouterr().err


def test_points_are_of_the_same_rows_as_their_theory():
    rows = Run(samples=4).points(
        sp.architectures.looped_mlp(loops=2), "residual_variance", (0, 1, 2), widths=WIDTHS
    )
    assert [row["application"] for row in rows] == [0, 1, 2] * 2 and [
        row["width"] for row in rows
    ] == [64] * 3 + [512] * 3
    assert all(math.isfinite(row["measured"]) and row["theory"] > 0 for row in rows)
