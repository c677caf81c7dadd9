"""sigprop: signal-propagation theory and simulation of deep residual networks, from one description.

    arch = sp.architectures.looped_mlp(depth=2, loops=4)
    sp.derive(arch)      the recursions, as sympy equations and LaTeX
    sp.predict(arch)     the infinite-width numbers, as a table
    sp.measure(arch)     finite networks, each number with its standard error
    sp.verify(arch)      an equivalence test of the two: confirmed, rejected or inconclusive
    sp.exponents(arch)   how they scale with depth and loops: symbolic laws beside the recursion's slopes
    sp.critical(arch)    which powers of depth and loops make chosen quantities order one
    sp.prescribe(name, base=, target=, optimizer=)  rates, multipliers, decay by group of parameters
    sp.check(arch)       the coordinate check as a test: real optimiser steps
    sp.costs(arch)       parameters, operations and cache, and what narrow blocks or skipped tokens save

A network of your own is an ``Architecture`` of ``SubBlock``s, written in vector expressions.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own takes milliseconds, in which an interrupt of the command line is a traceback
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "derive": "sigprop.theory.derive", "predict": "sigprop.theory.predict", "measure": "sigprop.simulations.measure", "verify": "sigprop.comparison",
    "costs": "sigprop.cost", "exponents": "sigprop.theory.exponents.table", "verify_exponents": "sigprop.exponent_check",
    "check": "sigprop.checking", "prescribe": "sigprop.prescribing", "torch_param_groups": "sigprop.prescribed", "optax_transform": "sigprop.prescribed",
    "Prescription": "sigprop.prescription", "critical": "sigprop.theory.critical", "Family": "sigprop.family", "SlotClass": "sigprop.family",
    "Architecture": "sigprop.architecture", "SubBlock": "sigprop.architecture", "Readout": "sigprop.architecture",
    "Stem": "sigprop.expression", "State": "sigprop.expression", "Read": "sigprop.expression", "Write": "sigprop.expression",
    "Linear": "sigprop.expression", "Bias": "sigprop.expression", "Activate": "sigprop.expression", "Product": "sigprop.expression",
    "Normalise": "sigprop.expression", "Dropout": "sigprop.expression", "Attend": "sigprop.expression", "Rescale": "sigprop.expression",
    "TokenTable": "sigprop.expression", "Truncate": "sigprop.truncation", "Scores": "sigprop.scores", "Part": "sigprop.architecture", "Head": "sigprop.head",
    "Number": "sigprop.scalar", "Activation": "sigprop.activation",
    "register": "sigprop.registry", "Table": "sigprop.table", "InputError": "sigprop.errors", "NoRule": "sigprop.errors", "Diverged": "sigprop.errors",
    "architectures": "sigprop.architectures",
}  # fmt: skip

__all__ = sorted(_WHERE)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used, so that ``import sigprop`` imports neither jax nor sympy."""
    if name not in _WHERE:
        raise AttributeError(f"module 'sigprop' has no attribute {name!r}")
    module = importlib.import_module(_WHERE[name])
    return module if _WHERE[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
