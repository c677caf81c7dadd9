"""From base to target: laws of ratios, the base's initialisation, what is refused, and every way
out (text, JSON, LaTeX, command line)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from sigprop.cli.options import Chosen
from sigprop.cli.prescribe import prescribe as command
from sigprop.errors import InputError
from sigprop.prescriptions.prescribe import prescribe
from sigprop.prescriptions.prescription import Prescription

BASE, MIDDLE, TARGET = (
    {"width": 256, "depth": 8, "loops": 2, "mlp_ratio": 4, "head_dim": 32},
    {"width": 512, "depth": 12, "loops": 3, "mlp_ratio": 2, "head_dim": 32},
    {"width": 4096, "depth": 64, "loops": 4, "mlp_ratio": 3, "head_dim": 64},
)
GIVEN = {"learning_rate": 3e-3, "weight_decay": 0.1, "epsilon": 1e-8}
EVERY = [
    (optimizer, s, decay)
    for optimizer in ("sgd", "adam", "adamw", "muon")
    for s in (0, 1)
    for decay in ("papers", "product")
    if (optimizer, decay) != ("adam", "product")
]


def made(
    base: dict[str, Any] = BASE, target: dict[str, Any] = TARGET, **options: Any
) -> Prescription:
    return prescribe("looped-transformer", base=base, target=target, **options)


def ratios(table: Prescription) -> dict[tuple[str, str], float]:
    return {(row["group"], row["setting"]): row["ratio"] for row in table}


@pytest.mark.parametrize("init", [None, "gpt2", "llama"])
@pytest.mark.parametrize(("optimizer", "s", "decay"), EVERY)
def test_base_as_target_changes_nothing_and_steps_compose(
    optimizer: str, s: int, decay: str, init: str | None
):
    options: dict[str, Any] = {"optimizer": optimizer, "s": s, "decay": decay, "init": init}
    # sgd at s = 1 keeps the heads
    sides = [side | {"head_dim": 32} for side in (BASE, MIDDLE, TARGET)]
    same = made(sides[0], sides[0], **options, learning_rate=2e-3)
    assert all(
        row["ratio"] == 1 and row["value"] == (1 if row["base"] is None else row["base"])
        for row in same
    )
    first, second, both = (
        ratios(made(*pair, **options)) for pair in (sides[:2], sides[1:], sides[::2])
    )
    assert first.keys() == second.keys() == both.keys() and max(both.values()) > 1.5
    for key, ratio in both.items():
        assert math.isclose(first[key] * second[key], ratio, rel_tol=1e-12), key


def test_numbers_are_the_bases_times_the_ratio():
    table = made(**GIVEN, multiplier=0.5, init="llama")
    assert table.value("q", "learning_rate") == pytest.approx(3e-3 / 16 / math.sqrt(8))
    assert table.value("q", "rate_x_decay") == pytest.approx(3e-4 / math.sqrt(8)) and table.value(
        "q", "weight_decay"
    ) == pytest.approx(1.6)
    assert table.value("q", "init_std") == pytest.approx(0.02 / 4) and table.value(
        "x", "init_std"
    ) == pytest.approx(0.02 / 4 / math.sqrt(3 / 4))
    assert table.value("residual", "multiplier") == pytest.approx(0.5 / 2 / math.sqrt(8))
    # head_dim doubles, logits over head_dim
    assert table.value("q", "epsilon") == pytest.approx(1e-8 / 16 / math.sqrt(8) / math.sqrt(2))
    by_group = made(learning_rate={"q": 1.0})
    assert (
        by_group.row("q", "learning_rate")["base"],
        by_group.row("k", "learning_rate")["base"],
    ) == (1.0, None)
    kept = made(**GIVEN, decay="product")
    assert all(row["ratio"] == pytest.approx(1) for row in kept if row["setting"] == "rate_x_decay")


def test_muons_rates_are_the_bases_times_the_ratio():
    """Width 16, depth 8, M 3/4 times: 1/sqrt(L), M^-1/2 of w and x, no width; with 0.2 sqrt(max)
    sqrt(n) besides; the rest AdamW's."""
    given = {"learning_rate": {"muon": 0.02, "adamw": 1e-3, "w": 0.01}, "weight_decay": 0.1}
    table, adamw = made(optimizer="muon", **given), made(learning_rate=1e-3, weight_decay=0.1)
    depth, ratio = 1 / math.sqrt(8), math.sqrt(4 / 3)
    for group, rate in (("q", 0.02), ("w", 0.01 * ratio), ("x", 0.02 * ratio)):
        assert table.value(group, "learning_rate") == pytest.approx(rate * depth)
    for group in ("bias", "embedding", "readout", "norm"):
        if group in adamw.rules:
            for setting in ("learning_rate", "weight_decay"):
                assert table.value(group, setting) == adamw.value(group, setting)
    assert table.value("q", "weight_decay") == pytest.approx(0.1)
    assert table.parameters["shape_factor"] == "original" and "shape_factor" not in adamw.parameters
    assert table.muon["w"] == (3 * 4096, 4096) and table.muon["x"] == (4096, 3 * 4096)
    assert table.muon.keys() == {"q", "k", "v", "u", "w", "x"} and adamw.muon == {}
    rms = made(optimizer="muon", shape_factor="match_rms_adamw", **given)
    assert rms.value("q", "learning_rate") == pytest.approx(0.02 * depth / 4)
    assert rms.value("x", "learning_rate") == pytest.approx(0.02 * depth / 4 * 4 / 3)
    assert rms.value("q", "rate_x_decay") == pytest.approx(0.002 * depth)
    assert (
        json.loads(rms.to_json())["muon"]["x"] == [4096, 3 * 4096] and r"\hline" in rms.to_latex()
    )


