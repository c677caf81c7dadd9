"""How programs are compiled: on a CPU with light back-end optimisation, which more than halves
the compile time of the engines' programs and leaves their speed as it is."""

from __future__ import annotations

import functools
import gc
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from sigprop.runtime import memory, traced

LIGHT: dict[str, Any] = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": True,
    # one kernel a fusion written by LLVM at once: numbers to the bit, half the compile time
    "xla_cpu_use_fusion_emitters": False,
}
OUT_OF_CACHE = LIGHT | {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}
"""For programs whose vectors are in no cache: what a sum of products adds up is not written to
memory first."""
MOST_PROGRAMS = 32  # kept compiled at a time, of a function
MOST_MAPS = 0.5
"""Of the memory maps of a process: each program holds some dozens, and where none is left the
compiler ends the process."""
COMPILED: Counter[str] = Counter()
"""Programs that this process has compiled, by function."""


def supported(options: dict[str, Any]) -> dict[str, Any]:
    """Return those of the compiler's options that this release of it has."""
    import jax

    def accepts(some: dict[str, Any]) -> bool:
        try:
            jax.jit(lambda: 0, compiler_options=some)()
        except jax.errors.JaxRuntimeError:
            return False
        return True

    if accepts(options):  # at once: each is a compilation
        return dict(options)
    return {name: value for name, value in options.items() if accepts({name: value})}


def needs(program: Any) -> int:
    """Return the bytes of this machine's memory that one run of a compiled program takes, its
    arguments included; 0 where that is another device's."""
    import jax

    sizes = program.memory_analysis() if jax.default_backend() == "cpu" else None
    return (
        0
        if sizes is None
        else sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    )


def jit(
    static: tuple[int, ...], options: dict[str, Any] = LIGHT
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile as ``jax.jit`` with static argument positions and, on a CPU, these options; jax is
    set up at the first call, not at import.

    What it returns keeps ``MOST_PROGRAMS`` compiled, of which the least recently used goes first
    (``programs``: key -> program), and has one whose programs nobody runs (``compiled``: for what
    they look like and cost).
    """

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        kept = _Programs(function, static, options)

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return kept.program(args)(*args)

        call.compiled = functools.cache(kept.new)  # type: ignore[attr-defined]
        call.programs = kept.programs  # type: ignore[attr-defined]
        return call

    return wrap


class _Programs:
    """The programs of one function, the least recently used first."""

    def __init__(
        self, function: Callable[..., Any], static: tuple[int, ...], options: dict[str, Any]
    ):
        self.function, self.static, self.options = function, static, options
        self.programs: OrderedDict[Any, Any] = OrderedDict()
        _EVERY.add(self)

    @functools.cached_property
    def settings(self) -> dict[str, Any] | None:
        """Return the compiler's options, where they are any."""
        import jax

        return supported(self.options) if jax.default_backend() == "cpu" else None

    def new(self) -> Any:
        """Return a jitted function of its own: jax drops the programs of a function all at once."""
        import jax

        @functools.wraps(self.function)
        def alone(*args: Any) -> Any:
            return self.function(*args)

        return jax.jit(alone, static_argnums=self.static, compiler_options=self.settings)

    def compiled(self, args: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return a program, that which another process traced where there is one, and what it is
        compiled to; where a release of jax does not take that one, no further one is asked for."""
        kept = traced.program(self.function, args, self.static, self.settings)
        if kept is not None:
            try:
                return kept, kept.lower(*args).compile()
            except Exception:  # of whatever make: the program traced here says what is wrong
                traced.State.folder = None
        new = self.new()
        return new, new.lower(*args).compile()

    def program(self, args: tuple[Any, ...]) -> Any:
        """Return the program for these arguments, compiled when there is none; raise
        ``InputError`` where it needs more memory than there is."""
        key = _key(args, self.static)
        if key not in self.programs:
            make_room(MOST_MAPS)
            while len(self.programs) >= MOST_PROGRAMS:
                self.programs.popitem(last=False)
            # the call that follows has the program that is compiled here
            new, compiled = self.compiled(args)
            memory.require(needs(compiled), "a compiled program of these sizes")
            COMPILED[self.function.__name__] += 1
            self.programs[key] = new
        self.programs.move_to_end(key)
        return self.programs[key]


_EVERY: weakref.WeakSet[_Programs] = weakref.WeakSet()


def make_room(most: float) -> None:
    """Drop every compiled program of this process, jax's own among them, where they hold more than
    that share of its memory maps; what is used again is compiled, or read from disk, again."""
    if memory.maps() <= most:
        return
    import jax

    for kept in _EVERY:
        kept.programs.clear()
    jax.clear_caches()
    gc.collect()


def _key(args: tuple[Any, ...], static: tuple[int, ...]) -> Any:
    """Return what a program is compiled for: the static arguments, and the others' shapes and
    dtypes."""
    import jax

    leaves, tree = jax.tree.flatten([arg for i, arg in enumerate(args) if i not in static])
    kinds = tuple((jax.numpy.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
    held = traced.bound(leaves, tree)
    return tuple(args[i] for i in static), kinds, jax.config.read("jax_enable_x64"), held
