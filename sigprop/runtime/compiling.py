"""How programs are compiled: on a CPU with light back-end optimisation, which more than halves
the compile time of the engines' programs and leaves their speed as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sigprop.runtime import memory

LIGHT: dict[str, Any] = {
    "xla_backend_optimization_level": 1,
    "xla_llvm_disable_expensive_passes": True,
}
OUT_OF_CACHE = LIGHT | {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
}
"""For programs whose vectors are in no cache: what a sum of products adds up is not written to
memory first."""
# kept compiled at a time: each holds memory maps, of which a process has only so many
MOST_PROGRAMS = 32


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
    the first call, not at import."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def compiled() -> Any:
            import jax

            return jax.jit(
                function,
                static_argnums=static,
                compiler_options=known(options) if jax.default_backend() == "cpu" else None,
            )

        seen: set[Any] = set()

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            import jax

            fixed = tuple(args[i] for i in static)
            key = (
                fixed,
                tuple(
                    jax.numpy.shape(leaf)
                    for leaf in jax.tree.leaves([a for i, a in enumerate(args) if i not in static])
                ),
            )
            if key not in seen and len(seen) >= MOST_PROGRAMS:
                compiled().clear_cache()
                seen.clear()
            if key not in seen:  # the call below has the program that is compiled here
                memory.require(
                    needs(compiled().lower(*args).compile()), "a compiled program of these sizes"
                )
            seen.add(key)
            return compiled()(*args)

        call.compiled = compiled  # type: ignore[attr-defined]
        call.programs = seen  # type: ignore[attr-defined]
        return call

    return wrap