def test_muon_refusals():
    for options, says in (
        ({"shape_factor": "original"}, "shape_factor='original' at optimizer='adamw'"),
        ({"optimizer": "muon", "shape_factor": "rms"}, "shape_factor='rms'; known: match_rms"),
        ({"learning_rate": {"muon": 0.1}}, "no such setting for group 'muon'"),
        ({"optimizer": "muon", "multiplier": {"muon": 2}}, "no such setting for group 'muon'"),
    ):
        with pytest.raises(InputError, match=says):
            made(**options)
    wide, narrow = {"width": 64, "depth": 2}, {"width": 64, "depth": 2, "mlp_ratio": 0.5}
    with pytest.raises(InputError, match="of muon: n_out/n_in both from 1, or both below"):
        prescribe("transformer", base=wide, target=narrow, optimizer="muon")
    assert prescribe(
        "transformer", base=wide, target=narrow, optimizer="muon", shape_factor="spectral"
    ).row("w", "learning_rate")["ratio"] == pytest.approx(math.sqrt(8))


def test_multipliers_of_any_group_are_the_bases_times_the_rules():
    """Embedding, norm gains, matrices: constants; logits C^-1 at s = 1; the read-out's 1/n where
    it is a factor. Those that are not 1 have a line."""
    given = {"embedding": 10, "norm": 2, "q": 3, "attention": 5, "readout": 7, "residual": 0.5}
    language = {"words": "0,1,0", "parametrisation": "multiplier"}
    table = made(multiplier=given, **language)
    ratio = {"attention": 1 / 2, "readout": 1 / 16, "residual": 1 / 2 / math.sqrt(8)}
    for group, base in given.items():
        row = table.row(group, "multiplier")
        assert row["base"] == base and row["value"] == pytest.approx(base * ratio.get(group, 1))
    assert table.row("k", "multiplier")["base"] == 1
    plain = made(**language)
    assert ratios(plain) == ratios(table)  # constants of the base change no other rule
    lines = [line for line in str(table).splitlines() if " multiplier " in line]
    assert len(lines) == len(given)
    assert sum(" multiplier " in line for line in str(plain).splitlines()) == 3
    with pytest.raises(InputError, match="multiplier: no such setting for group 'embeding'; did"):
        made(multiplier={"embeding": 10}, **language)
    with pytest.raises(InputError, match="multiplier of embedding=0; accepted: a number above 0"):
        made(multiplier={"embedding": 0}, **language)


