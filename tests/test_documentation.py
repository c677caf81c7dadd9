"""Every command and every Python block of README and docs runs, and prints what the pages say it
prints.

Commands go through the command line in process; long ones in a shorter form that ``QUICK`` states.
The Python blocks of a page share their names in order, as one session. ``EXCLUDED`` says what does
not run here, and why.
"""

from __future__ import annotations

import ast
import math
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import documents
import numpy as np
import pytest
from documents import PAGES, ROOT, Command, differences, name, python, shell, spans, watched

import sigprop as sp
from sigprop.cli import run
from sigprop.registry import entries as registry
from sigprop.tables.table import Table

TORCH = "torch is an extra that the tests do not install; tests/reading/test_page.py runs it"
FLAX = "flax is an extra that the tests do not install; tests/jaxmodules/test_page.py runs it"
INSTALLS = ".ci/run types it as it stands in a fresh environment"
EXCLUDED = {
    "sigprop study run FILE.toml": "docs/studies.md shows such a file; its commands run there",
    "python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e . && "
    ".venv/bin/sigprop verify --quick": INSTALLS,
    'python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e ".[test]" && '
    ".venv/bin/pytest -q": INSTALLS,
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e .": INSTALLS,
    "sigprop inspect mymodel.py:build": TORCH,
    "sigprop inspect mymodel.py:build --scatter": TORCH,
    "sigprop inspect --hf gpt2 --set n_layer=4": TORCH,
}
# four programs of two applications
FEW = "--set loops=2 --set matrices=1 --variable width --samples 4 --steps 1"
QUICK = {
    "sigprop predict looped-mlp --width 768 --no-shift": "sigprop predict looped-mlp --width 768 "
    "--no-shift --quantity residual_variance",
    "sigprop measure looped-mlp --width 512 --samples 1000": "sigprop measure looped-mlp --width "
    "32 --samples 8 --quantity "
    "residual_variance",
    "sigprop measure looped-mlp --width 65536 --engine matrix-free": (
        "sigprop measure looped-mlp --width 1024 --samples 4 --engine matrix-free --quantity "
        "residual_variance"
    ),
    "sigprop verify looped-mlp --tolerance 0.01": "sigprop verify looped-mlp --tolerance 0.05 "
    "--quantity residual_variance",
    "sigprop verify looped-mlp --against residual-mlp": "sigprop verify looped-mlp --against "
    "residual-mlp --quick",
    "sigprop train looped-transformer --set loops=4 --rate 1e-3,3e-3": "sigprop train "
    "looped-transformer --set loops=4 --set tokens=8 --rate 1e-3,3e-3 --steps 2 --width 16",
    "sigprop verify looped-mlp --exponents": "sigprop verify mlp --set activation=linear --set "
    "c_b=none --exponents --width 16 --tolerance 0.5",
    'sigprop exponents looped-mlp --set "residual_scale=1/N**0.5"': "sigprop exponents looped-mlp "
    '--set "residual_scale=1/N**0.5" --symbols',
    "sigprop exponents looped-mlp --set 'residual_scale=1/N**0.5' --set activation=tanh": (
        "sigprop exponents looped-mlp --set 'residual_scale=1/N**0.5' --set activation=tanh "
        "--symbols"
    ),
    "sigprop check looped-mlp": f"sigprop check looped-mlp --plot check.png {FEW}",
    "sigprop check looped-mlp --optimizer adamw --plot check.png": f"sigprop check looped-mlp "
    f"--plot check.png {FEW}",
    "sigprop check looped-mlp --parametrisation naive": f"sigprop check looped-mlp "
    f"--parametrisation naive {FEW}",
    "sigprop check looped-mlp --optimizer sgd --plot check.png": f"sigprop check looped-mlp "
    f"--optimizer sgd --plot "
    f"check.png {FEW}",
    "sigprop check looped-mlp --optimizer muon": f"sigprop check looped-mlp --optimizer muon {FEW}",
    "sigprop figures --quick --out figures": "sigprop figures width-schedule --quick --out figures",
}
"""What stands on a page: what runs instead. Both are the same command."""

CODES = {
    "sigprop verify looped-mlp --against residual-mlp": 1,
    "sigprop check looped-mlp --parametrisation naive": 1,
}
"""Commands whose exit code is not 0: the pages say that they are rejected."""

WITHOUT = {
    "from torch import nn": TORCH,
    "from flax import nnx": FLAX,
    "sp.read(build": TORCH,
    "torch.optim.AdamW": "torch is an extra that the tests do not install; "
    "tests/prescriptions/test_prescribed_objects.py runs it where it is",
    "sp.torch_optimizers": "torch is an extra that the tests do not install; "
    "tests/prescriptions/test_muon_objects.py runs it where it is",
}
"""Python blocks that hold this and do not run."""

SHORTER = {
    "docs/exponents.md": ("sp.exponents(arch)", "sp.exponents(arch, numbers=False)"),
    "docs/own-network.md": (
        "sp.verify(arch, tolerance=0.05)",
        'sp.verify(arch, tolerance=0.05, quantities=["residual_variance"])',
    ),
    "README.md": (
        'quantities=["residual_variance", "state_cosine"])',
        'quantities=["residual_variance"])',
    ),
}
"""Page: (what stands there, what runs instead)."""


