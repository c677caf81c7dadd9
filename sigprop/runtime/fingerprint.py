"""What a traced program depends on, as text: of two programs with one description, one may stand in
for the other in another process.

It is complete or it is refused: what a description holds is written out to the last number, of
types and functions of this package (and of jax) by name, of which the source is part of the key;
anything else (a user's own function, a closure, an object of unknown make) raises ``Unknown``.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

PACKAGE = __name__.partition(".")[0]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUNCTIONS_OF = (PACKAGE, "jax")
PLAIN = (type(None), bool, int, str, bytes)
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "optax")
"""Distributions whose code runs while a program is traced."""


class Unknown(Exception):
    """Something of which it is not known what a program takes from it."""


def described(value: Any) -> str:
    """Return a static argument as text: equal texts, equal programs.

    value: a plain number or text, an array, a tuple, a frozenset, a mapping, a member of an
    enumeration, a frozen dataclass or named tuple of this package, an object of this package that
    says what it is compared by (``compared``), a function or type at the top of a module. Raises
    ``Unknown``.
    """
    kind = type(value)
    if kind in PLAIN:
        return repr(value)
    if kind in (float, Fraction):
        return value.hex() if kind is float else repr(value)
    if isinstance(value, Mapping):
        pairs = sorted((described(key), described(inside)) for key, inside in value.items())
        return f"mapping({pairs})"
    if kind is tuple or kind is frozenset:
        inside = [described(each) for each in value]
        return f"{kind.__name__}({', '.join(inside if kind is tuple else sorted(inside))})"
    if _is_array(value):
        return _array(value)
    if isinstance(value, type) or callable(value) and hasattr(value, "__qualname__"):
        return _named(value, FUNCTIONS_OF)
    return f"{_named(kind, (PACKAGE,))}({_inside(value)})"


def _inside(value: Any) -> str:
    """Return what an object of this package holds; raises ``Unknown``."""
    if isinstance(value, enum.Enum):
        return value.name
    how = getattr(value, "__dataclass_params__", None)
    if how is not None and how.eq and how.frozen:
        return ", ".join(f"{f.name}={described(getattr(value, f.name))}" for f in fields(value))
    if how is not None:
        raise Unknown(type(value))
    if hasattr(value, "_fields") and isinstance(value, tuple):
        return ", ".join(map(described, value))
    if not hasattr(value, "compared"):
        raise Unknown(type(value))
    return described(value.compared)


def _is_array(value: Any) -> bool:
    """Tell an array or number of numpy's: without that library there is none."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value).__module__ == "numpy" and hasattr(value, "tobytes")


def _array(value: Any) -> str:
    """Return an array's type, shape and entries; raises ``Unknown`` for one of objects."""
    if value.dtype.hasobject:
        raise Unknown(value.dtype)
    entries = hashlib.sha256(value.tobytes()).hexdigest()
    return f"{type(value).__name__}({value.dtype.str}, {value.shape}, {entries})"


def _named(value: Any, packages: Sequence[str]) -> str:
    """Return where a type or function stands; raises ``Unknown`` for what does not stand at the
    top of a module of these packages."""
    module, name = getattr(value, "__module__", None), value.__qualname__
    if not isinstance(module, str) or module.partition(".")[0] not in packages:
        raise Unknown(value)
    found = getattr(sys.modules.get(module), name, None)
    if found is not value and getattr(found, "__wrapped__", None) is not value:
        raise Unknown(value)
    return f"{module}.{name}"


def arguments(args: Sequence[Any]) -> str:
    """Return what a program depends on of arguments that are traced: the trees, and the leaves'
    shapes and types. Raises ``Unknown``."""
    import jax

    leaves, tree = jax.tree.flatten(tuple(args))
    return f"{_tree(tree)} of {', '.join(map(_leaf, leaves))}"