def test_what_the_base_carries_in_depth_is_given_back_once():
    """gpt2: output matrices over sqrt(2 L) in base and target, so the multiplier takes sqrt(2
    L); writes are then what they are without either."""
    plain, carried = made(), made(init="gpt2", **GIVEN)
    for group in ("u", "x"):
        assert "as the base has it" in carried.row(group, "init_std")["criterion"]
        assert carried.row(group, "init_std")["ratio"] == pytest.approx(
            plain.row(group, "init_std")["ratio"] / math.sqrt(8)
        )
        write = (
            carried.row(group, "init_std")["ratio"] * carried.row("residual", "multiplier")["ratio"]
        )
        assert write == pytest.approx(
            plain.row(group, "init_std")["ratio"] * plain.row("residual", "multiplier")["ratio"]
        )
        step = (
            carried.row(group, "learning_rate")["ratio"]
            * carried.row("residual", "multiplier")["ratio"]
        )
        assert step == pytest.approx(
            plain.row(group, "learning_rate")["ratio"]
            * plain.row("residual", "multiplier")["ratio"]
        )
    assert carried.value("u", "init_std") == pytest.approx(
        0.02 / 4 / math.sqrt(2 * 64)
    ) and carried.value("q", "init_std") == pytest.approx(0.005)
    assert carried.row("q", "learning_rate")["ratio"] == plain.row("q", "learning_rate")["ratio"]
    kept = made(init="gpt2", base_carries_depth_factor=False)
    assert ratios(kept) == ratios(plain) and kept.value("u", "init_std") == pytest.approx(
        0.02 / math.sqrt(16) / 4
    )
    said = made(base_carries_depth_factor=True)
    assert ratios(said) == ratios(carried)


def test_a_factor_of_depth_that_stands_alone_is_the_networks_eps():
    """x + f(x) with gpt2's stds: the multiplier stays, matrices inside have the rates of eps =
    1/sqrt(2 L), the last of a branch those of eps = 1."""
    base, target = {"width": 64, "depth": 2}, {"width": 64, "depth": 32}
    gpt2, critical, naive = (
        prescribe("transformer", base=base, target=target, **options)
        for options in ({"init": "gpt2"}, {"residual_scale": "1/sqrt(L)"}, {"residual_scale": 1})
    )
    assert (
        gpt2.row("residual", "multiplier")["ratio"] == 1
        and "grows" not in str(gpt2)
        and "grows" in str(naive)
    )
    for setting in ("learning_rate", "epsilon"):
        assert gpt2.row("w", setting)["ratio"] == pytest.approx(critical.row("w", setting)["ratio"])
        assert gpt2.row("x", setting)["ratio"] == pytest.approx(naive.row("x", setting)["ratio"])
    assert gpt2.value("x", "init_std") == pytest.approx(0.02 / 8)


def test_stds_that_look_like_a_factor_of_depth_must_say():
    # over sqrt(2 8); x has four times the fan-in
    stds = {"q": 0.02, "k": 0.02, "v": 0.02, "w": 0.02, "u": 0.005, "x": 0.0025}
    with pytest.raises(InputError, match="'u' looks as if divided by sqrt\\(2 L\\)"):
        made(init=stds)
    told = made(init=stds, base_carries_depth_factor=True)
    assert told.value("u", "init_std") == pytest.approx(0.005 / 4 / math.sqrt(8))
    assert made(init=stds, base_carries_depth_factor=False).value("u", "init_std") == pytest.approx(
        0.005 / 4
    )
    assert made(init=stds | {"u": 0.02, "x": 0.01}).value("u", "init_std") == pytest.approx(0.005)
    with pytest.raises(InputError, match="looks as if"):
        made(init={"u": 1 / math.sqrt(256) / 4})  # beside 1/sqrt(n), where no other std is given


