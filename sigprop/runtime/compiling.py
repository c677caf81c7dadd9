"""How programs are compiled: on a CPU with light back-end optimisation, which more than halves
the compile time of the engines' programs and leaves their speed as it is."""

from __future__ import annotations

import functools
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

from sigprop.runtime import memory

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
# kept compiled at a time: each holds memory maps, of which a process has only so many
MOST_PROGRAMS = 32
COMPILED: Counter[str] = Counter()
"""Programs that this process has compiled, by function."""


def known(options: dict[str, Any]) -> dict[str, Any]:
    """Of the compiler's options, those that this release of it has."""
    import jax

    found = {}
    for name, value in options.items():
        try:
            jax.jit(lambda: 0, compiler_options={name: value})()
        except jax.errors.JaxRuntimeError:
            continue
        found[name] = value
    return found


def needs(program: Any) -> int:
    """Bytes of this machine's memory that one run of a compiled program takes, its arguments
    included; 0 where that is another device's."""
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
    """``jax.jit`` with static argument positions and, on a CPU, these options; jax is set up at
    the first call, not at import.

    What it returns keeps ``MOST_PROGRAMS`` compiled, of which the least recently used goes first
    (``programs``: key -> program), and has one whose programs nobody runs (``compiled``: for what
    they look like and cost).
    """

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def settings() -> dict[str, Any] | None:
            import jax

            return known(options) if jax.default_backend() == "cpu" else None

        def program() -> Any:
            import jax

            @functools.wraps(function)
            def alone(*args: Any) -> Any:  # jax drops the programs of a function all at once
                return function(*args)

            return jax.jit(alone, static_argnums=static, compiler_options=settings())

        programs: OrderedDict[Any, Any] = OrderedDict()

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            key = _key(args, static)
            if key not in programs:
                while len(programs) >= MOST_PROGRAMS:
                    programs.popitem(last=False)
                new = program()
                # the call below has the program that is compiled here
                memory.require(
                    needs(new.lower(*args).compile()), "a compiled program of these sizes"
                )
                COMPILED[function.__name__] += 1
                programs[key] = new
            programs.move_to_end(key)
            return programs[key](*args)

        call.compiled = functools.cache(program)  # type: ignore[attr-defined]
        call.programs = programs  # type: ignore[attr-defined]
        return call

    return wrap


def _key(args: tuple[Any, ...], static: tuple[int, ...]) -> Any:
    """What a program is compiled for: the static arguments, and the others' shapes and dtypes."""
    import jax

    leaves = jax.tree.leaves([arg for i, arg in enumerate(args) if i not in static])
    kinds = tuple((jax.numpy.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
    return tuple(args[i] for i in static), kinds, jax.config.read("jax_enable_x64")
