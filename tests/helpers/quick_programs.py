"""Small programs of the tests are compiled without LLVM's optimisation: half the compile time,
where what they do takes milliseconds. Large ones are compiled as users compile them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.extend.core
import pytest

from sigprop.runtime import compiling, traced

FEW = 3e8
"""Numbers that a small program writes, at most: under a tenth of a second."""
AS_USERS = compiling._Programs.compiled
QUICK = {"xla_backend_optimization_level": 0}


def work(jaxpr: Any) -> float:
    """Numbers that are written: of scans every step's, of products their terms."""
    total = 0.0
    for equation in jaxpr.eqns:
        times = float(equation.params.get("length", 1)) if equation.primitive.name == "scan" else 1
        inner = [work(part) for part in jax.extend.core.jaxprs_in_params(equation.params)]
        size = sum(math.prod(getattr(out.aval, "shape", ())) for out in equation.outvars)
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            size *= math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        total += times * sum(inner) if inner else size
    return total


def compiled(programs: compiling._Programs, args: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a program and what it is compiled to: as users have it, or quickly where it is
    small."""
    if traced.State.folder is not None or programs.settings is None:
        return AS_USERS(programs, args)
    new = programs.new()
    if work(new.trace(*args).jaxpr.jaxpr) <= FEW:
        options = programs.settings | QUICK
        new = jax.jit(new.__wrapped__, static_argnums=programs.static, compiler_options=options)
    return new, new.lower(*args).compile()


def begin() -> None:
    """Compile small programs quickly from now on."""
    compiling._Programs.compiled = compiled


@pytest.fixture
def users_predictions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compile predictions as users do, where what rounding leaves is compared to the bit."""
    from sigprop.theory.recursion import passes  # not before its shapes are checked

    monkeypatch.setattr(compiling._Programs, "compiled", AS_USERS)
    passes.run.programs.clear()  # type: ignore[attr-defined]
    yield
    passes.run.programs.clear()  # type: ignore[attr-defined]
