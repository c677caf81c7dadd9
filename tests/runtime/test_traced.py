"""Traced programs on disk: one process traces, the next does not, and no number is another."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigprop.errors import InputError
from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.runtime import cache, compiling, fingerprint, memory, traced


class Published:
    """A function at the top of a module of the package, as each new process has it: what it was
    traced with, and itself, compiled with the first argument static."""

    def __init__(self, body: Callable[..., Any], monkeypatch: pytest.MonkeyPatch):
        self.body, self.seen = body, []
        self.module = ModuleType("sigprop.of_this_test")
        monkeypatch.setitem(sys.modules, self.module.__name__, self.module)

    def process(self) -> Callable[..., Any]:
        """The function in a process that has compiled nothing."""

        def body(k: Any, *given: Any) -> Any:
            self.seen.append(k)
            return self.body(k, *given)

        body.__module__, body.__qualname__ = self.module.__name__, "body"
        call = compiling.jit(static=(0,))(body)
        self.module.body = call  # type: ignore[attr-defined]
        return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test keeps traced programs."""
    monkeypatch.setattr(traced.State, "folder", str(tmp_path))
    monkeypatch.setattr(traced.State, "source", fingerprint.source())
    return tmp_path


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{traced.NAME}*{cache.ENTRY}"))


def scaled(k: Any, x: Any) -> Any:
    return jnp.cumsum(x) * k


def test_a_second_process_does_not_trace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And compiles as many programs, by its own count; another static argument, shape or type is
    another program."""
    published = Published(scaled, monkeypatch)
    x = np.linspace(0.1, 1, 7, dtype=np.float32)
    first = published.process()(3, x)
    assert published.seen == [3] and len(files(folder)) == 1
    before, second = compiling.COMPILED["body"], published.process()
    found = second(3, x)
    assert published.seen == [3] and compiling.COMPILED["body"] == before + 1
    assert np.asarray(found).tobytes() == np.asarray(first).tobytes()
    assert np.array_equal(found, np.asarray(scaled(3, x)))
    second(3, x + 1)
    assert len(second.programs) == 1  # type: ignore[attr-defined]
    for k, other in ((2, x), (3, x[:3]), (3, x.astype(np.int32))):
        second(k, other)
    assert published.seen == [3, 2, 3, 3] and len(files(folder)) == 4
    assert second.compiled().lower(3, x).as_text()  # type: ignore[attr-defined]
    assert published.seen == [3, 2, 3, 3, 3]


def test_nothing_is_kept_unless_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The companion: here every process traces."""
    published = Published(scaled, monkeypatch)
    for _ in range(2):
        published.process()(3, np.ones(2, dtype=np.float32))
    assert traced.State.folder is None and published.seen == [3, 3]


class Moments(NamedTuple):
    """A named tuple of somebody else."""

    mean: Any


