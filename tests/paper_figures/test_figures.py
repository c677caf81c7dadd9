"""Figures: the verdict from the CSV alone and that it can fail, resuming, redrawing without
sampling, the same seed's same tables, bad input."""

from __future__ import annotations

import csv
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
    document = _make.make(small(), out, Run(quick=True, samples=768), ["png", "svg"])
    assert document["verdict"] == "confirmed", document["judgement"]
    return out


def shifted(path: Path, factor: float, keep: str = "") -> list[dict[str, Any]]:
    """A CSV's rows with the theory of the curves whose name contains ``keep`` multiplied."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        if keep in line["curve"]:
            line["theory"] = repr(float(line["theory"]) * factor)
    path.write_text(
        "\n".join([",".join(lines[0]), *(",".join(line.values()) for line in lines)]) + "\n"
    )
    return _store.read(path)


def test_the_verdict_comes_from_the_csv_alone_and_a_shift_of_three_percent_fails(
    made: Path, tmp_path: Path
):
    saved = made / "small-one.variance.csv"
    assert _judge.points({"variance": _store.read(saved)}).verdict == "confirmed"
    for factor in (0.97, 1.03):
        for own in ("scale 0.25", "scale 0.5"):
            copy = tmp_path / "small-one.variance.csv"
            copy.write_bytes(saved.read_bytes())
            assert _judge.points({"variance": shifted(copy, factor, own)}).verdict == "rejected", (
                factor,
                own,
            )


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
        _make, "make", lambda *_: (_ for _ in ()).throw(AssertionError("made again"))
    )
    assert run([*given, "--seed", "1"]) == 70  # another seed is another figure
    assert "AssertionError: made again" in capsys.readouterr().err


def test_half_a_table_is_made_again(made: Path, tmp_path: Path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    figure = small()
    assert _store.done(figure, tmp_path, True, 0)
    assert not _store.done(figure, tmp_path, False, 0) and not _store.done(
        figure, tmp_path, True, 1
    )
    table = tmp_path / "small-one.variance.csv"
    table.write_text(table.read_text()[:200])
    assert not _store.done(figure, tmp_path, True, 0)


def test_a_rejected_figure_fails_the_command(
    made: Path, tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    (tmp_path / "small-one.json").write_bytes((made / "small-one.json").read_bytes())
    (tmp_path / "small-one.variance.csv").write_bytes(
        (made / "small-one.variance.csv").read_bytes()
    )
    shifted(tmp_path / "small-one.variance.csv", 1.03)
    assert (
        run(
            [
                "figures",
                "small-one",
                "--replot",
                "--out",
                str(tmp_path),
                "--formats",
                "png",
                "--json",
            ]
        )
        == 1
    )
    assert json.loads(capsys.readouterr().out)["verdict"] == "rejected"


def test_replotting_an_edited_table_does_not_make_it_of_that_run(
    made: Path, tmp_path: Path, registered: dict[str, Figure]
):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shifted(tmp_path / "small-one.variance.csv", 1.03)
    assert (
        run(["figures", "small-one", "--replot", "--out", str(tmp_path), "--formats", "png"]) == 1
    )
    assert not _store.done(small(), tmp_path, True, 0)


def test_tables_that_no_run_finished_are_not_replotted(
    made: Path, tmp_path: Path, registered: dict[str, Figure], capsys: Any
):
    (tmp_path / "small-one.variance.csv").write_bytes(
        (made / "small-one.variance.csv").read_bytes()
    )
    assert run(["figures", "small-one", "--replot", "--out", str(tmp_path)]) == 2
    assert "has not all tables of small-one" in capsys.readouterr().err


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
