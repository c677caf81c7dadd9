"""What tells two traced programs apart: everything that may differ gives another text, and what is
not known gives none."""

from __future__ import annotations

import enum
import functools
import math
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sigprop as sp
from sigprop.language.activations import LeakyRelu, find
from sigprop.language.expression import Activate, Linear, Read
from sigprop.language.nodes import Gate
from sigprop.language.scalar import Constant, Number
from sigprop.runtime import fingerprint
from sigprop.runtime.fingerprint import Unknown, arguments, described
from sigprop.theory.recursion.passes import run
from sigprop.theory.recursion.program import shared_program


class Colour(enum.Enum):
    """An enumeration of somebody else."""

    RED = 1


class Pair(NamedTuple):
    """A named tuple of somebody else."""

    a: int


@dataclass(frozen=True)
class Mine:
    """A dataclass of somebody else."""

    a: int = 1


def square(x: Any) -> Any:
    """A function of somebody else."""
    return x * x


def with_activation(activation: Any) -> Any:
    return Activate(activation, Linear("w", Read(), Constant(1)))


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.floats(width=16),
    st.text("a, ()'1", max_size=3),
    st.fractions(-1, 1, max_denominator=2),
    st.binary(max_size=2),
)
VALUES = st.recursive(PLAIN, lambda inside: st.lists(inside, max_size=3).map(tuple), max_leaves=6)