def test_sandwich_norms_remove_what_stds_carry():
    with pytest.raises(InputError, match="before a norm that removes it"):
        prescribe(
            "sandwich-transformer",
            base={"width": 64, "depth": 2},
            target={"width": 64, "depth": 8},
            init="gpt2",
        )


@pytest.mark.parametrize(
    ("base", "target", "options", "says"),
    [
        ({}, {"width": 16}, {}, "width=16: narrower than one head"),
        (
            {},
            {"width": 4100},
            {},
            "width=4100: not whole heads; accepted: a multiple of head_dim=64",
        ),
        ({}, {"width": 96, "mlp_ratio": 0.26, "head_dim": 32}, {}, "rows"),
        ({}, {"width": 0}, {}, "width=0"),
        ({}, {"width": "wide"}, {}, "width='wide'"),
        ({}, {"width": 64.5}, {}, "width=64.5"),
        ({}, {"widht": 64}, {}, "'widht'; did you mean 'width'"),
        ({}, {"learning_rate": 1}, {}, "learning_rate=1 of the target"),
        ({}, {"architecture": "mlp"}, {}, "architecture='mlp'"),
        ({}, {"gated": True}, {}, "gated: False in base, True in target"),
        ({}, {"residual_scale": "1/N"}, {}, "residual_scale: .* in base, .1/N. in target"),
        ({}, {}, {"optimizer": "lion"}, "optimizer='lion'"),
        ({}, {}, {"optimizer": "sgd"}, "head_dim: differs"),
        ({}, {}, {"init": "gpt3"}, "init='gpt3'; accepted: gpt2"),
        ({}, {}, {"init": {"qq": 0.1}}, "init: no such setting for group 'qq'"),
        ({}, {}, {"init": {"q": -1}}, "init of q=-1"),
        ({}, {}, {"learning_rate": 0}, "learning_rate of u=0"),
        ({}, {}, {"learning_rate": {"qq": 1}}, "learning_rate: no such setting for group 'qq'"),
        ({}, {}, {"epsilon": math.nan}, "epsilon of u=nan"),
        ({}, {}, {"activatoin": "relu"}, "'activatoin'; did you mean 'activation'"),
    ],
)
def test_bad_input(
    base: dict[str, Any], target: dict[str, Any], options: dict[str, Any], says: str
):
    with pytest.raises(InputError, match=says) as caught:
        made(BASE | base, TARGET | target, **options)
    assert "\n" not in str(caught.value)


def test_more_bad_input(tmp_path: Path):
    with pytest.raises(InputError, match="width: none given"):
        prescribe("looped-mlp", base={"depth": 2}, target={"width": 8})
    with pytest.raises(InputError, match="No such file"):
        prescribe("looped-mlp", base=tmp_path / "none.toml", target={"width": 8})
    (tmp_path / "bad.toml").write_text("width = ")
    with pytest.raises(InputError, match="is not TOML"):
        prescribe("looped-mlp", base=tmp_path / "bad.toml", target={"width": 8})
    with pytest.raises(InputError, match="'lopped-mlp'"):
        prescribe("lopped-mlp", base={"width": 8}, target={"width": 8})
    with pytest.raises(InputError, match="3 heads do not divide"):
        prescribe(
            "variable-width",
            base={"width": 64, "heads": 3, "depth": 1, "schedule": "3", "reference_width": 3},
            target={"width": 64},
        )
    with pytest.raises(InputError, match="loops of completep"):
        prescribe("completep", base={"width": 8, "loops": 1}, target={"width": 8, "loops": 2})
    assert len(
        prescribe("completep", base={"width": 8, "loops": 1}, target={"width": 8, "loops": 1})
    )
    table = made()
    with pytest.raises(InputError, match="group 'Q'"):
        table.row("Q", "epsilon")
    with pytest.raises(InputError, match="q has no setting 'momentum'"):
        table.row("q", "momentum")


