"""How programs are compiled: on a CPU with light back-end optimisation, which halves the compile time of the engines' programs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

MOST_PROGRAMS = 32  # kept compiled at a time: each holds memory maps, of which a process has only so many


def jit(static: tuple[int, ...]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``jax.jit`` with static argument positions; jax is set up at the first call, not at import."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def compiled() -> Any:
            import jax

            options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
            return jax.jit(function, static_argnums=static, compiler_options=options)

        seen: set[Any] = set()

        @functools.wraps(function)
        def call(*args: Any) -> Any:
            import jax

            fixed = tuple(args[i] for i in static)
            key = (fixed, tuple(jax.numpy.shape(leaf) for leaf in jax.tree.leaves([a for i, a in enumerate(args) if i not in static])))
            if key not in seen and len(seen) >= MOST_PROGRAMS:
                compiled().clear_cache()
                seen.clear()
            seen.add(key)
            return compiled()(*args)

        call.compiled = compiled  # type: ignore[attr-defined]
        return call

    return wrap