WEAK = jax.lax.full_like  # of a Python number: a weak type
RESULTS: dict[str, tuple[Callable[..., Any], bool]] = {
    "a dictionary": (lambda k, x: {"b": x, "a": {"c": (x * k, [x], None)}}, True),
    "none": (lambda k, x: None, True),
    "an argument as it is": (lambda k, x: (x, jnp.zeros(k)), True),
    "a constant": (lambda k, x: jnp.asarray(np.arange(100.0, dtype=np.float32)), True),
    "an integer": (lambda k, x: (x > 0).sum(), True),
    "a decomposition": (lambda k, x: jnp.linalg.cholesky(jnp.outer(x, x) + jnp.eye(5)), True),
    "a loop": (
        lambda k, x: jax.lax.scan(lambda c, y: (c + y, c * y), jnp.float32(0), x),
        True,
    ),
    "normals": (lambda k, x: x + jax.random.normal(jax.random.key(k), x.shape), True),
    "a named tuple": (lambda k, x: Moments(x.mean()), False),
    "a weak type": (lambda k, x: jnp.sin(1.0), False),
    "a key": (lambda k, x: jax.random.key(k), False),
    "names that are no texts": (lambda k, x: {1: x}, False),
    "a call of Python": (
        lambda k, x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x),
        False,
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_every_make(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same trees, types and numbers from a process that traced, one that loaded, and one that
    does not keep programs; what files have no place for is traced each time."""
    body, kept = RESULTS[name]
    published = Published(body, monkeypatch)
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    found = [published.process()(3, x) for _ in range(2)]
    assert len(files(folder)) == kept and len(published.seen) == 1 if kept else published.seen
    monkeypatch.setattr(traced.State, "folder", None)
    found.append(published.process()(3, x))
    trees = [jax.tree.structure(each) for each in found]
    assert trees[0] == trees[1] == trees[2]
    for leaves in zip(*map(jax.tree.leaves, found), strict=True):
        kinds = [(leaf.dtype, leaf.shape, getattr(leaf, "weak_type", False)) for leaf in leaves]
        assert kinds[0] == kinds[1] == kinds[2]
        if not jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
            assert len({np.asarray(leaf).tobytes() for leaf in leaves}) == 1


TREES = st.recursive(
    st.one_of(st.just(0.0), st.none()),
    lambda inside: st.one_of(
        st.lists(inside, max_size=3),
        st.lists(inside, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inside, max_size=3),
    ),
    max_leaves=8,
)


@given(TREES)
def test_trees_are_put_together_again(tree: Any) -> None:
    leaves, structure = jax.tree.flatten(tree)
    text = json.dumps(traced.packed(structure))
    assert jax.tree.structure(traced.unpacked(json.loads(text), iter(leaves))) == structure


def test_what_jax_would_trace_anew_is_another_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within one process: names in trees, weak types, the configuration, and calls within other
    traces, of which a loaded program knows nothing."""
    published = Published(lambda k, x: jax.tree.map(lambda leaf: leaf * k, x), monkeypatch)
    call = published.process()
    x = jnp.ones(2)
    assert call(2, {"a": x, "b": 2 * x})["b"][0] == 4
    assert call(2, {"b": x, "c": 2 * x})["c"][0] == 4
    weak = jnp.broadcast_to(jnp.asarray(1.0), (2,))
    assert [call(2, leaf).weak_type for leaf in (x, weak, x)] == [False, True, False]
    assert np.array_equal(jax.vmap(lambda y: call(2, y))(x), 2 * x)


def test_the_configuration_is_looked_at_with_every_call(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was traced where types may be promoted does not serve where they may not."""
    published = Published(lambda k, x: x * np.int8(k), monkeypatch)
    call, x = published.process(), jnp.ones(2, dtype=jnp.bfloat16)
    for _ in range(2):
        with jax.numpy_dtype_promotion("standard"):
            assert call(2, x).tolist() == [2, 2]
        with pytest.raises(ValueError, match="promotion"):
            call(2, x)


def test_errors_of_the_function_are_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(k: Any, x: Any) -> Any:
        raise InputError("k=3; accepted: others")

    published = Published(refuse, monkeypatch)
    for _ in range(2):
        with pytest.raises(InputError, match="k=3; accepted: others"):
            published.process()(3, np.ones(2))
    assert len(published.seen) == 2 and not files(folder)


def test_what_does_not_fit_is_refused_by_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published(scaled, monkeypatch)
    monkeypatch.setattr(memory, "available", lambda: 1)
    for _ in range(2):
        call = published.process()
        with pytest.raises(InputError, match="a compiled program of these sizes"):
            call(2, np.ones(2**20, dtype=np.float32))
        assert not call.programs  # type: ignore[attr-defined]
    assert published.seen == [2]


def test_the_least_recently_used_goes_and_comes_from_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "MOST_PROGRAMS", 2)
    published = Published(scaled, monkeypatch)
    call = published.process()
    for k in (0, 1, 2, 0, 1, 2):
        assert float(call(k, np.ones(1, dtype=np.float32))[0]) == k
    assert published.seen == [0, 1, 2] and len(call.programs) == 2  # type: ignore[attr-defined]


TORN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a byte less": lambda content: content[:-1],
    "a letter": lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    "another format": lambda content: b"program",
    "another key": lambda content: zlib.compress(b"0" * 64 + zlib.decompress(content)[64:]),
    "no lines": lambda content: zlib.compress(b"program"),
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_or_foreign_file_is_replaced(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published(scaled, monkeypatch)
    x = np.ones(3, dtype=np.float32)
    published.process()(3, x)
    (path,) = files(folder)
    whole = path.read_bytes()
    path.write_bytes(TORN[name](whole))
    assert np.array_equal(published.process()(3, x), [3, 6, 9]) and published.seen == [3, 3]
    assert files(folder) == [path] and cache.whole(str(path))
    assert np.array_equal(published.process()(3, x), [3, 6, 9]) and published.seen == [3, 3]


def test_a_program_of_another_release_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published(scaled, monkeypatch)
    x = np.ones(3, dtype=np.float32)
    published.process()(3, x)
    (path,) = files(folder)
    content, release = path.read_bytes(), fingerprint._release
    with monkeypatch.context() as patch:
        patch.setattr(
            fingerprint, "_release", lambda name: "0.0.1" if name == "jax" else release(name)
        )
        published.process()(3, x)
    assert published.seen == [3, 3] and len(files(folder)) == 2 and path.read_bytes() == content


def test_what_is_not_known_is_traced_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's activation under a registered one's name, beside the registered one."""
    published = Published(lambda phi, x: phi.function(x), monkeypatch)
    x = np.linspace(-1, 1, 3, dtype=np.float32)
    for factor in (2, 3):
        mine = Activation("relu", lambda y, factor=factor: factor * y)
        assert np.array_equal(published.process()(mine, x), factor * x)
    assert not files(folder) and len(published.seen) == 2
    for _ in range(2):
        assert np.array_equal(published.process()(find("relu"), x), np.maximum(x, 0))
    assert len(files(folder)) == 1 and len(published.seen) == 3


def test_source_that_is_edited_while_a_process_runs_keeps_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it runs is not what the key would say."""
    published = Published(scaled, monkeypatch)
    now = iter(["edited", traced.State.source])
    monkeypatch.setattr(fingerprint, "source", lambda: next(now))
    published.process()(3, np.ones(2, dtype=np.float32))
    assert not files(folder)
    published.process()(3, np.ones(2, dtype=np.float32))
    assert len(files(folder)) == 1


def test_source_that_cannot_be_read_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def archived() -> str:
        raise NotADirectoryError

    monkeypatch.setattr(fingerprint, "source", archived)
    monkeypatch.setattr(traced.State, "folder", None)
    traced.keep(str(tmp_path))
    assert traced.State.folder is None


def test_a_folder_that_takes_nothing_is_a_remark(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line a process, and the same numbers."""
    said: list[str] = []
    monkeypatch.setattr(cache.State, "remark", said.append)
    monkeypatch.setattr(cache.State, "doubted", False)
    monkeypatch.setattr(traced.State, "folder", str(folder / "gone"))
    call = Published(scaled, monkeypatch).process()
    for k in (2, 3):
        assert np.array_equal(call(k, np.ones(2, dtype=np.float32)), [k, 2 * k])
    (line,) = said
    assert "\n" not in line and "not kept" in line and "SIGPROP_CACHE=off" in line


def test_a_program_that_this_jax_does_not_take_is_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Numbers come out, and nothing further is asked of the folder."""

    class Broken:
        def lower(self, *args: object) -> object:
            raise RuntimeError("another release")

    monkeypatch.setattr(traced.State, "folder", str(tmp_path))
    monkeypatch.setattr(compiling.traced, "program", lambda *given: Broken())
    assert float(compiling.jit(static=())(lambda x: x + 1)(2.0)) == 3.0
    assert traced.State.folder is None
