"""Cells: what a study file multiplies out to, and what it is refused for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.architectures import entry
from sigprop.errors import InputError
from sigprop.studies.plan.cells import Cell, cells
from sigprop.studies.plan.commands import command
from sigprop.studies.plan.document import checked


def found(name: str = "predict", **sections: Any) -> list[Cell]:
    document = {"name": "s", "command": name, "architecture": "looped-mlp", **sections}
    return cells(checked(document), command(name), {})


def refused(match: str, name: str = "predict", **sections: Any) -> None:
    with pytest.raises(InputError, match=match) as error:
        found(name, **sections)
    assert (
        "\n" not in str(error.value)
        and "accepted" in str(error.value)
        or "did you mean" in str(error.value)
    )


def test_a_grid_is_every_combination_the_last_fastest():
    got = found(grid={"depth": [2, 4], "loops": "1..4 times 2"})
    assert [tuple(cell.parameters.values()) for cell in got] == [
        (2, 1), (2, 2), (2, 4), (4, 1), (4, 2), (4, 4),
    ]  # fmt: skip


def test_sections_multiply_and_seeds_are_innermost():
    got = found(
        "measure",
        list=[{"activation": "relu"}, {"activation": "tanh", "depth": 3}],
        grid={"loops": [1, 2]},
        seeds=2,
    )
    assert [cell.options["seed"] for cell in got] == [0, 1] * 4
    assert [cell.parameters.get("depth") for cell in got] == [None] * 4 + [3] * 4
    assert all("seed" in cell.varied for cell in got)


def test_no_section_is_one_cell():
    (cell,) = found(parameters={"depth": 3})
    assert cell.varied == {} and cell.parameters == {"depth": 3}


def test_names_go_to_the_architecture_or_the_command():
    (cell,) = found("measure", grid={"depth": [2], "width": [64]})
    assert cell.parameters == {"depth": 2} and cell.options == {"width": 64}


def test_a_name_that_both_have_is_to_be_said():
    both = {"readout": ["random"]}
    refused("options.readout", "check", architecture="transformer", grid=both)
    (cell,) = found("check", architecture="transformer", grid={"options": both})
    assert cell.options == {"readout": "random"} and cell.varied == {"readout": "random"}
    (cell,) = found("check", architecture="transformer", list=[{"parameters.readout": "mean"}])
    assert cell.parameters == {"readout": "mean"}


def test_numbers_may_be_text():
    (cell,) = found("measure", parameters={"depth": "4"}, options={"width": "32*depth"})
    assert cell.parameters == {"depth": 4} and cell.options == {"width": 128}
    (cell,) = found("measure", options={"width": "64"})
    assert cell.options == {"width": 64}


def test_whether_theory_is_shown_is_said_once():
    refused("theory is varied", "measure", grid={"theory": [True, False]})


def test_architectures_are_varied_too():
    got = found(grid={"architecture": ["mlp", "residual-mlp"], "depth": [2]}, architecture=None)
    assert [cell.architecture for cell in got] == ["mlp", "residual-mlp"]
    assert got[0].varied == {"architecture": "mlp", "depth": 2}


def test_expressions_are_numbers_of_their_cell():
    got = found(
        "measure",
        parameters={"loops": "64/depth", "residual_scale": "1/(N*sqrt(L))"},
        options={"width": "16*loops", "samples": "2**10"},
        grid={"depth": [8, 16]},
    )
    assert [(c.parameters["loops"], c.options["width"]) for c in got] == [(8, 128), (4, 64)]
    assert got[0].options["samples"] == 1024
    assert got[0].parameters["residual_scale"] == "1/(N*sqrt(L))"  # a formula stays one


def test_an_expression_may_use_a_default_and_a_cells_names_where_a_formula_may_stand():
    (cell,) = found(parameters={"residual_scale": "1/depth", "depth": 5})
    assert cell.parameters["residual_scale"] == pytest.approx(0.2)

    (cell,) = found(parameters={"loops": "2*depth"})  # of the depth that is the default
    assert cell.parameters["loops"] == 2 * entry("looped-mlp").defaults["depth"]


@pytest.mark.parametrize(
    ("match", "sections"),
    [
        ("grid: empty", {"grid": {}}),
        ("grid.depth=", {"grid": {"depth": []}}),
        ("grid.depth=4", {"grid": {"depth": 4}}),
        ("depth='8..4'", {"grid": {"depth": "8..4"}}),
        ("times 1", {"grid": {"depth": "4..8 times 1"}}),
        ("occurs twice", {"grid": {"depth": [4, 8, 4]}}),
        ("occurs twice", {"list": [{"depth": 4}, {"depth": 4}]}),
        ("stands in list and in grid", {"list": [{"depth": 4}], "grid": {"depth": [4]}}),
        ("fixed and varied", {"parameters": {"depth": 4}, "grid": {"depth": [4]}}),
        ("did you mean 'depth'", {"grid": {"dpeth": [4]}}),
        ("did you mean 'depth'", {"parameters": {"dpeth": 4}}),
        ("no option 'quantitys'; did you mean", {"options": {"quantitys": ["rms"]}}),
        ("'width' where a number", {"parameters": {"loops": "64/width"}}),
        ("'loops' where a number", {"parameters": {"loops": "64/loops"}}),
        ("no finite number", {"parameters": {"loops": "64/(depth-4)", "depth": 4}}),
        ("looped-mpl", {"architecture": "looped-mpl"}),
        ("architecture=None", {"architecture": None}),
        ("which draws nothing", {"seeds": 3}),
        ("list=", {"list": []}),
    ],
)  # fmt: skip
def test_what_is_refused(match: str, sections: dict[str, Any]):
    refused(match, **sections)


@pytest.mark.parametrize("seeds", [0, -1, True, [], 1.5, "x", ["0"], [1.0], [True]])
def test_seeds_that_are_none(seeds: object):
    refused("seeds=", "measure", seeds=seeds)


def test_seeds_that_are_listed():
    assert [c.options["seed"] for c in found("measure", seeds=[7, 3])] == [7, 3]
    assert [c.options["seed"] for c in found("measure", seeds="3..5")] == [3, 4, 5]


def test_too_many_cells_are_refused_before_they_are_made():
    refused("10\\^6", grid={"depth": "1..2000", "loops": "1..2000"})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True), st.integers(1, 3))
def test_a_grid_has_as_many_cells_as_its_axes_multiply_to(depths: list[int], seeds: int):
    got = found("measure", grid={"depth": depths}, seeds=seeds)
    assert len(got) == len(depths) * seeds
    assert len({str(cell) for cell in got}) == len(got)
