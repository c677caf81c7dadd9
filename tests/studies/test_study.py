"""A study from its description to its rows: the numbers of the command, kept, looked at, joined."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import sigprop as sp
from sigprop.errors import InputError
from sigprop.studies.plan.units import source
from sigprop.studies.points import mean, point
from sigprop.studies.store.store import Store
from sigprop.studies.study import Study

GRID = {"depth": [2, 3], "activation": ["relu", "tanh"]}
KEYS = ("quantity", "application", "token", "value", "error", "status")


def predicted(path: Path, **more: Any) -> Study:
    """A small study of predictions."""
    given: dict[str, Any] = {"options": {"quantities": ["residual_variance"]}, "grid": GRID}
    return Study("p", command="predict", architecture="mlp", store=path, **{**given, **more})


def measured(path: Path, samples: int = 6, **more: Any) -> Study:
    """A small study of networks."""
    options = {"quantities": ["residual_variance"], "applications": "last", "width": 16}
    given = {"options": {**options, "samples": samples}, "parameters": {"depth": 2}, "seeds": 2}
    return Study("m", command="measure", architecture="mlp", store=path, **{**given, **more})


def values(study: Study, **wanted: Any) -> list[dict[str, Any]]:
    """Its rows without where they come from."""
    return study.results(provenance=False, **wanted).to_dict()["rows"]


def test_rows_are_those_of_the_command(tmp_path: Path):
    study = predicted(tmp_path / "p.db")
    report = study.run()
    assert (report.done, report.failed, report.counts.total) == (4, 0, 4)
    rows = values(study)
    expected = [
        {"depth": depth, "activation": activation}
        | {key: row[key] for key in KEYS}
        for depth in GRID["depth"]
        for activation in GRID["activation"]
        for row in sp.predict(
            sp.architectures.mlp(depth=depth, activation=activation), ["residual_variance"]
        ).to_dict()["rows"]
    ]  # fmt: skip
    assert [{key: row[key] for key in expected[0]} for row in rows] == expected


def test_a_second_run_does_what_is_missing_and_every_row_says_where_it_comes_from(tmp_path: Path):
    study = predicted(tmp_path / "p.db")
    study.run()
    before = study.results().to_dict()["rows"]
    assert study.run().done == 0
    assert study.results().to_dict()["rows"] == before
    row = before[0]
    assert row["source"] == source() and len(row["unit"]) == 12 and row["seconds"] > 0
    assert "jax" in row["versions"] and "cpu" in row["machine"] and row["ended"].startswith("20")


def test_measurements_go_on_to_the_bit(tmp_path: Path):
    """More networks are added to those that are kept; the networks that were there are not drawn
    again, and the numbers are those of one run."""
    grown, whole = measured(tmp_path / "g.db", 6), measured(tmp_path / "w.db", 20)
    grown.run()
    assert {row["samples"] for row in values(grown)} == {6}
    more = grown.with_samples(20)
    assert more.run().done == 2
    whole.run()
    assert values(more) == values(whole)
    assert {row["samples"] for row in values(more)} == {20}
    assert more.with_samples(4).run().done == 0  # those that are kept are never too many


def test_theory_stands_beside_a_measurement(tmp_path: Path):
    study = measured(tmp_path / "m.db")
    study.run()
    arch = sp.architectures.mlp(depth=2)
    (theory,) = [row["value"] for row in sp.predict(arch, ["residual_variance"], [2])]
    assert [row["theory"] for row in values(study)] == [theory] * 2
    bare = Study("b", command="measure", architecture="mlp", store=tmp_path / "b.db",
                 parameters={"depth": 2}, options={"theory": False, "width": 8, "samples": 2,
                 "quantities": ["residual_variance"], "applications": [2]})  # fmt: skip
    bare.run()
    assert "theory" not in values(bare)[0]


def test_shards_join_to_the_whole(tmp_path: Path):
    whole, parts = predicted(tmp_path / "w.db"), predicted(tmp_path / "p.db")
    whole.run()
    done = [parts.run(shard=f"{k}/3").done for k in (1, 2, 3)]
    assert sum(done) == 4 and not parts.path.exists() and len(parts.shards()) == 3
    merged = parts.merge(*parts.shards())
    assert (merged.taken, merged.both) == (4, 0)
    assert values(parts) == values(whole)
    assert parts.merge(*parts.shards()).both == 4  # said, not done twice
    assert parts.run().done == 0
    with pytest.raises(InputError, match="shard 1/3; accepted: another store"):
        Study.load(parts.shards()[0]).run()


def test_the_larger_of_two_measurements_stays(tmp_path: Path):
    small, large = measured(tmp_path / "s.db", 4), measured(tmp_path / "l.db", 12)
    small.run()
    large.run()
    kept = values(large)
    assert small.merge(large.path).taken == 2 and values(small) == kept
    assert large.merge(small.path).both == 2 and values(large) == kept


def test_a_bad_cell_is_kept_with_its_line_and_stops_no_other(tmp_path: Path):
    grid = {"depth": [2, -1, 3]}
    study = predicted(tmp_path / "p.db", grid=grid)
    report = study.run()
    assert (report.done, report.failed) == (2, 1)
    status = study.status()
    assert [f.cell for f in status.failures] == ["depth=-1"]
    assert "depth=-1; accepted: an integer from 1" in status.failures[0].reason
    assert {row["depth"] for row in values(study)} == {2, 3}
    assert [row["status"] for row in study.units()] == ["done", "failed", "done"]
    assert study.run().counts.failed == 1 and study.run(retry=True).failed == 1


def test_a_study_that_changed_says_what(tmp_path: Path):
    predicted(tmp_path / "p.db").run()
    other = predicted(tmp_path / "p.db", grid={"depth": [2, 3]})
    with pytest.raises(InputError, match="grid.activation: .* became nothing; accepted: .*--new"):
        other.run()
    with pytest.raises(InputError, match="of the study 'p'; accepted: of 'm'"):
        measured(tmp_path / "p.db").run()
    with pytest.raises(InputError, match="is of another study"):
        predicted(tmp_path / "q.db").merge(_ran(measured(tmp_path / "m.db", 2)).path)
    aside = other.put_aside()
    assert aside == tmp_path / "p.1.db" and aside.exists()
    assert other.run().done == 2


def _ran(study: Study) -> Study:
    study.run()
    return study


def test_older_rows_are_marked_and_never_mixed_in(tmp_path: Path, monkeypatch: Any):
    study = predicted(tmp_path / "p.db", grid={"depth": [2]})
    with monkeypatch.context() as patch:
        patch.setattr("sigprop.studies.plan.units.source", lambda: "old")
        study.run()
    assert "other sources than these" in study.results().to_text()
    again = predicted(tmp_path / "p.db", grid={"depth": [2]})
    assert again.run().done == 1
    assert {row["source"] for row in again.results()} == {source()}
    assert "units of older sources are left out" in again.results().to_text()
    older = again.results(older=True)
    assert [row["older"] for row in older] == [True] * 3 + [False] * 3


def test_a_described_network_is_known_by_what_it_is(tmp_path: Path):
    """Its name is not enough: another network of that name is another unit."""

    def of(scale: float) -> Study:
        arch = sp.architectures.looped_mlp(depth=2, residual_scale=scale)
        return Study("own", command="predict", architecture=arch, store=tmp_path / f"{scale}.db")

    keys = [of(scale).plan.units[0].key for scale in (0.5, 0.5, 0.25)]
    assert keys[0] == keys[1] != keys[2]
    study = of(0.5)
    study.run()
    arch = sp.architectures.looped_mlp(depth=2, residual_scale=0.5)
    assert [r["value"] for r in study.results()] == [r["value"] for r in sp.predict(arch)]


def test_keys_hold_what_determines_the_numbers(tmp_path: Path):
    def key(**more: Any) -> str:
        return measured(tmp_path / "x.db", seeds=1, **more).plan.units[0].key

    options = {"quantities": ["residual_variance"], "applications": "last", "width": 16}
    assert key() == key(parameters={"depth": "2"}) == key(parameters={"depth": 2.0})
    assert key() == key(parameters={"depth": 2, "activation": "relu"})  # a default, said
    assert key() == key(options={**options, "samples": 99})  # which go on
    for other in ({"width": 17}, {"engine": "dense"}, {"dtype": "float64"}, {"memory_mib": 9}):
        assert key() != key(options={**options, **other}), other
    assert key() != key(parameters={"depth": 2, "c_b": 0.1})


def test_what_is_no_longer_asked_for_is_set_apart(tmp_path: Path):
    """A file that a parameter names has other content: rows of the older one are older rows."""
    gram, path = tmp_path / "gram.csv", tmp_path / "p.db"

    def study() -> Study:
        given = {"input_gram": str(gram), "tokens": 2}
        return predicted(path, parameters=given, grid={"depth": [1]})

    gram.write_text("1,0\n0,1\n")
    study().run()
    before = values(study())
    gram.write_text("2,0\n0,2\n")
    assert study().run().done == 1
    now = values(study())
    assert len(now) == len(before) and now[0]["value"] != before[0]["value"]
    assert [row["older"] for row in study().results(older=True)].count(True) == len(before)
    gram.write_text("1,0\n0,1\n")
    assert study().run().done == 0 and values(study()) == before


def test_described_networks_have_no_parameters_and_are_not_mistaken(tmp_path: Path):
    def of(depth: int, **more: Any) -> Study:
        arch = sp.architectures.mlp(depth=depth)
        return Study("own", command="predict", architecture=arch, store=tmp_path / "o.db", **more)

    for wrong in ({"grid": {"depth": [8]}}, {"parameters": {"widht": 3}}):
        with pytest.raises(InputError, match="an architecture as it stands"):
            of(2, **wrong).run()
    of(2).run()
    with pytest.raises(InputError, match="described.mlp: .* became"):
        of(3).run()
    with pytest.raises(InputError, match="'mlp' was described in Python"):
        Study.load(tmp_path / "o.db").run()
    assert len(values(Study.load(tmp_path / "o.db"))) == len(values(of(2)))
    for wrong in ({"a": "mlp"}, {1: sp.architectures.mlp()}, {}):
        with pytest.raises(InputError, match="architecture="):
            Study("x", command="predict", architecture=wrong)  # type: ignore[arg-type]


def test_an_option_that_rows_have_a_column_of_is_shown_beside_it(tmp_path: Path):
    study = predicted(
        tmp_path / "p.db", options={"quantities": ["rms"]}, grid={"error": [0.1, 0.2]},
        parameters={"depth": 1},
    )  # fmt: skip
    study.run()
    assert [row["options.error"] for row in values(study)] == [0.1] * 2 + [0.2] * 2
    assert all(row["error"] < 1e-10 for row in values(study))


def test_a_function_of_ones_own_is_known_by_what_it_does(tmp_path: Path):
    import jax.numpy as jnp

    def key(activation: sp.Activation) -> str:
        return predicted(tmp_path / "x.db", grid={"activation": [activation]}).plan.units[0].key

    with pytest.raises(InputError, match="of Activation; accepted: text"):
        key(sp.Activation("mine", lambda x: jnp.tanh(x)))
    from sigprop.studies.plan.units import _code

    one, other = (lambda x: x + 1), (lambda x: x + 2)
    assert _code(one) != _code(other) and _code(one) == _code(lambda x: x + 1)
    assert _code(sp.predict) == ""


def test_more_networks_are_seen_by_an_estimate(tmp_path: Path):
    study = _ran(measured(tmp_path / "m.db", 6))
    assert study.estimate().missing == 0
    more = study.with_samples(10**5).estimate()
    assert more.missing == 2 and more.seconds is not None and more.seconds > 1
    for jobs in (0, "2", True, 1.0):
        with pytest.raises(InputError, match="jobs="):
            study.estimate(jobs=jobs)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="jobs="):
            study.run(jobs=jobs)  # type: ignore[arg-type]


def test_a_quantity_without_theory_hides_no_other(tmp_path: Path):
    options = {"quantities": ["residual_variance", "gradient_exponent"], "width": 8}
    study = measured(
        tmp_path / "m.db", seeds=1, options={**options, "samples": 4}, parameters={"depth": 3}
    )
    study.run()
    rows = values(study, quantity="residual_variance")
    assert rows and all(row["theory"] is not None for row in rows)


def test_a_shard_that_was_put_aside_is_no_shard(tmp_path: Path):
    study = predicted(tmp_path / "p.db")
    study.run(shard="1/2")
    assert study.put_aside("1/2") == tmp_path / "p.shard-1-of-2.1.db"
    study.run(shard="1/2")
    assert [path.name for path in study.shards()] == ["p.shard-1-of-2.db"]


def test_results_of_some_cells(tmp_path: Path):
    study = _ran(predicted(tmp_path / "p.db"))
    assert {row["depth"] for row in values(study, depth=2)} == {2}
    assert len(values(study, depth=[2, 3], activation="tanh")) == 3 + 4
    assert [row["application"] for row in values(study, application="last")] == [2, 2, 3, 3]
    assert {row["application"] for row in values(study, application=1)} == {1}
    assert len(values(study, depth="2", token=0)) == 2 * 3 and not values(study, token=1)
    with pytest.raises(InputError, match="'dpeth' is not varied; did you mean 'depth'"):
        values(study, dpeth=2)
    with pytest.raises(InputError, match="depth=99; accepted: 2, 3"):
        values(study, depth=99)
    for application in ("2", "zzz", 1.0, True):
        with pytest.raises(InputError, match="application="):
            values(study, application=application)
    with pytest.raises(InputError, match="known: residual_variance"):
        values(study, quantity="ntk")


def test_ways_out(tmp_path: Path):
    study = _ran(predicted(tmp_path / "p.db"))
    table = study.results()
    assert study.export(tmp_path / "p.csv") == len(table) == 14
    with (tmp_path / "p.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [float(row["value"]) for row in found] == [row["value"] for row in table]
    assert study.export(tmp_path / "p.json") == 14
    document = json.loads((tmp_path / "p.json").read_text())
    assert document["study"]["grid"] == GRID and document["rows"] == table.to_dict()["rows"]
    assert study.view(tmp_path / "p.html").read_text().startswith("<!DOCTYPE html>")
    study.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000
    with pytest.raises(InputError, match="'loops' is not varied"):
        study.plot(x="loops")
    with pytest.raises(InputError, match="suffix '.xls' is not known; accepted: .*parquet"):
        study.export(tmp_path / "p.xls")


def test_parquet_and_frames(tmp_path: Path):
    study = _ran(predicted(tmp_path / "p.db"))
    rows = study.results().to_dict()["rows"]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert study.export(tmp_path / "p.parquet") == 14
    found = parquet.read_table(tmp_path / "p.parquet")
    assert found.to_pylist() == [{n: row.get(n) for n in found.column_names} for row in rows]
    polars = pytest.importorskip("polars")
    assert study.results().to_polars()["value"].to_list() == [row["value"] for row in rows]
    assert polars


def test_a_file_and_its_store(tmp_path: Path):
    (tmp_path / "s.toml").write_text(
        'command = "predict"\narchitecture = "mlp"\n[options]\nquantities = ["rms"]\n[grid]\n'
        'depth = "2..8 times 2"\n'
    )
    study = Study.load(tmp_path / "s.toml")
    assert study.path == tmp_path / "s.db" and str(study.estimate()).startswith("3 units in")
    study.run()
    again = Study.load(tmp_path / "s.db")
    assert again.plan.name == "s" and values(again) == values(study)
    with Store(study.path) as store:
        assert store.about()["study"]["grid"] == {"depth": "2..8 times 2"}


def test_an_estimate_names_what_will_fail(tmp_path: Path):
    study = measured(tmp_path / "m.db", options={"width": 16, "quantities": ["write_cosine"],
                     "applications": "last"})  # fmt: skip
    found = study.estimate(jobs=2)
    assert (found.units, found.missing) == (2, 2) and "no row" in found.refused[0]
    fine = measured(tmp_path / "f.db").estimate()
    assert fine.seconds is not None and fine.seconds > 0 and fine.bytes is not None


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/2/3", "a/b", "-1/3", "1/0"])
def test_shards_that_are_none(text: str, tmp_path: Path):
    with pytest.raises(InputError, match="shard="):
        predicted(tmp_path / "p.db").run(shard=text)


def test_points_of_every_command():
    assert point({"value": 2.0, "error": 0.1}) == (None, None, None, 2.0)
    found = point({"value": 2.0, "se": 1.0, "theory": 3.0})
    assert found.value == 2 and found.theory == 3
    assert found.upper == pytest.approx(3.645, abs=1e-3)
    verdict = {"measured": 2.1, "theory": 2.0, "scale": 2.0, "lower": -0.1, "upper": 0.2}
    assert point(verdict) == (2.1, 1.8, 2.4, 2.0)
    check = {"slope": -0.5, "lower": -0.25, "upper": 0.125, "reference": -0.5}
    assert point(check) == (-0.5, -0.75, -0.375, -0.5)
    assert mean([point(verdict), point(verdict | {"measured": 2.3})]).value == pytest.approx(2.2)
    assert mean([point(verdict), point({"value": None, "se": None})]).value is None