@pytest.mark.parametrize("name", ["nag", "vanilla", "deepnorm", "mlp"])
def test_networks_without_rules_in_depth_go_wider_by_the_law(name: str):
    wider = prescribe(name, base={"width": 64, "depth": 4}, target={"width": 256, "depth": 4})
    matrix = next(row for row in wider if row["setting"] == "learning_rate")
    assert (
        matrix["ratio"] == pytest.approx(1 / 4)
        and "depth and loops unchanged" in matrix["criterion"]
    )
    assert {row["by"] for row in wider} == {"law"}


def test_remarks_say_what_rules_do_not():
    remarks = " ".join((made(BASE | {"loops": 1}).notes or {})["remarks"])
    assert (
        "loops=1 is an untied network" in remarks
        and "head_dim differs" in remarks
        and "rate x decay" in remarks
    )
    assert "rate x decay becomes" not in str(made(decay="product"))
    naive = prescribe(
        "transformer", base={"width": 64, "depth": 2}, target={"width": 64, "depth": 8}
    )
    assert "grows as eps^2 P = L, 4 times" in str(naive)
    critical = prescribe(
        "completep",
        base={"width": 64, "depth": 2},
        target={"width": 64, "depth": 8},
        decay="product",
    )
    assert (critical.notes or {})["remarks"] == []


def test_files_hold_sizes_parameters_and_the_bases_settings(tmp_path: Path):
    (tmp_path / "base.toml").write_text(
        'architecture = "looped-mlp"\nwidth = 64\ndepth = 2\nloops = 2\nlearning_rate = '
        '0.01\nactivation = "tanh"\n'
    )
    (tmp_path / "target.toml").write_text(
        'width = 256\ndepth = 8\nloops = 4\nactivation = "tanh"\n'
    )
    table = prescribe("looped-mlp", base=tmp_path / "base.toml", target=tmp_path / "target.toml")
    assert (
        table.value("w", "learning_rate") == pytest.approx(0.01 / 4 / 2)
        and table.parameters["activation"] == "tanh"
    )


def test_the_document_holds_every_row_with_formula_and_criterion():
    document = json.loads(made(**GIVEN, init="gpt2").to_json())
    assert (
        document["architecture"] == "looped-transformer"
        and "read-out std 1/n" in document["parametrisation"]
    )
    for row in document["rows"]:
        assert (
            set(row)
            == {
                "group",
                "setting",
                "expression",
                "ratio",
                "base",
                "value",
                "criterion",
                "by",
                "error",
            }
            and (row["by"], row["error"]) == ("law", None)
            and row["expression"]
            and row["criterion"]
        )
    assert {row["setting"] for row in document["rows"]} == {
        "init_std",
        "multiplier",
        "learning_rate",
        "weight_decay",
        "rate_x_decay",
        "epsilon",
    }
    sgd = made(BASE, TARGET | {"head_dim": 32}, optimizer="sgd")
    assert "epsilon" not in {row["setting"] for row in sgd}


def test_the_printed_expression_is_the_sympy_object():
    table = made()
    for row in table:
        assert row["expression"] == str(getattr(table.rules[row["group"]], row["setting"]))


def test_text_groups_what_is_alike():
    text = str(made(BASE, TARGET | {"mlp_ratio": 4, "head_dim": 32}, **GIVEN))
    assert "\nu, q, k, v, x, w  init_std " in text
    assert "base" in text and "left out above, the same in both: M mlp_ratio" in text
    assert max(map(len, text.splitlines())) < 240
    assert "base " not in str(made()).splitlines()[3]


def test_latex_is_balanced():
    tex = made(**GIVEN).to_latex()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    lines = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert (
        all(line.count(" & ") == 5 for line in lines)
        and r"\frac{1}{\sqrt{L} n}" in tex
        and r"\times 10^{-1" in tex
    )


def typed(words: list[str]) -> int:
    """The command as the shell gives it, errors raised."""
    app = App(name="sigprop")
    app.command(command)
    code = app(
        ["prescribe", *words], exit_on_error=False, print_error=False, result_action="return_value"
    )
    assert isinstance(code, int)
    return code


