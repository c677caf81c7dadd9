"""The cache of compiled programs: where it is, what is removed from it, and that nothing that
happens to it is a failure."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

import commands
import pytest
from commands import COMMAND, environment

from sigprop.runtime import cache

DEAD = "2147483646"  # no process has that number


def ran(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return commands.ran(home, [*COMMAND[1:], *words], **more)


def programs(home: Path) -> dict[str, bytes]:
    """Every program's file below a folder."""
    return {path.name: path.read_bytes() for path in home.rglob(f"*{cache.ENTRY}")}


def passes(names: Iterable[str]) -> set[str]:
    """The passes' programs. Small ones are worth keeping or not, as busy as the machine is."""
    return {name for name in names if name.startswith("jit_run-")}


def written(path: Path, content: bytes, age: float = 0.0) -> Path:
    """A file of that age in seconds."""
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(cache.SWITCH, raising=False)
    one = cache.folder()
    assert one is not None and Path(one).parent == tmp_path / "sigprop" and one == cache.folder()
    monkeypatch.setenv(cache.SWITCH, str(tmp_path / "else"))
    assert Path(cache.folder() or "").parent == tmp_path / "else"
    for off in ("off", "OFF"):
        monkeypatch.setenv(cache.SWITCH, off)
        assert cache.folder() is None


def test_torn_files_of_dead_processes_are_removed(tmp_path: Path):
    """Those written since the process began; those before it, and those of processes that run,
    are not even read."""
    program = zlib.compress(os.urandom(10_000))
    whole = written(tmp_path / f"a{cache.ENTRY}", program)
    torn = [
        written(tmp_path / f"{name}{cache.ENTRY}", content)
        for name, content in (
            ("b", program[:-1]),
            ("c", b""),
            ("d", program[:100]),
            ("e", b"x" * 50),
        )
    ]
    old = written(tmp_path / f"f{cache.ENTRY}", program[:100], age=100.0)
    written(tmp_path / f"{os.getpid()}{cache.MARK}", b"", age=10.0)
    cache.mend(str(tmp_path))
    assert all(path.exists() for path in torn)
    mark = written(tmp_path / f"{DEAD}{cache.MARK}", b"", age=10.0)
    cache.mend(str(tmp_path))
    assert (
        whole.exists()
        and old.exists()
        and not mark.exists()
        and not any(path.exists() for path in torn)
    )
    assert (tmp_path / f"{os.getpid()}{cache.MARK}").exists()


def test_the_least_used_programs_go(tmp_path: Path):
    for age in range(8):
        written(tmp_path / f"{age}{cache.ENTRY}", b"x" * 100, age=60.0 * age)
    cache.prune(str(tmp_path), 800)
    assert len(os.listdir(tmp_path)) == 8
    cache.prune(str(tmp_path), 799)
    # 500 <= 3/4 of 799 < 600
    assert sorted(os.listdir(tmp_path)) == [f"{age}{cache.ENTRY}" for age in range(5)]


def test_a_second_process_compiles_nothing_and_says_the_same(tmp_path: Path):
    first = ran(tmp_path)
    kept = programs(tmp_path)
    second = ran(tmp_path)
    assert (first.returncode, first.stderr) == (second.returncode, second.stderr) == (0, "")
    after = programs(tmp_path)
    assert first.stdout == second.stdout
    assert passes(kept) and passes(kept) == passes(after)
    assert [name for name in kept if after.get(name) != kept[name]] == []
    assert not list(tmp_path.rglob(f"*{cache.MARK}"))


@pytest.mark.parametrize(("words", "more"), [(["--no-cache"], {}), ([], {cache.SWITCH: "off"})])
def test_the_cache_can_be_off(tmp_path: Path, words: list[str], more: dict[str, str]):
    done = ran(tmp_path, *words, **more)
    assert (done.returncode, done.stderr) == (0, "") and not list(tmp_path.iterdir())


def test_a_torn_program_is_compiled_again_and_kept(tmp_path: Path):
    """As after a power cut: the file is torn and nobody's mark tells of it. The first process
    works, the second one mends."""
    whole = ran(tmp_path)
    kept = programs(tmp_path)
    for path in tmp_path.rglob(f"*{cache.ENTRY}"):
        written(path, path.read_bytes()[:500], age=1000.0)
    after = [ran(tmp_path) for _ in range(2)]
    assert [(done.returncode, done.stderr, done.stdout) for done in after] == [
        (0, "", whole.stdout)
    ] * 2
    assert (
        passes(kept)
        and passes(kept) <= programs(tmp_path).keys()
        and all(cache.whole(str(path)) for path in tmp_path.rglob(f"*{cache.ENTRY}"))
    )


def test_kill_at_any_moment(tmp_path: Path):
    """SIGKILL at six moments of a first run, then a run that is as ever."""
    for tenths in (6, 10, 14, 18, 22, 30):
        process = subprocess.Popen(
            COMMAND, env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(tenths / 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = ran(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(cache.whole(str(path)) for path in tmp_path.rglob(f"*{cache.ENTRY}")) and not list(
        tmp_path.rglob(f"*{cache.MARK}")
    )


def test_several_processes_at_once(tmp_path: Path):
    processes = [
        subprocess.Popen(
            COMMAND,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = {process.communicate(timeout=300) for process in processes}
    assert (
        len(said) == 1
        and {process.returncode for process in processes} == {0}
        and next(iter(said))[1] == ""
    )
    assert programs(tmp_path) and all(
        cache.whole(str(path)) for path in tmp_path.rglob(f"*{cache.ENTRY}")
    )


def test_a_folder_that_cannot_be_used_is_a_remark(tmp_path: Path):
    file = written(tmp_path / "file", b"")
    done = ran(file)
    assert done.returncode == 0 and done.stdout == ran(tmp_path / "else").stdout
    assert (
        done.stderr.count("\n") == 1
        and "compiled programs are not kept" in done.stderr
        and "SIGPROP_CACHE=off" in done.stderr
    )


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limits of file sizes")
def test_a_full_disk_is_a_remark(tmp_path: Path):
    """Files may have 100 bytes: the mark can be written, programs cannot."""
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    )
    code = (
        f"{limit}; import sys; sys.argv = ['sigprop', *{COMMAND[3:]!r}]; from sigprop.cli "
        f"import main; main()"
    )
    done = commands.ran(tmp_path, ["-c", code])
    assert done.returncode == 0 and done.stdout == ran(tmp_path / "else").stdout
    assert done.stderr.count("\n") == 1 and "compiled programs are not kept" in done.stderr