def commands() -> list[Command]:
    found = [command for page in PAGES for command in shell(page)]
    return [command for command in found if command.text not in EXCLUDED]


FOLDERS: dict[str, Path] = {}
"""Of pages with files: where their commands run, one after another."""


def files(page: str) -> dict[str, str]:
    """The files that a page shows: toml blocks whose first line says their name."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^```toml\n# (\S+\.toml)\n(.*?)^```", text, flags=re.M | re.S))


DONE: dict[str, int] = {}  # exit codes of what ran without output to compare


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command", commands(), ids=lambda command: f"{command.page}: {command.text}"
)
def test_a_command_runs_and_prints_what_is_shown(
    command: Command,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(FOLDERS.setdefault(command.page, folder) if files(command.page) else folder)
    for file, content in files(command.page).items():
        Path(file).write_text(content, encoding="utf-8")
    text = QUICK.get(command.text, command.text)
    if command.shown or text not in DONE:
        DONE[text] = run(Command(command.page, text, "").words[1:])
    out, err = capfd.readouterr()
    assert DONE[text] == CODES.get(command.text, 0), err
    if command.shown:
        assert text == command.text, "what is shown must be what the command prints as it stands"
        assert not differences(command.shown, out)


def test_only_sigprops_own_commands_run_and_every_exception_is_one():
    """Nothing is left out unsaid; nothing in the tables is a command that no page has, or
    another command."""
    every = {command.text for page in PAGES for command in shell(page)}
    assert len(every) > 20 and all(text.startswith("sigprop ") for text in every - set(EXCLUDED))
    assert set(EXCLUDED) | set(QUICK) | set(CODES) <= every
    for text, shorter in QUICK.items():
        assert shorter.split()[:2] == text.split()[:2]
        options = set(re.findall(r"--[\w-]+", text)) - {"--optimizer"}  # adamw is the default
        assert options <= set(re.findall(r"--[\w-]+", shorter)), text


# Python
# --------------------------------------------------------------------------------------------------


def variances(table: Table) -> list[float]:
    return [row["value"] for row in table.filter(quantity="residual_variance")]


def nag(table: Table) -> None:
    at = {
        (row["quantity"], row["application"], row.get("application_2")): row["value"]
        for row in table.filter(token=0)
    }
    assert at["log_norm", 64, None] == pytest.approx(math.log(65) / 2, rel=1e-12)
    assert at["rotation", 64, None] == pytest.approx(801.42, abs=0.005)
    assert at["state_cosine", 0, 64] == pytest.approx(1 / math.sqrt(65), rel=1e-12)


def deepscalelm(table: Table) -> None:
    assert np.allclose(variances(table), 1, rtol=0, atol=0.032)


def e_spa(table: Table) -> None:
    assert np.allclose(variances(table), 1, rtol=0, atol=1e-6)
    pairs = [
        (row["token"], row["token_2"], row["value"])
        for row in table.filter(quantity="token_covariance")
    ]
    assert len(pairs) == 64 * 63 // 2
    assert all(
        value == pytest.approx(math.exp(-0.005 * (j - i)), rel=1e-6) for i, j, value in pairs
    )


def savings(table: Table) -> None:
    rows = {row["quantity"]: row for row in table}
    parameters = rows["parameters"]
    assert (round(parameters["value"] / 1e6, 1), round(parameters["reference"] / 1e6, 1)) == (
        233.5,
        233.2,
    )
    assert (
        round(100 * rows["flops"]["saving"], 2) == 3.20
        and round(100 * rows["kv_cache"]["saving"], 2) == 10.00
    )


CLAIMS: dict[str, Callable[[Any], None]] = {
    "1/2 log 65, 801.42 degrees, rho_l / rho_l'": nag,
    "1 to within 3.2 % at every application": deepscalelm,
    "1, and exp(-0.005 |i - j|)": e_spa,
    "parameters 233.5 M (uniform 233.2 M), FLOPs -3.20 %, cache -10.00 %": savings,
}
"""What a comment in words says of an expression, as a check of its value."""


def check_comment(comment: str, value: Any) -> None:
    """A number agrees to the digits shown, a text is equal, words have a check in ``CLAIMS``."""
    if comment in CLAIMS:
        CLAIMS[comment](value)
        return
    shown = ast.literal_eval(comment)
    if isinstance(shown, float):
        digits = len(re.sub(r"e.*|\D", "", comment).lstrip("0"))
        shown, value = f"{shown:.{digits}g}", f"{value:.{digits}g}"
    assert value == shown


@pytest.fixture
def registered() -> Iterator[None]:
    """What a page registers is known in its session only: other tests list what the package
    registers."""
    assert sp.architectures.mlp  # the package's own are there, whichever page comes first
    before = set(registry.registered())
    yield
    for added in set(registry._ENTRIES) - before:
        registry._ENTRIES.pop(added)
        registry._FUNCTIONS.pop(added)


def blocks(page: Path) -> list[str]:
    found = [code for code in python(page) if not any(word in code for word in WITHOUT)]
    before, after = SHORTER.get(name(page), ("", ""))
    return [code.replace(before, after) if before else code for code in found]


def session(page: Path, folder: Path, shown: Callable[[str, Any], None]) -> None:
    known: dict[str, Any] = {"sp": sp, "shown": shown}
    for i, code in enumerate(blocks(page)):
        file = folder / f"block{i}.py"
        file.write_text(watched(code), encoding="utf-8")
        known |= {
            key: value
            for key, value in runpy.run_path(str(file), known).items()
            if not key.startswith("__")
        }


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)], ids=name)
def test_the_python_blocks_of_a_page_run_in_order(
    page: Path, folder: Path, registered: None, capfd: pytest.CaptureFixture[str]
):
    seen: list[str] = []

    def shown(comment: str, value: Any) -> None:
        check_comment(comment, value)
        seen.append(comment)

    session(page, folder, shown)
    code = "\n".join(blocks(page))
    assert len(seen) == watched(code.replace("from __future__ import annotations", "")).count(
        "shown("
    )
    said = [
        line.rpartition("# ")[2].strip()
        for line in code.splitlines()
        if line.startswith("print(") and "# " in line
    ]
    if said and said[-1] in ("confirmed", "rejected"):
        assert capfd.readouterr().out.splitlines()[-1] == said[-1]


def test_the_tables_of_python_are_about_what_the_pages_have():
    every = {name(page): "\n".join(python(page)) for page in PAGES}
    assert all(before in every[page] for page, (before, _) in SHORTER.items())
    assert all(any(word in code for code in every.values()) for word in WITHOUT)
    assert all(any(f"# {comment}" in code for code in every.values()) for comment in CLAIMS)


def test_the_readmes_example_is_ten_lines():
    (code,) = python(ROOT / "README.md")
    assert len(code.strip().splitlines()) <= 12


# Commands inside sentences
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_command_in_a_sentence_has_the_options_that_it_names(
    page: Path, capfd: pytest.CaptureFixture[str]
):
    from sigprop.paper_figures import figures

    for text in spans(page, "sigprop"):
        command, *rest = text.split()[1:]
        inner = rest[:1] if command == "study" else []
        assert run([command, *inner, "--help"]) == 0, text
        known = capfd.readouterr().out
        assert all(option in known for option in re.findall(r"--[\w-]+", text)), text
        if command == "figures":
            names = [
                word
                for word in rest
                if not word.startswith("-") and word not in ("DIR", "NAME", "NAME...")
            ]
            assert set(names) <= set(figures()), text
    for text in spans(page, "python"):
        assert (ROOT / text.split()[1]).is_file(), text


# The reading itself
# --------------------------------------------------------------------------------------------------


def test_an_output_that_changed_is_seen():
    """The companion: a word, a number in its third digit, a line more, a line less, each is a
    difference; 1e-5 is not."""
    shown = (
        "x (predict): depth=1, ...\n\nquantity  value\n--------  -----\nntk  0.942331\nntk  -1e-13"
    )
    assert not differences(shown, shown.replace("...", "loops=2, c_b=0"))
    assert not differences(
        shown, shown.replace("0.942331", " 0.942335").replace("-----", "-------")
    )
    for before, after in (
        ("ntk  0.9", "nkt  0.9"),
        ("0.942331", "0.943331"),
        ("-1e-13", "1e-13"),
        ("depth=1", "depth=2"),
        ("value", "values"),
    ):
        assert differences(shown, shown.replace(before, after)), before
    assert differences(shown, shown + "\nmore") and differences(shown, shown.rpartition("\n")[0])


def test_a_value_that_is_not_what_its_comment_says_is_seen():
    check_comment("6.63e-05", 6.6291e-05)
    check_comment("'Max(0, 1 - alpha)'", "Max(0, 1 - alpha)")
    grown = sp.predict(sp.architectures.residual_mlp(depth=2))
    for comment, value in (
        ("6.63e-05", 6.58e-05),
        ("'a'", "b"),
        ("1 to within 3.2 % at every application", grown),
    ):
        with pytest.raises(AssertionError):
            check_comment(comment, value)
    with pytest.raises(SyntaxError):
        check_comment("words without a check", 1)
    assert watched("f(\n    1,\n)  # 3\ng(2)\n") == "shown('3', f(1))\ng(2)\n"


def test_commands_are_read_as_they_are_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = tmp_path / "page.md"
    page.write_text(
        '```text\n$ sigprop list   what there is\n$ sigprop a --set "b=1 / '
        'N"\nc\n\nd\n```\n```sh\nsigprop e  # f\n```\n'
    )
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    assert [(c.words, c.shown) for c in shell(page)] == [
        (["sigprop", "list"], ""),
        (["sigprop", "a", "--set", "b=1 / N"], "c\n\nd"),
        (["sigprop", "e"], ""),
    ]