SIDES = ["--base", "width=256,depth=8,loops=1", "--target", "width=4096,depth=64,loops=4"]


def test_the_command_prints_one_document(capsys: pytest.CaptureFixture[str]):
    words = [
        "--optimizer",
        "adamw",
        "--learning-rate",
        "3e-3",
        "--init",
        "gpt2",
        "--set",
        "norm_kind=rms",
        "--json",
    ]
    assert typed(["looped-transformer", *SIDES, *words]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (
        err == ""
        and document["parameters"]["norm_kind"] == "rms"
        and document["parameters"]["target"]["loops"] == 4
    )
    assert (
        next(row for row in document["rows"] if row["setting"] == "learning_rate")["base"] == 3e-3
    )


def test_the_command_has_muon_and_multipliers_of_any_group(capsys: pytest.CaptureFixture[str]):
    words = ["--optimizer", "muon", "--shape-factor", "match_rms_adamw", "--set", "words=0,1,0"]
    numbers = ["--learning-rate", "muon=0.02,adamw=3e-4", "--multiplier", "embedding=10"]
    assert typed(["looped-transformer", *SIDES, *words, *numbers, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"]["shape_factor"] == "match_rms_adamw"
    value = {(row["group"], row["setting"]): row for row in document["rows"]}
    assert value["q", "learning_rate"]["value"] == pytest.approx(0.02 / 4 / math.sqrt(8))
    assert value["readout", "learning_rate"]["value"] == pytest.approx(3e-4 / 16)
    assert value["embedding", "multiplier"]["value"] == 10
    assert typed(["looped-transformer", *SIDES, *words, *numbers]) == 0
    assert "0.2 sqrt(max(n_in, n_out))" in capsys.readouterr().out
    with pytest.raises(InputError, match="shape_factor='spectral' at optimizer='adamw'"):
        typed(["looped-transformer", *SIDES, "--shape-factor", "spectral"])


def test_the_command_prints_text_latex_and_writes_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert typed(["looped-mlp", *SIDES, "--s", "0", "--latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{tabular}")
    for suffix, start in (
        (".json", "{"),
        (".csv", "group,"),
        (".md", "| group"),
        (".tex", r"\begin"),
        (".txt", "looped-mlp (prescribe"),
    ):
        assert (
            typed(
                [
                    "looped-mlp",
                    *SIDES,
                    "--out",
                    str(tmp_path / f"t{suffix}"),
                    "--learning-rate",
                    "w=1e-3,readout=1e-2",
                ]
            )
            == 0
        )
        assert (tmp_path / f"t{suffix}").read_text().startswith(start)
    out = capsys.readouterr().out
    assert out.startswith(
        "looped-mlp (prescribe, adamw): width=256, loops=1, depth=8 -> width=4096"
    )


def test_lists_in_sides_and_missing_ones():
    words = [
        "transformer",
        "--base",
        "width=64,words=0,1,0,depth=2",
        "--target",
        "width=64,words=0,1,0,depth=4",
    ]
    assert typed([*words, "--base-carries-depth-factor", "true"]) == 0
    for given, says in (
        (["looped-mlp", "--base", "width=8"], "target: none given"),
        (SIDES, "architecture: none given"),
        (["looped-mlp", *SIDES, "--learning-rate", "fast"], "learning_rate='fast'"),
        (["looped-mlp", *SIDES, "--init", "w=a"], "init of w='a'"),
        (["looped-mlp", *SIDES, "--s", "mup"], "s='mup'"),
        (["looped-mlp", *SIDES, "--out", "table.png"], "suffix '.png'"),
        (["looped-mlp", "--base", "none.toml", "--target", "width=8"], "No such file"),
    ):
        with pytest.raises(InputError, match=says):
            typed(given)


def test_the_function_is_the_command():
    with pytest.raises(InputError, match="base: none given"):
        command("looped-mlp", chosen=Chosen())
