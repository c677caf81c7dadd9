"""Compiled programs: the least recently used one goes, the others stay; and what a test file may
compile is held by a table (tests/programs.toml)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from programs import TABLE, excess, most

from sigprop.errors import InputError
from sigprop.runtime import compiling, memory

ROOT = Path(__file__).parents[2]


def traced() -> tuple[Callable[..., jax.Array], list[int]]:
    """A compiled function of a static integer, and the integers that it was compiled for."""
    seen: list[int] = []

    @compiling.jit(static=(0,))
    def scaled(k: int, x: jax.Array) -> jax.Array:
        seen.append(k)
        return x * k

    return scaled, seen


def test_the_least_recently_used_program_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "MOST_PROGRAMS", 3)
    scaled, seen = traced()
    x = jnp.ones(4)
    for k in (0, 1, 2, 0, 3):
        assert float(scaled(k, x)[0]) == k
    assert seen == [0, 1, 2, 3]  # 3 in the place of 1, which was used before 2 and 0
    for k in (2, 0, 3):
        scaled(k, x)
    assert seen == [0, 1, 2, 3]
    scaled(1, x)
    assert seen == [0, 1, 2, 3, 1]
    for k in (0, 3):
        scaled(k, x)
    assert seen == [0, 1, 2, 3, 1]
    scaled(2, x)
    assert seen == [0, 1, 2, 3, 1, 2]


def test_what_went_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many programs are loaded after twelve as after four."""
    monkeypatch.setattr(compiling, "MOST_PROGRAMS", 2)
    scaled, _ = traced()
    client, loaded = jax.devices()[0].client, []
    for k in range(12):
        scaled(k, jnp.ones(4))
        loaded.append(len(client.live_executables()))
    assert loaded[-1] == loaded[3]


def test_no_program_is_kept_where_memory_maps_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of every function go, and what is called again is compiled again."""
    (one, seen), (two, _) = traced(), traced()
    x = jnp.ones(4)
    one(1, x), two(1, x), two(2, x)
    monkeypatch.setattr(memory, "maps", lambda: 1.0)
    two(1, x)  # compiled before: nothing to make room for
    assert len(one.programs) == 1
    assert len(two.programs) == 2
    two(3, x)
    assert len(one.programs) == 0
    assert len(two.programs) == 1
    assert float(one(1, x)[0]) == 1
    assert seen == [1, 1]


def test_programs_that_go_give_their_maps_back() -> None:
    scaled, _ = traced()
    before = memory.maps()
    for k in range(6):
        scaled(k, jnp.ones(4))
    held = memory.maps()
    assert held > before
    compiling.make_room(0.0)
    assert memory.maps() < held


def test_programs_are_counted() -> None:
    """One for each static value, shape and dtype; none for a call that has been made."""
    scaled, _ = traced()
    before = compiling.COMPILED["scaled"]
    for x in (jnp.ones(4), jnp.ones(4), jnp.ones(5), jnp.ones(4, dtype=jnp.int32)):
        scaled(2, x)
    assert compiling.COMPILED["scaled"] - before == 3


def test_what_does_not_fit_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled, _ = traced()
    monkeypatch.setattr(memory, "available", lambda: 1)
    for _ in range(2):
        with pytest.raises(InputError, match="a compiled program of these sizes"):
            scaled(2, jnp.ones(2**20))


def test_the_table_names_files_that_are_there() -> None:
    table = most()
    assert all((ROOT / name).is_file() for name in table if name != "default")
    assert all(table[name] > 0 for name in table)


def test_one_program_too_many_is_said() -> None:
    table = {"default": 3, "tests/a.py": 5}
    assert excess("tests/a.py", 5, table) is excess("tests/b.py", 3, table) is None
    said = excess("tests/a.py", 6, table)
    assert said is not None and "6 programs" in said and "5" in said and "\n" not in said
    assert f"tests/{TABLE.name}" in said and excess("tests/b.py", 4, table) is not None


@pytest.mark.parametrize(("count", "code"), [(2, 0), (3, 1)])
def test_a_file_that_compiles_too_much_fails(tmp_path: Path, count: int, code: int) -> None:
    """The companion: pytest itself, with the suite's conftest, over a file of its own."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "programs.toml").write_text("default = 2\n")
    (tests / "conftest.py").write_text(
        f"import programs\nprograms.TABLE = programs.Path({str(tests / 'programs.toml')!r})\n"
        "from programs import few_programs\n"
    )
    (tests / "test_it.py").write_text(
        "import jax.numpy as jnp\nfrom sigprop.runtime.compiling import jit\n"
        "@jit(static=(0,))\ndef f(k, x):\n    return k * x\n"
        f"def test_it():\n    for k in range({count}):\n        f(k, jnp.ones(1))\n"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    folders = f"pythonpath={ROOT / 'tests' / 'helpers'} {ROOT}"
    done = subprocess.run(
        [*words, "-o", folders, "--rootdir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert ("tests/test_it.py: 3 programs compiled" in done.stdout) == bool(code)
