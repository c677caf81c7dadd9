"""Traced programs on disk: what one process of the command line traced, the next one loads, beside
the compiled programs (``cache``), whose folder, names and bounds the files share.

A file holds the key, how results are put together, and the program as jax exports it, compressed:
so one that is torn is seen, and one of another key is no program. It is written beside its place
and moved there. Programs whose key is not known (``fingerprint.Unknown``) are traced by every
process.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sigprop.runtime import cache, fingerprint

NAME = "traced-"
QUICK = 1  # of zlib's levels
LEAF = "array"
CALLS = b"custom_call"  # in a module that calls another library
ANOTHER = ("tpu",)  # than the one that is run on


class State:
    """The folder, and the digest of the source that this process began with; None where
    programs are not kept."""

    folder: str | None = None
    source = ""


def keep(folder: str | None) -> None:
    """Keep traced programs in that folder from now on. To be called before the modules are
    imported whose functions are traced: the source that is read here is theirs."""
    if folder is None:
        return
    try:
        State.source = fingerprint.source()
    except OSError:  # as in an archive: nothing says which source is run
        return
    State.folder = folder


class Program:
    """A traced program as a jitted function without its static arguments, called and lowered
    with them."""

    def __init__(self, jitted: Any, static: tuple[int, ...]):
        self.jitted, self.static = jitted, static

    def __call__(self, *args: Any) -> Any:
        return self.jitted(*_split(args, self.static)[1])

    def lower(self, *args: Any) -> Any:
        """Return what jax's ``lower`` does."""
        return self.jitted.lower(*_split(args, self.static)[1])


