"""The libraries whose modules are read: how each opens a module into arrays with names, and calls
it with others in their place."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax

from sigprop.jaxmodules.flattening import MARK

Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Opened:
    """A module without its arrays. kind: its class; names: of every array; kept: whether it is a
    parameter, None where the library does not say; call: the module, applied with these arrays;
    given: the module came as it is."""

    kind: str
    names: tuple[str, ...]
    kept: tuple[bool | None, ...]
    call: Callable[[Sequence[Any], Call], Any]
    given: bool


class Library(Protocol):
    """What opens a module: its arrays, in the order of their names."""

    def open(self, module: Any, call: Call, given: bool) -> tuple[Opened, list[Any]]: ...


def _name(path: Sequence[Any]) -> str:
    """A path into a module as text."""
    words = [getattr(key, "key", getattr(key, "name", getattr(key, "idx", key))) for key in path]
    return ".".join(map(str, words))


@contextlib.contextmanager
def _marked(modules: Mapping[str, Any]) -> Iterator[None]:
    """Let every call of a module say its path to whoever traces."""
    paths = {id(module): path for path, module in modules.items()}
    undo: list[tuple[type, Any]] = []
    for kind in {type(module) for module in modules.values()}:
        if any("__call__" in vars(base) for base in kind.__mro__):
            undo.append((kind, vars(kind).get("__call__")))
            setattr(kind, "__call__", _scoped(kind.__call__, paths))  # noqa: B010
    try:
        yield
    finally:
        for kind, function in undo:
            if function is None:
                delattr(kind, "__call__")
            else:
                setattr(kind, "__call__", function)  # noqa: B010


def _scoped(function: Callable[..., Any], paths: Mapping[int, str]) -> Callable[..., Any]:
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = paths.get(id(self))
        with jax.named_scope(MARK + path) if path else contextlib.nullcontext():
            return function(self, *args, **kwargs)

    return called


class Nnx:
    """flax.nnx: Params are parameters, other variables constants; evaluation mode."""

    def open(self, module: Any, call: Call, given: bool) -> tuple[Opened, list[Any]]:
        from flax import nnx  # pyright: ignore[reportMissingImports]

        if given:
            module = nnx.merge(*nnx.split(module))  # evaluation mode is set on a copy
        module.eval()
        definition, parameters, others = nnx.split(module, nnx.Param, ...)
        leaves, trees = zip(*map(jax.tree.flatten, (parameters, others)), strict=True)
        count = len(leaves[0])
        names = [
            _name([key for key in path if getattr(key, "name", None) != "value"])
            for state in (parameters, others)
            for path, _ in jax.tree.flatten_with_path(state)[0]
        ]

        def run(arrays: Sequence[Any], arguments: Call) -> Any:
            states = [
                jax.tree.unflatten(tree, part)
                for tree, part in zip(trees, (arrays[:count], arrays[count:]), strict=True)
            ]
            merged = nnx.merge(definition, *states)
            modules = {_name(path): part for path, part in nnx.iter_modules(merged)}
            with _marked(modules):
                return merged(*arguments[0], **arguments[1])

        kept = (True,) * count + (False,) * len(leaves[1])
        opened = Opened(type(module).__name__, tuple(names), kept, run, given)
        return opened, [*leaves[0], *leaves[1]]


class Equinox:
    """equinox: arrays of floating point are parameters; inference mode."""

    def open(self, module: Any, call: Call, given: bool) -> tuple[Opened, list[Any]]:
        import equinox  # pyright: ignore[reportMissingImports]

        module = equinox.nn.inference_mode(module)
        arrays, static = equinox.partition(module, equinox.is_array)
        pairs, tree = jax.tree.flatten_with_path(arrays)

        def run(given_arrays: Sequence[Any], arguments: Call) -> Any:
            combined = equinox.combine(jax.tree.unflatten(tree, given_arrays), static)
            with _marked(dict(_equinox_modules(combined, equinox.Module, ()))):
                return combined(*arguments[0], **arguments[1])

        names = tuple(_name(path) for path, _ in pairs)
        opened = Opened(type(module).__name__, names, (None,) * len(names), run, given)
        return opened, [leaf for _, leaf in pairs]


def _equinox_modules(part: Any, kind: type, path: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Every module in a tree and its path."""
    if isinstance(part, kind):
        yield _name(path), part
    inner = jax.tree.flatten_with_path(part, is_leaf=lambda other: other is not part)[0]
    for step, other in inner:
        if other is not part:
            yield from _equinox_modules(other, kind, (*path, *step))


class Linen:
    """flax.linen: the collection 'params' is the parameters, others constants."""

    def open(self, module: Any, call: Call, given: bool) -> tuple[Opened, list[Any]]:
        from flax import linen  # pyright: ignore[reportMissingImports]

        key = jax.random.key(0)
        variables = linen.meta.unbox(module.init(key, *call[0], **call[1]))
        pairs, tree = jax.tree.flatten_with_path(variables)

        def scoped(function: Any, args: Any, kwargs: Any, context: Any) -> Any:
            path = ".".join(map(str, context.module.path))
            with jax.named_scope(MARK + path) if path else contextlib.nullcontext():
                return function(*args, **kwargs)

        def run(arrays: Sequence[Any], arguments: Call) -> Any:
            held = jax.tree.unflatten(tree, arrays)
            with linen.intercept_methods(scoped):
                return module.apply(held, *arguments[0], **arguments[1])

        kept = tuple(path[0].key == "params" for path, _ in pairs)
        names = tuple(
            _name(path[1:] if own else path) for own, (path, _) in zip(kept, pairs, strict=True)
        )
        opened = Opened(type(module).__name__, names, kept, run, False)
        return opened, [leaf for _, leaf in pairs]


CLASSES: dict[tuple[str, str], Library] = {
    ("flax.nnx", "Module"): Nnx(),
    ("flax.linen", "Module"): Linen(),
    ("equinox", "Module"): Equinox(),
}
"""Where a class of modules stands, once its library is imported, to what opens one."""


def library_of(module: Any) -> Library | None:
    """Return what opens a module; None where it is none of a library that is known."""
    for (package, name), library in CLASSES.items():
        kind = getattr(sys.modules.get(package), name, None)
        if kind is not None and isinstance(module, kind):
            return library
    return None