def _tree(tree: Any) -> str:
    """Return the structure of a tree of arguments; raises ``Unknown`` for a node of another
    library."""
    data = tree.node_data()
    if data is None:
        return "*"
    kind, more = data
    name = kind.__name__ if kind in (type(None), tuple, list, dict) else _named(kind, (PACKAGE,))
    # of a dictionary its keys; of a named tuple its type
    extra = "" if more is None or more is kind else described(tuple(more))
    return f"{name}{extra}({', '.join(map(_tree, tree.children()))})"


def _leaf(leaf: Any) -> str:
    """Return shape and type of an array or number; raises ``Unknown`` where that is not all there
    is to it: within another trace, or on several devices."""
    import jax
    from jax.core import Tracer

    if isinstance(leaf, Tracer):
        raise Unknown(type(leaf))
    if type(leaf) in (bool, int, float, complex):
        return type(leaf).__name__
    if isinstance(leaf, jax.Array):
        if len(leaf.devices()) > 1:
            raise Unknown(leaf.sharding)
    elif not _is_array(leaf) or leaf.dtype.hasobject:
        raise Unknown(type(leaf))
    return f"{leaf.dtype}{leaf.shape}{'~' * getattr(leaf, 'weak_type', False)}"


def settings() -> tuple[Any, ...]:
    """Return jax's configuration in this thread, every value of it."""
    import jax

    return tuple(jax.config.values.values())


def surroundings() -> str:
    """Return what a trace is made in: releases of the libraries, the machine's kind, jax's
    configuration. Raises ``Unknown`` where that is not one CPU."""
    import jax

    devices = jax.local_devices()
    if len(devices) != 1 or devices[0].platform != "cpu":
        raise Unknown(devices)
    releases = [f"{name} {_release(name)}" for name in LIBRARIES]
    names = zip(jax.config.values, settings(), strict=True)
    configuration = [f"{name}={value!r}" for name, value in names]
    return f"{sys.version}; {'; '.join(releases)}; {'; '.join(configuration)}"


@functools.cache
def _release(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


NUMBERS = (
    *("agreement", "architectures", "blocks", "coordinate_check", "description", "jaxmodules"),
    *("language", "modules", "prescriptions", "reading", "registry", "scaling", "simulations"),
    *("theory", "verdict"),
)
"""Folders of the package that numbers come from: what stands elsewhere shows and keeps them."""


def source(root: str = ROOT, folders: Sequence[str] | None = None) -> str:
    """Return a digest of this package's source, names and bytes of every file (a few
    milliseconds), or of some folders of it; raises ``OSError`` where it cannot be read."""
    digest = hashlib.sha256()
    inside = [root] if folders is None else [os.path.join(root, name) for name in folders]
    for path in sorted(path for folder in inside for path in _files(folder)):
        with open(path, "rb", 0) as file:
            content = file.read()
        digest.update(f"{os.path.relpath(path, root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def origin() -> str:
    """Return a short digest of what numbers come from: the source of the folders that make them,
    and the releases of jax that compute them."""
    releases = [f"{name} {_release(name)}" for name in ("jax", "jaxlib")]
    said = "\n".join((source(folders=NUMBERS), *releases))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _files(folder: str) -> Iterator[str]:
    """Every file of source below a folder, links followed."""
    with os.scandir(folder) as found:
        for each in found:
            if each.is_dir():
                if each.name != "__pycache__":
                    yield from _files(each.path)
            elif each.name.endswith(".py"):
                yield each.path


def key(
    function: Callable[..., Any],
    static: Sequence[Any],
    traced: Sequence[Any],
    options: dict[str, Any] | None,
    source: str,
) -> str:
    """Return the key of a program: of everything that its trace depends on.

    function: what is traced, at the top of a module of this package; static, traced: its arguments
    of either kind; options: of the compiler; source: digest of the package's source. Raises
    ``Unknown``.
    """
    parts = (
        _named(function, (PACKAGE,)),
        described(tuple(static)),
        arguments(traced),
        repr(sorted((options or {}).items())),
        surroundings(),
        source,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
