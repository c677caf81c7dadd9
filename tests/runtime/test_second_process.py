"""Two processes of one command: the second traces nothing, and says what the first one said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import COMMAND, ROOT, SMALL, environment, ran

from sigprop.runtime import cache, traced
from sigprop.runtime.processes import processes

MEASURE = ["measure", "mlp", "--set", "depth=2", "--width", "8", "--samples", "4", "--json"]
ATTENTION = ["predict", "transformer", "--set", "depth=1", "--quantity", "residual_variance"]
COMMANDS = {
    "predict": SMALL,
    "measure": MEASURE,
    "measure in float64": [*MEASURE, "--dtype", "float64"],
    "attention": [*ATTENTION, "--json"],
}
NO_TRACE = """
import sys
from sigprop.runtime import traced
def refuse(function, *_):
    raise RuntimeError(f"{function.__name__} is traced")
traced._traced = refuse
sys.argv = ["sigprop", *sys.argv[1:]]
from sigprop.cli import main
main()
"""


def command(home: Path, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return ran(home, ["-m", "sigprop", *words], **more)


def without_tracing(home: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """The command in a process that may not trace what can be kept."""
    return ran(home, ["-c", NO_TRACE, *words, "--debug"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_command_traces_nothing_and_says_the_same(name: str, tmp_path: Path) -> None:
    """To the last bit of every number, and as without the cache; in an empty folder the process
    that may not trace fails."""
    words = COMMANDS[name]
    failed = without_tracing(tmp_path / "empty", words)
    assert failed.returncode == 70 and "is traced" in failed.stderr
    said = [command(tmp_path, words), without_tracing(tmp_path, words)]
    said.append(command(tmp_path, [*words, "--no-cache"]))
    assert [(done.returncode, done.stderr) for done in said] == [(0, "")] * 3
    assert json.loads(said[0].stdout) and len({done.stdout for done in said}) == 1


@pytest.mark.parametrize("on", [True, False])
def test_processes_of_a_command_keep_programs_where_it_does(
    on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path) if on else None
    monkeypatch.setattr(traced.State, "folder", folder)
    with processes(1) as pool:
        assert pool.submit(getattr, traced.State, "folder").result() == folder
        assert bool(pool.submit(getattr, traced.State, "source").result()) == on


@pytest.mark.parametrize(("given", "found"), [(None, "false"), ("true", "true")])
def test_processes_of_a_command_leave_room_on_a_gpu(
    given: str | None, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """jax takes three quarters of its memory unless it is told otherwise; what a user says
    counts."""
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    monkeypatch.setattr(traced.State, "folder", None)
    monkeypatch.delenv(name, raising=False) if given is None else monkeypatch.setenv(name, given)
    with processes(1) as pool:
        assert pool.submit(os.getenv, name).result() == found
    assert os.environ.get(name) == given


def test_edited_source_is_traced_anew(tmp_path: Path) -> None:
    """A constant, in a file of the same length and time: the number is the edited source's, with
    the cache and without; and taken back, the first one's."""
    package = tmp_path / "package"
    shutil.copytree(
        ROOT / "sigprop", package / "sigprop", ignore=shutil.ignore_patterns("__pycache__")
    )
    edited = package / "sigprop" / "language" / "activations.py"
    source, home = edited.read_text(), tmp_path / "home"
    more = {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def numbers(*switches: str) -> str:
        os.utime(edited, (1.7e9, 1.7e9))
        done = command(home, [*MEASURE, *switches], **more)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    first = numbers()
    edited.write_text(source.replace("jnp.where(x > 0, x, 0.0)", "jnp.where(x > 0, x, 9.0)"))
    second = numbers()
    assert first != second == numbers("--no-cache")
    edited.write_text(source)
    assert numbers() == first


def test_several_processes_write_whole_files(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(COMMAND, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate(timeout=300)[0] for process in processes}) == 1
    (folder,) = (tmp_path / "sigprop").iterdir()
    paths = sorted(folder.glob(f"{traced.NAME}*{cache.ENTRY}"))
    assert paths and all(len(path.name) == len(paths[0].name) for path in paths)
    for path in paths:
        key = path.name.removeprefix(traced.NAME).removesuffix(cache.ENTRY)
        assert traced.read(str(path), key) is not None and traced.read(str(path), "0") is None
    assert command(tmp_path, SMALL).returncode == 0
