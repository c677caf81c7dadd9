"""``check``: absolute predictions of the first step, slopes and their verdicts, the picture, the
command."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.cli.check import check as command
from sigprop.cli.options import Chosen
from sigprop.coordinate_check import check as checking
from sigprop.coordinate_check.check import check
from sigprop.coordinate_check.ladder import Members, variables_of
from sigprop.coordinate_check.plot import plot
from sigprop.coordinate_check.rates import Rule, naive, prescribed
from sigprop.coordinate_check.reference import first_step
from sigprop.description.architecture import Architecture
from sigprop.simulations.training.changes import OBSERVABLES, Training
from sigprop.simulations.training.parts import parts_of
from sigprop.simulations.training.steps import Setting
from sigprop.tables.table import Table
from sigprop.verdict.judgement import overall
from sigprop.verdict.slope import Fit, Known, Point, fit, judge, point

SMALL = {"width": (64, 256), "depth": (2, 8), "loops": (2, 8)}


def measured(
    arch: Architecture, width: int, optimizer: str, rule: Rule, base: float, networks: int
) -> list[tuple[float, float]]:
    """ln of each observable's and part's rms change by one step over the base rate, and its
    standard error."""
    settings = {
        group: Setting(base * g.rate, g.epsilon, g.decay) for group, g in rule.groups.items()
    }
    squares = Training(arch, width, optimizer, (1,), parts=parts_of(arch, True)).changes(
        settings, rule.readout, range(networks), seed=0
    )[:, 0]
    points = [point(squares[:, k]) for k in range(squares.shape[1])]
    return [(found.log - math.log(base), found.se) for found in points]


@pytest.mark.parametrize(("optimizer", "tokens"), [("sgd", 2), ("adamw", 1), ("adamw", 2)])
def test_the_first_steps_changes_are_predicted_absolutely(optimizer: str, tokens: int):
    """Output, four states, every group's effective part and each matrix's parts by application,
    two blocks, three loops, under both rules: ln ratio within 4 standard errors and 1 % for 1/n
    (50 numbers: one run in 300 fails)."""
    for rule_of, base in ((prescribed, 1e-3), (naive, 1e-6)):
        arch = sp.architectures.looped_mlp(
            depth=2, loops=3, tokens=tokens, token_cosine=0.5 if tokens > 1 else 0.0
        )
        rule = rule_of(arch, 256, optimizer)
        found = measured(arch, 256, optimizer, rule, base, 192)
        expected = first_step(arch, 256, optimizer, rule, parts=parts_of(arch, True))
        assert expected is not None and len(expected) == len(found) == 5 + 4 + 2 * 2 * 4
        for k, ((value, se), theory) in enumerate(zip(found, expected, strict=True)):
            assert abs(value - theory.log) < 4 * se + 0.01, (found, expected)
            # the companion: a factor sqrt(2) in any large part would be seen
            assert se < (0.04 if k < len(OBSERVABLES) else 0.05)
        wrong = first_step(
            arch,
            256,
            optimizer,
            rule._replace(
                groups={
                    g: v._replace(rate=v.rate * (2 if g == "w" else 1))
                    for g, v in rule.groups.items()
                }
            ),
        )
        assert wrong is not None
        for (value, se), theory in zip(found, wrong, strict=False):
            assert abs(value - theory.log) > 4 * se + 0.01


@functools.cache
def judged(optimizer: str, parametrisation: Any, variables: tuple[str, ...]) -> Table:
    return check(
        sp.architectures.looped_mlp(),
        optimizer,
        parametrisation,
        variables=variables,
        steps=(1, 4),
        ladders=SMALL,
        width=64,
    )


def test_the_prescribed_rule_is_confirmed():
    """AdamW in n and N; every row's slope is some 5 standard errors inside +-0.1, so that a seed
    in a thousand would not confirm."""
    table = judged("adamw", "prescribed", ("width", "loops"))
    assert table.verdict == "confirmed" and len(table) == 2 * 2 * len(OBSERVABLES)
    for row in table:
        assert row["verdict"] == "confirmed" and -0.1 < row["lower"] < row["upper"] < 0.1
    first = [row for row in table if (row["quantity"], row["steps"]) == ("output", 1)]
    assert first and all(row["predicted"] == row["reference"] for row in table)


def test_the_naive_rule_is_rejected_in_each_variable():
    """AdamW in n and N, SGD in L: by the output, whose slopes are predicted too."""
    for optimizer, variables in (("adamw", ("width", "loops")), ("sgd", ("depth",))):
        table = judged(optimizer, "naive", variables)
        assert table.verdict == "rejected"
        for row in table.filter(quantity="output"):
            assert row["verdict"] == "rejected" and row["lower"] > 0.5, row
            if row["steps"] == 1:
                assert abs(row["slope"] - row["predicted"]) < 5 * row["se"] + 0.1


def off_by_root_n(arch: Architecture, width: int, optimizer: str) -> Rule:
    """The companion of a confirmed rule: hidden rates sqrt(N) times too large."""
    rule = prescribed(arch, width, optimizer)
    factor = math.sqrt(arch.sizes["N"])
    return rule._replace(
        groups={
            g: v._replace(rate=v.rate * (factor if g in arch.weights else 1))
            for g, v in rule.groups.items()
        }
    )


def test_a_rate_that_is_off_by_the_root_of_n_is_rejected():
    table = judged("adamw", off_by_root_n, ("loops",))
    rows = table.filter(quantity="output", steps=1)
    assert (
        table.verdict == "rejected"
        and rows[0]["verdict"] == "rejected"
        and 0.2 < rows[0]["slope"] < 0.5
    )
    assert (table.notes or {})["parametrisation"] == "off_by_root_n"
    assert (
        judged("adamw", "prescribed", ("width", "loops")).filter(
            variable="loops", quantity="output"
        )[0]["verdict"]
        == "confirmed"
    )


def test_rates_are_in_the_linear_regime_and_points_say_where_each_number_is_from():
    table = judged("adamw", "prescribed", ("width", "loops"))
    notes: Any = table.notes
    assert set(notes["rates"]) == {"width", "loops"} and all(
        math.log2(rate).is_integer() for rate in notes["rates"].values()
    )
    points = [p for p in notes["points"] if p["quantity"] == "output" and p["steps"] == 1]
    assert [(p["variable"], p["size"], p["width"], p["applications"]) for p in points] == [
        *(("width", n, n, 4) for n in (64, 256)),
        *(("loops", N, 64, 2 * N) for N in (2, 8)),
    ]
    # decay and curvature bend it by a little
    assert all(
        abs(math.log(p["value"] / p["theory"])) < 4 * p["relative_se"] + 0.08 for p in points
    )
    assert json.loads(table.to_json())["verdict"] == "confirmed" and "output" in str(table)


def test_slopes_and_intervals():
    """A power law with noise of known size: the 95 % interval holds its slope in 95 % of
    repetitions (400: within 4 binomial errors)."""
    exact = fit(
        (2, 4, 8),
        [Point(0.7 * math.log(s), 0.01, 32) for s in (2, 4, 8)],
        [Known(0.5 * math.log(s)) for s in (2, 4, 8)],
    )
    assert (
        exact.slope == pytest.approx(0.7)
        and exact.reference == pytest.approx(0.5)
        and exact.se == pytest.approx(0.01 / math.log(4) * math.sqrt(2))
    )
    # theory's own errors widen the interval, as those of the networks do
    rough = fit(
        (2, 4, 8),
        [Point(0.7 * math.log(s), 0.01, 32) for s in (2, 4, 8)],
        [Known(0.5 * math.log(s), 0.1) for s in (2, 4, 8)],
    )
    assert rough.half == pytest.approx(math.hypot(exact.half, 0.1 / math.log(4) * math.sqrt(2)))
    random, held, sizes = np.random.default_rng(0), 0, (128, 256, 512, 1024)
    for _ in range(400):
        squares = [(s**0.3 * (1 + 0.2 * random.standard_normal(12))) ** 2 for s in sizes]
        found = fit(sizes, [point(x) for x in squares])
        held += abs(found.slope - 0.3) < found.half
    assert abs(held / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize(
    ("slope", "half", "verdict"),
    [
        *((0.0, 0.04, "confirmed"), (0.05, 0.045, "confirmed"), (0.0, 0.06, "inconclusive")),
        *((0.08, 0.03, "inconclusive"), (0.14, 0.03, "rejected"), (-0.5, 0.3, "rejected")),
    ],
)
def test_the_equivalence_test(slope: float, half: float, verdict: str):
    found = Fit(slope + 1, half / 2, half, 1.0)
    assert judge(found) == verdict
    # a reference of these very sizes is no leading exponent that a slope is only near to
    inside = abs(slope) + half < 0.1
    assert judge(found._replace(exact=True)) == ("confirmed" if inside else verdict)
    assert judge(Fit(math.nan, math.inf, math.inf, 0.0)) == "inconclusive"


def test_verdicts_of_rows_make_one():
    assert overall(["confirmed", "confirmed"]) == "confirmed" and overall([]) == "inconclusive"
    assert (
        overall(["confirmed", "inconclusive"]) == "inconclusive"
        and overall(["inconclusive", "rejected"]) == "rejected"
    )


def test_widths_are_what_heads_divide_and_architectures_without_loops_have_no_such_ladder():
    family = Members(sp.architectures.looped_transformer(head_dim=24))
    assert [rung.width for rung in family.ladder("width", (50, 100), 64)] == [72, 120]
    assert {rung.arch.depth for rung in family.ladder("loops", (2, 4), 64)} == {
        8,
        16,
    } and family.ladder("depth", (2, 4), 64)[0].width == 72
    assert variables_of(sp.architectures.mlp()) == ("width", "depth")


def test_bad_input_is_said_in_a_line():
    arch = sp.architectures.looped_mlp()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"parametrisation": "naiv"}, "did you mean 'naive'"),
        (
            {"variables": ["tokens"]},
            "variable='tokens' of looped-mlp; accepted: width, depth, loops",
        ),
        ({"ladders": {"depth": (4, 2)}, "variables": ["depth"]}, "depth=(4, 2)"),
        ({"ladders": {"depth": (4,)}, "variables": ["depth"]}, "two or more different sizes"),
        ({"networks": 2}, "networks=2"),
        ({"readout": "zer"}, "did you mean 'zero'"),
        ({"steps": [0]}, "steps=(0,)"),
        ({"width": 0}, "width=0"),
    ]
    for options, text in cases:
        with pytest.raises(sp.InputError) as error:
            check(arch, **options)
        assert text in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(sp.InputError, match="variable='loops' of mlp"):
        check(sp.architectures.mlp(), variables=["loops"])
    own = sp.Architecture("mine", arch.sub_blocks, [0, 1], arch.numbers)
    with pytest.raises(sp.InputError, match="'mine' has no family, and check builds it"):
        check(own)


def test_a_network_of_ones_own_is_built_by_its_family():
    def build(blocks: int, loops: int) -> sp.Architecture:
        branch = sp.Linear("w", sp.Normalise(sp.Read(), "rms"), 1)
        block = sp.SubBlock(sp.State(0), branch, sp.State(0) + sp.Number("beta") * sp.Write())
        sizes = {"N": loops, "L": blocks, "S": blocks}
        slots = list(range(blocks)) * loops
        return sp.Architecture("mine", (block,), slots, {"beta": "1/sqrt(L)"}, sizes=sizes)

    untied = replace(build(2, 1), family=sp.Family(build))
    assert variables_of(untied) == ("width", "depth")
    assert [r.arch.depth for r in Members(untied).ladder("depth", (2, 4), 64)] == [2, 4]
    looped = replace(build(2, 2), family=sp.Family(build))
    assert variables_of(looped) == ("width", "depth", "loops")
    assert [r.arch.depth for r in Members(looped).ladder("loops", (2, 4), 64)] == [4, 8]


def table_of(verdict: str) -> Table:
    points = [
        {
            "variable": "depth",
            "quantity": q,
            "steps": 1,
            "size": s,
            "value": v * s,
            "relative_se": 0.1,
            "theory": v * s if q == "output" else None,
        }
        for q, v in (("output", 1.0), ("last state", 0.2))
        for s in (2, 4)
    ]
    rows = [
        {
            "quantity": q,
            "variable": "depth",
            "steps": 1,
            "slope": 1.0,
            "reference": 0.0,
            "verdict": verdict,
        }
        for q in ("output", "last state")
    ]
    return Table(
        "looped-mlp",
        {},
        rows,
        "check",
        verdict,
        {"points": points, "optimizer": "sgd", "parametrisation": "naive"},
    )


def test_the_picture_has_points_and_predicted_lines(tmp_path: Path):
    path = tmp_path / "check.png"
    figure = plot(table_of("rejected"), path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    (axes,) = figure.axes
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"output", "last state", "reference slope", "output, wide limit"}
    assert axes.get_xscale() == axes.get_yscale() == "log" and axes.get_title() == "depth, 1 step"
    with pytest.raises(sp.InputError, match="no points"):
        plot(Table("mlp", {}, [], "check"), path)


@pytest.mark.parametrize(
    ("verdict", "code"), [("confirmed", 0), ("rejected", 1), ("inconclusive", 3)]
)
def test_the_command_passes_its_options_on_and_returns_the_verdicts_code(
    verdict: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    made: list[Any] = []

    def fake(*given: Any, **options: Any) -> Table:
        made.append((given, options))
        return table_of(verdict)

    monkeypatch.setattr(checking, "check", fake)
    chosen = Chosen(set=("depth=3",), json=True, out=str(tmp_path / "t.csv"))
    assert (
        command(
            "looped-mlp",
            chosen=chosen,
            optimizer="sgd",
            variable=("depth, loops",),
            steps="1,3",
            samples=12,
            plot=str(tmp_path / "p.svg"),
        )
        == code
    )
    (arch, *given), options = made[0]
    assert arch.parameters["depth"] == 3 and given == [
        "sgd",
        "prescribed",
        0,
        ["depth", "loops"],
        (1, 3),
    ]
    assert options.pop("progress") is not None and options == {
        "loss": "linear",
        "readout": "random",
        "parts": False,
        "width": None,
        "networks": 12,
        "most": 256,
        "shape_factor": None,
    }
    assert json.loads(capsys.readouterr().out)["verdict"] == verdict
    assert (tmp_path / "p.svg").exists() and (tmp_path / "t.csv").read_text().startswith(
        "quantity,"
    )
    with pytest.raises(sp.InputError, match="steps='1,x'"):
        command("looped-mlp", steps="1,x")
    with pytest.raises(sp.InputError, match="suffix"):
        command("looped-mlp", plot="p.txt")


def test_a_prescription_that_is_not_flat_is_rejected() -> None:
    """Above the critical residual scale the stream grows, and the rule's own slope, 0.38, is no
    reference."""
    arch = sp.architectures.residual_mlp(residual_scale=1.0)
    table = sp.check(
        arch,
        variables=["depth"],
        steps=(1,),
        ladders={"depth": (2, 8)},
        width=64,
        networks=16,
        most=32,
    )
    row = table.filter(quantity="output")[0]
    assert row["verdict"] == "rejected" and row["reference"] == 0 and row["predicted"] > 0.2


def test_unknown_ladders_are_refused() -> None:
    with pytest.raises(sp.InputError, match="did you mean 'depth'"):
        sp.check(sp.architectures.looped_mlp(), ladders={"depht": (2, 4)})
