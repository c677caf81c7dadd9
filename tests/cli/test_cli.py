"""The command line: one line and exit code 2 for bad input, light help, one JSON document from
list."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sigprop.cli import run

BAD = [
    (["measure", "looped-mlp", "--width", "-64"], "width='-64'"),
    (["measure", "looped-mlp", "--width", "0"], "width='0'; accepted: an integer from 1"),
    (["measure", "looped-mlp", "--width", "64.5"], "width='64.5'"),
    (["measure", "looped-mlp", "--samples", "1"], "samples='1'; accepted: an integer from 2"),
    (["measure", "looped-mlp", "--seed", "-1"], "seed='-1'; accepted: an integer from 0"),
    (["measure", "looped-mlp", "--memory-mib", "lots"], "memory-mib='lots'"),
    (["measure", "looped-mlp", "--engine", "dens"], 'Did you mean "dense"'),
    (["measure", "looped-mlp", "--widht", "3"], "Did you mean --width"),
    (["measure", "looped-mlp", "--width"], "requires an argument"),
    (["measur", "looped-mlp"], 'Did you mean "measure"'),
    (["predict", "looped-mlp", "--no-shift"], "no-shift; accepted: with --width"),
    (["predict", "looped-mlp", "--over-tokens"], "over-tokens; accepted: with --width"),
    (["predict", "looped-mlp", "extra"], "extra"),
    (
        ["verify", "looped-mlp", "--tolerance", "-1"],
        "tolerance='-1'; accepted: a number between 0 and 1",
    ),
    (["verify", "looped-mlp", "--tolerance", "nan"], "tolerance='nan'"),
    (
        ["predict", "looped-mlp", "--set", "loops=0"],
        "loops='0'; accepted: an integer from 1 to 10^6",
    ),
    (["predict", "looped-mlp", "--set", "residual_scale=nan"], "residual_scale='nan'; accepted:"),
    (["predict", "looped-mlp", "--set", "depth=1e9"], "depth='1e9'; accepted:"),
    (["predict", "looped-mlp", "--set", "residual_scale=__import__('os')"], "residual_scale="),
    (
        ["predict", "looped-mlp", "--set", "residual_scale=1/(N-N)"],
        "residual_scale='1/(N-N)' has no finite value",
    ),
    (["predict", "looped-mlp", "--set", "residual_scale=" + "(" * 150], "nested deeper than"),
    (
        ["predict", "looped-mlp", "--set", "residual_scale=9**9**9**9"],
        "residual_scale='9**9**9**9'",
    ),
    (["predict", "looped-mlp", "--set", "lops=4"], "did you mean 'loops'?"),
    (["predict", "looped-mlp", "--set", "depth"], "set='depth'; accepted: key=value"),
    (["predict", "looped-mpl"], "did you mean 'looped-mlp'?"),
    (["predict"], "architecture: none given; accepted: one of"),
    (
        ["predict", "looped-mlp", "--config", "/nowhere/x.toml"],
        "config='/nowhere/x.toml': No such file",
    ),
    (
        ["predict", "looped-mlp", "--quantity", "residual_varianc"],
        "did you mean 'residual_variance'?",
    ),
    (
        ["predict", "looped-mlp", "--applications", "0..99999999"],
        "accepted: numbers and ranges a..b from 0 to 8",
    ),
    (["predict", "looped-mlp", "--applications", "-1"], "applications='-1'"),
    (["predict", "looped-mlp", "--applications", "4..2"], "applications='4..2'"),
    (["predict", "looped-mlp", "--out", "x.xlsx"], "out='x.xlsx'"),
    (
        ["predict", "looped-mlp", "--out", "/nowhere/x.json"],
        "out='/nowhere/x.json' cannot be written",
    ),
    (["verify", "--set", "depth=2"], "set='depth=2' without one architecture"),
    (["verify", "--against", "mlp"], "against='mlp' without one architecture"),
    (["verify", "looped-mlp", "--against-set", "a=1"], "without against"),
    (["verify", "looped-mlp", "--against", "residual-mpl"], "did you mean 'residual-mlp'?"),
    (
        ["verify", "looped-mlp", "--against", "residual-mlp", "--against-set", "depth=3"],
        "3 applications where 'looped-mlp' has 8",
    ),
    (
        ["verify", "looped-mlp", "--against", "residual-mlp", "--quantity", "weight_gradient"],
        "different rows",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "says"), BAD, ids=[" ".join(arguments)[:60] for arguments, _ in BAD]
)
@pytest.mark.parametrize("json_too", [False, True])
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], says: str, json_too: bool, calls: list, capfd: pytest.CaptureFixture[str]
):
    assert (
        run([*arguments, "--json"] if json_too and arguments[-1] != "--width" else arguments) == 2
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1 and says in err
    assert not calls


@pytest.mark.parametrize(
    "content",
    [
        b"depth = ",
        b"depth = 1\ndepth = 2",
        b"\xff\xfe",
        b"architecture = 3",
        b"depth = -1",
        b"dept = 1",
        b"depth = 1979-05-27",
    ],
)
def test_a_malformed_config_is_bad_input(
    content: bytes, tmp_path: Path, calls: list, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    assert run(["predict", "looped-mlp", "--config", str(path)]) == 2
    out, err = capfd.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and not calls


def test_bad_input_of_the_real_program():
    done = subprocess.run(
        [sys.executable, "-m", "sigprop", "measure", "looped-mlp", "--width", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sigprop: width='0'; accepted: an integer from 1 to 10^7\n"


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["list"]])
def test_help_loads_no_heavy_package(arguments: list[str]):
    code = f"import sys\nfrom sigprop.cli import run\ncode = run({arguments!r})\n"
    code += (
        "heavy = sorted({'jax', 'sympy', 'matplotlib', 'scipy'} & set(sys.modules))\n"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stderr


def test_list_prints_one_json_document(capfd: pytest.CaptureFixture[str]):
    assert run(["list", "--json"]) == 0
    out, err = capfd.readouterr()
    looped = next(
        entry for entry in json.loads(out)["architectures"] if entry["name"] == "looped-mlp"
    )
    assert (
        err == ""
        and looped["reference"] == "2606.18524"
        and "residual_variance" in looped["quantities"]
    )
    assert (
        set(looped["parameters"]["loops"]) == {"default", "help", "accepts"}
        and looped["parameters"]["loops"]["default"] == 8
    )