def same(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit and type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or math.isnan(a) and math.isnan(b)
    return a == b


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_texts_are_equal_where_values_are(a: Any, b: Any) -> None:
    assert (described(a) == described(b)) == same(a, b)
    assert described((a, b)) != described((a, b, None)) != described(((a, b), None))


GRAM = np.array([[1.0, 0.5], [0.5, 1.0]])
DIFFERENT = {
    "one and true": (1, True),
    "one and one": (1, 1.0),
    "one and its text": (1, "1"),
    "none and its text": (None, "None"),
    "signs of zero": (0.0, -0.0),
    "a half": (Fraction(1, 2), 0.5),
    "commas": (("a", "b"), ("a', 'b",)),
    "brackets": ((1, (2,)), ((1, 2),)),
    "sets": (frozenset({1}), frozenset({1, 2})),
    "a set and a tuple": (frozenset({1}), (1,)),
    "values of mappings": ({"a": 1}, {"a": 1.0}),
    "keys of mappings": ({"a": 1}, {"b": 1}),
    "a mapping and its entries": ({"a": 1}, (("a", 1),)),
    "types of arrays": (GRAM, GRAM.astype(np.float32)),
    "shapes": (GRAM, GRAM.ravel()),
    "entries": (GRAM, GRAM + np.eye(2) * 2.0**-52),
    "signs of entries": (np.zeros(1), -np.zeros(1)),
    "numbers of numpy": (np.float32(1), np.float64(1)),
    "an array and a number": (np.float64(1), np.ones(())),
    "types of the same fields": (Read(1), sp.State(1)),
    "a field": (Linear("w", Read(), Constant(1)), Linear("w", Read(), Constant(2))),
    "a name": (Linear("w", Read(), Constant(1)), Linear("v", Read(), Constant(1))),
    "a field further in": (
        Gate(Number("c"), Linear("w", Read(0), Constant(1)), "g"),
        Gate(Number("c"), Linear("w", Read(1), Constant(1)), "g"),
    ),
    "latex": (Number("c"), Number("c", "C")),
    "activations": (with_activation("relu"), with_activation("gelu")),
    "slopes": (with_activation("leaky-relu(0.1)"), with_activation("leaky-relu(0.2)")),
    "orders": (Activate("relu", Read()), Activate("relu", Read(), 1)),
    "compositions": (
        Activate("relu", Activate("tanh", Read())),
        Activate("tanh", Activate("relu", Read())),
    ),
    "functions of one name": (
        find("relu"),
        sp.Activation("relu", find("tanh").function, find("relu").latex),
    ),
    "functions": (find("relu").function, find("gelu").function),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_may_differ_differs(name: str) -> None:
    a, b = DIFFERENT[name]
    assert described(a) == described(a) != described(b) == described(b)


def test_the_order_of_a_set_is_none() -> None:
    names = [f"w{k}" for k in range(20)]
    assert described(frozenset(names)) == described(frozenset(reversed(names)))
    assert described(dict.fromkeys(names)) == described(dict.fromkeys(reversed(names)))


BIG = {"depth": 2}


@pytest.mark.parametrize("name", ["looped-mlp", "transformer", "nag", "u-spa", "variable-width"])
def test_structures_of_registered_architectures_have_a_text(name: str) -> None:
    """The same for one that is built again, another for one of another norm or with a branch
    more."""
    from sigprop.architectures import entry

    texts = [
        described(shared_program(arch).structure)
        for arch in (entry(name).build(**BIG) for _ in range(2))
    ]
    assert texts[0] == texts[1]
    structure = shared_program(entry(name).build(**BIG)).structure
    less = replace(structure, blocks=structure.blocks[:-1], weights=structure.weights[:-1])
    assert described(less) != texts[0]


UNKNOWN: dict[str, Any] = {
    "a function of somebody else": square,
    "a lambda": lambda x: x,
    "a function within a function": functools.wraps(square)(lambda x: x),
    "a partial": functools.partial(jnp.add, 1),
    "a method": LeakyRelu(0.1).__call__,
    "a dataclass of somebody else": Mine(),
    "its type": Mine,
    "a named tuple of somebody else": Pair(1),
    "an enumeration of somebody else": Colour.RED,
    "an object": object(),
    "a list": [1],
    "a module": math,
    "objects in an array": np.array([object()]),
    "a function of another library": math.sin,
    "a function of numpy": np.sin,
    "an activation of somebody else": sp.Activation("relu", square),
    "one further in": (1, (with_activation(sp.Activation("square", square)),)),
    "one composed": Activate("relu", with_activation(sp.Activation("square", square))),
    "one in a set": frozenset({square}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_has_no_text(name: str) -> None:
    with pytest.raises(Unknown):
        described(UNKNOWN[name])


def test_functions_of_jax_are_known() -> None:
    assert described(jnp.tanh) != described(jnp.sin)
    assert described(jax.nn.relu) == described(jax.nn.relu)


def test_a_function_in_the_place_of_another_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is ours, and stands where ours stood: but what was given is not that."""
    from sigprop.language import activations

    relu = activations.relu
    monkeypatch.setattr(activations, "relu", functools.wraps(square)(lambda x: x))
    with pytest.raises(Unknown):
        described(relu)


WEAK = jnp.asarray(1.0)
ARGUMENTS: dict[str, tuple[Any, Any]] = {
    "shapes": (np.ones(2), np.ones(3)),
    "ranks": (np.ones(2), np.ones((2, 1))),
    "types": (np.ones(2), np.ones(2, dtype=np.float32)),
    "an integer and a number": (1, 1.0),
    "a number and an array": (1.0, np.float64(1.0)),
    "weak types": (jax.lax.full((), 1.0, dtype=jnp.float32), WEAK + 0 * 1.0),
    "keys": (jax.random.key(0), jax.random.key_data(jax.random.key(0))),
    "kinds of keys": (jax.random.key(0), jax.random.key(0, impl="rbg")),
    "none": (None, ()),
    "a tuple and a list": ((1.0,), [1.0]),
    "names": ({"a": 1.0}, {"b": 1.0}),
    "which of two is none": ((None, 1.0), (1.0, None)),
    "one more": ((1.0,), (1.0, 1.0)),
    "depth": ((1.0, (1.0,)), ((1.0, 1.0),)),
    "types of trees": (sp.theory.attention.draws.Points(1.0, 1.0), (1.0, 1.0)),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_differ_by_what_is_traced(name: str) -> None:
    a, b = ARGUMENTS[name]
    assert arguments([a]) == arguments([a]) != arguments([b])


def test_arguments_do_not_differ_by_their_numbers() -> None:
    assert arguments([1.0, np.ones(2)]) == arguments([2.0, np.zeros(2)])


def test_arguments_that_are_not_known() -> None:
    for odd in ("text", np.array([object()]), Pair(1), Mine(), np.array(["a"], dtype=object)):
        with pytest.raises(Unknown):
            arguments([odd])
    with pytest.raises(Unknown):
        jax.make_jaxpr(lambda x: arguments([x]))(1.0)


def key(
    function: Callable[..., Any] = run,
    static: tuple[Any, ...] = (1,),
    traced: tuple[Any, ...] = (np.ones(2),),
    options: dict[str, Any] | None = None,
    source: str = "source",
) -> str:
    return fingerprint.key(function.__wrapped__, static, traced, options, source)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "other",
    [
        {"static": (2,)},
        {"static": (1, 1)},
        {"traced": (np.ones(3),)},
        {"traced": (np.ones(2), None)},
        {"options": {"xla_backend_optimization_level": 1}},
        {"source": "sourcf"},
    ],
)
def test_a_key_depends_on_every_part(other: dict[str, Any]) -> None:
    assert key() == key() != key(**other)


def test_a_key_depends_on_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sigprop.of_this_test")
    for name in ("f", "g"):
        made = functools.wraps(square)(lambda x: x)
        made.__module__, made.__qualname__ = module.__name__, name
        setattr(module, name, made)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    keys = {
        fingerprint.key(function, (), (), None, "")
        for function in (module.f, module.g, run.__wrapped__)  # type: ignore[attr-defined]
    }
    assert len(keys) == 3
    with pytest.raises(Unknown):
        fingerprint.key(square, (), (), None, "")


CONFIGURATIONS: dict[str, Callable[[], Any]] = {
    "x64": lambda: jax.enable_x64(True),
    "precision of products": lambda: jax.default_matmul_precision("highest"),
    "promotion": lambda: jax.numpy_dtype_promotion("standard"),
    "ranks": lambda: jax.numpy_rank_promotion("allow"),
    "nan": lambda: jax.debug_nans(True),
    "infinities": lambda: jax.debug_infs(True),
    "keys": lambda: jax.default_prng_impl("rbg"),
    "checks": lambda: jax.enable_checks(True),
    "no compilation": lambda: jax.disable_jit(True),
    "threefry": lambda: jax.threefry_partitionable(False),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_key_depends_on_the_configuration_of_jax(name: str) -> None:
    before = key()
    with CONFIGURATIONS[name]():
        within = key()
    assert within != before == key()


@pytest.mark.parametrize("library", fingerprint.LIBRARIES)
def test_a_key_depends_on_releases(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, release = key(), fingerprint._release
    monkeypatch.setattr(
        fingerprint, "_release", lambda name: release(name) + "1" * (name == library)
    )
    assert key() != before


def test_several_devices_have_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    device = jax.local_devices()[0]
    monkeypatch.setattr(jax, "local_devices", lambda: [device, device])
    with pytest.raises(Unknown):
        key()


def tree(root: Path) -> Path:
    """A package of four files, one of them below a link."""
    (root / "package" / "inner").mkdir(parents=True)
    (root / "beside").mkdir()
    for name, content in (
        ("package/a.py", "x = 1\n"),
        ("package/b.py", "y = 2\n"),
        ("package/inner/c.py", ""),
        ("beside/d.py", "z = 3\n"),
        ("package/notes.txt", "n"),
    ):
        (root / name).write_text(content)
    (root / "package" / "linked").symlink_to(root / "beside", target_is_directory=True)
    return root / "package"


EDITS: dict[str, Callable[[Path], Any]] = {
    "one letter": lambda root: (root / "a.py").write_text("x = 7\n"),
    "one letter below a link": lambda root: (root / "linked" / "d.py").write_text("z = 7\n"),
    "a file more": lambda root: (root / "e.py").write_text(""),
    "a file less": lambda root: (root / "inner" / "c.py").unlink(),
    "another name": lambda root: (root / "a.py").rename(root / "aa.py"),
    "another folder": lambda root: (root / "inner" / "c.py").rename(root / "c.py"),
    "names exchanged": lambda root: (
        (root / "a.py").rename(root / "t"),
        (root / "b.py").rename(root / "a.py"),
        (root / "t").rename(root / "b.py"),
    ),
    "a line from one to the other": lambda root: (
        (root / "a.py").write_text(""),
        (root / "b.py").write_text("x = 1\ny = 2\n"),
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_another_source(name: str, tmp_path: Path) -> None:
    """Also where the files' times and sizes say nothing."""
    root = tree(tmp_path)
    before = fingerprint.source(str(root))
    EDITS[name](root)
    for path in root.rglob("*.py"):
        os.utime(path, (0, 0))
    assert fingerprint.source(str(root)) != before


def test_what_is_no_source_does_not_count(tmp_path: Path) -> None:
    root = tree(tmp_path)
    before = fingerprint.source(str(root))
    (root / "notes.txt").write_text("m")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "a.py").write_text("")
    os.utime(root / "a.py", (0, 0))
    assert fingerprint.source(str(root)) == before
    assert fingerprint.source() == fingerprint.source(str(Path(sp.__file__).parent)) != before
