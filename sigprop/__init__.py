"""sigprop: signal-propagation theory and simulation of deep residual networks, from one
description.

    arch = sp.architectures.looped_mlp(depth=2, loops=4)
    sp.derive(arch)      the recursions, as sympy equations and LaTeX
    sp.predict(arch)     the infinite-width numbers, as a table
    sp.measure(arch)     finite networks, each number with its standard error
    sp.verify(arch)      an equivalence test of the two: confirmed, rejected or inconclusive
    sp.exponents(arch)   how they scale with depth and loops: symbolic laws beside the recursion's
                         slopes
    sp.critical(arch)    which powers of depth and loops make chosen quantities order one
    sp.prescribe(name, base=, target=, optimizer=)  rates, multipliers, decay by group of parameters
    sp.first_step(arch)  what one step of SGD, Adam or Muon changes, group by group
    sp.check(arch)       the coordinate check as a test: real optimiser steps
    sp.read(build, example)  a module of torch, flax or equinox as an architecture, nothing by hand
    sp.inspect(build, example)  such a module measured and judged against its own prediction
    sp.train(arch)       the network as a language model of bytes, on a grid of rates and seeds
    sp.Study(name, ...)  any of these over a grid of parameters, kept in a file
    sp.costs(arch)       parameters, operations and cache, and what narrow blocks or skipped tokens
                         save

A network of your own is an ``Architecture`` of ``SubBlock``s, written in vector expressions.
"""

from __future__ import annotations

import importlib

# typing's own takes milliseconds, in which an interrupt of the command line is a traceback
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "sigprop.architectures": ("architectures", "register"),
    "sigprop.theory.derivations.derive": ("derive",),
    "sigprop.agreement.finite_width.widths": ("wide_enough",),
    "sigprop.theory.fluctuations.fluctuations": ("fluctuations",),
    "sigprop.theory.predictions.predict": ("predict",),
    "sigprop.theory.first_step.table": ("first_step",),
    "sigprop.theory.exponents.table": ("exponents",),
    "sigprop.theory.exponents.critical": ("critical",),
    "sigprop.agreement.finite_width.measuring": ("measure",),
    "sigprop.agreement.verify": ("verify",),
    "sigprop.agreement.exponents": ("verify_exponents",),
    "sigprop.agreement.first_steps": ("verify_first_step",),
    "sigprop.coordinate_check.check": ("check",),
    "sigprop.cost": ("costs",),
    "sigprop.reading.read": ("read",),
    "sigprop.reading.sources": ("from_config",),
    "sigprop.inspection.inspect": ("inspect",),
    "sigprop.inspection.against": ("compare",),
    "sigprop.inspection.prescribed": ("prescribe_model",),
    "sigprop.prescriptions.prescribe": ("prescribe",),
    "sigprop.studies.study": ("Study",),
    "sigprop.training_runs.run": ("train",),
    "sigprop.prescriptions.prescription": ("Prescription",),
    "sigprop.prescriptions.frameworks": (
        "torch_param_groups",
        "torch_optimizers",
        "optax_transform",
    ),
    "sigprop.description.architecture": ("Architecture",),
    "sigprop.description.sub_block": ("SubBlock", "Readout", "Part", "Head"),
    "sigprop.description.family": ("Family", "SlotClass"),
    "sigprop.language.expression": (
        *(
            "Stem",
            "State",
            "Read",
            "Write",
            "Linear",
            "Bias",
            "Activate",
            "Product",
            "Normalise",
            "Dropout",
            "Attend",
        ),
        *("Rescale", "TokenTable", "PositionBias"),
    ),
    "sigprop.language.nodes": ("Truncate", "Gate", "Experts", "Ones", "Sampled"),
    "sigprop.blocks.residual": ("Join",),
    "sigprop.registry.parameters": ("Parameter",),
    "sigprop.language.scores": ("Scores",),
    "sigprop.language.scalar": ("Number",),
    "sigprop.language.activation": ("Activation",),
    "sigprop.tables.table": ("Table",),
    "sigprop.errors": ("InputError", "NoRule", "Diverged"),
}
"""Where each public name lives."""

_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used, so that ``import sigprop`` imports neither jax
    nor sympy."""
    if name not in _HOME:
        raise AttributeError(f"module 'sigprop' has no attribute {name!r}")
    module = importlib.import_module(_HOME[name])
    return module if _HOME[name] == f"{__name__}.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