def _split(args: Sequence[Any], static: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """(the static arguments, the others)."""
    there = set(static)
    return [args[i] for i in static], [arg for i, arg in enumerate(args) if i not in there]


def bound(leaves: Sequence[Any], tree: Any) -> Any:
    """Return what a program that was traced elsewhere is bound to beside shapes and types, where
    jax would trace anew by itself; None where programs are not kept."""
    from jax.core import Tracer

    if State.folder is None:
        return None
    ways = tuple((isinstance(leaf, Tracer), getattr(leaf, "weak_type", False)) for leaf in leaves)
    return tree, ways, fingerprint.settings()


class Trace(NamedTuple):
    """A program as jax exports it: the module's bytes, which of the arguments' leaves it takes,
    the shapes and types of what it returns, and how that is put together."""

    module: bytes
    taken: tuple[int, ...]
    shapes: list[tuple[list[int], str]]
    tree: Any


def program(
    function: Callable[..., Any],
    args: Sequence[Any],
    static: tuple[int, ...],
    options: dict[str, Any] | None,
) -> Program | None:
    """Return the program of a function for these arguments, from disk where it is there, else
    traced and kept; None where programs are not kept or this one cannot be.

    static: positions; options: of the compiler. Raises what the function raises while it is
    traced. What is returned is the same program, to the bit, whether it was on disk or not.
    """
    if State.folder is None:
        return None
    fixed, given = _split(args, static)
    try:
        key = fingerprint.key(function, fixed, given, options, State.source)
    except fingerprint.Unknown:
        return None
    path = os.path.join(State.folder, f"{NAME}{key}{cache.ENTRY}")
    found = read(path, key)
    trace = found or _traced(function, args, static)
    if trace is None:
        return None
    jitted = _jitted(function.__name__, trace, given, options)
    # the source that was traced is that of the key
    if found is None and fingerprint.source() == State.source:
        write(path, key, trace)
    return Program(jitted, static)


def _traced(
    function: Callable[..., Any], args: Sequence[Any], static: tuple[int, ...]
) -> Trace | None:
    """Trace a function and export it; None for what files have no place for: callbacks, custom
    calls without a promise, results of other makes."""
    import jax
    from jax import export

    fixed, given = _split(args, static)

    def free(*given: Any) -> Any:
        left, kept = iter(given), iter(fixed)
        return function(*(next(kept if i in static else left) for i in range(len(args))))

    jitted = jax.jit(free)
    jitted.trace(*given)  # what this raises is the function's own; what follows has its trace
    try:
        exported = export.export(jitted)(*given)
        tree = packed(exported.out_tree)
    except (NotImplementedError, TypeError, ValueError):
        return None
    plain = not (
        exported.ordered_effects or exported.unordered_effects or exported.uses_global_constants
    )
    if not plain or exported.nr_devices != 1 or any(map(_odd, exported.out_avals)):
        return None
    shapes = [(list(aval.shape), aval.dtype.name) for aval in exported.out_avals]
    return Trace(exported.mlir_module_serialized, exported.module_kept_var_idx, shapes, tree)


def _odd(aval: Any) -> bool:
    """Tell a result that is not fully said by a shape and a type of numpy's."""
    import jax

    return aval.weak_type or jax.numpy.issubdtype(aval.dtype, jax.dtypes.extended)


def _jitted(name: str, trace: Trace, given: Sequence[Any], options: dict[str, Any] | None) -> Any:
    """Return a traced program as a jitted function of its arguments.

    jax reads back what it exported by a library that it does not ask for; so a program of the same
    arguments and results, all zeros, is exported, and given the module in place of its own. And
    for a CPU it sets up LAPACK (0.15 s) whether that is called or not: the frame of a program that
    calls nothing says another platform, which is not looked at.
    """
    import jax
    from jax import export

    def zeros(*given: Any) -> Any:
        leaves = [jax.numpy.zeros(shape, kind) for shape, kind in trace.shapes]
        return unpacked(trace.tree, iter(leaves))

    elsewhere: dict[str, Any] = {
        "platforms": ANOTHER,
        "disabled_checks": [export.DisabledSafetyCheck.platform()],
    }
    frame = export.export(jax.jit(zeros), **({} if CALLS in trace.module else elsewhere))(*given)
    exported = dataclasses.replace(
        frame, mlir_module_serialized=trace.module, module_kept_var_idx=trace.taken
    )

    def call(*given: Any) -> Any:
        return exported.call(*given)

    call.__name__ = call.__qualname__ = name
    return jax.jit(call, compiler_options=options)


def packed(tree: Any) -> Any:
    """Return a tree of results as JSON has it: tuples, lists, dictionaries by texts, None;
    raises ``ValueError`` for others."""
    data = tree.node_data()
    if data is None:
        return LEAF
    kind, names = data
    inside = [packed(child) for child in tree.children()]
    if kind is type(None):
        return None
    if kind is dict and all(isinstance(name, str) for name in names):
        return ["dict", dict(zip(names, inside, strict=True))]
    if kind not in (tuple, list):
        raise ValueError(kind)
    return [kind.__name__, inside]


def unpacked(tree: Any, leaves: Iterator[Any]) -> Any:
    """Return the results that ``packed`` described."""
    if tree == LEAF:
        return next(leaves)
    if tree is None:
        return None
    kind, inside = tree
    if kind == "dict":
        return {name: unpacked(child, leaves) for name, child in inside.items()}
    children = [unpacked(child, leaves) for child in inside]
    return tuple(children) if kind == "tuple" else children


def read(path: str, key: str) -> Trace | None:
    """Return the program of that key in a file; None where there is none, or the file is torn or
    another's."""
    try:
        with open(path, "rb") as file:
            lines = zlib.decompress(file.read()).split(b"\n", 2)
    except (OSError, zlib.error):
        return None
    if len(lines) != 3 or lines[0] != key.encode():
        return None
    said = json.loads(lines[1])
    shapes = [(shape, kind) for shape, kind in said["shapes"]]
    return Trace(lines[2], tuple(said["taken"]), shapes, said["tree"])


def write(path: str, key: str, trace: Trace) -> None:
    """Write a program's file, in one step; where that is not possible it is said, once a
    process."""
    said = {"taken": trace.taken, "shapes": trace.shapes, "tree": trace.tree}
    content = b"\n".join((key.encode(), json.dumps(said).encode(), trace.module))
    # until it is moved it is a program of no key, and is removed as such
    beside = f"{path.removesuffix(cache.ENTRY)}.{os.getpid()}-{threading.get_ident()}{cache.ENTRY}"
    try:
        with open(beside, "wb") as file:
            file.write(zlib.compress(content, QUICK))
        os.replace(beside, path)
    except OSError as error:
        cache.unkept(str(error.strerror))
        cache.remove(beside)
