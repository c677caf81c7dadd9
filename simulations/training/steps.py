"""Optimiser steps as people take them: optax, one rate, epsilon and decay for each group of
parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sigprop.errors import InputError, near_miss
from sigprop.runtime.optax import contrib_with_muon

OPTIMISERS = ("sgd", "adam", "adamw", "muon")
MATRICES = (2, 1)
"""Axes n_in and n_out of a weight [slots, n_out, n_in]: the polar factor is each slot's own."""


class Setting(NamedTuple):
    """Of one group: rate (W <- W - rate * direction), epsilon (beside the root of Adam's second
    moment, or the norm of Muon's momentum), decay (AdamW, Muon: W <- W - rate decay W)."""

    rate: Any
    epsilon: Any = 0.0
    decay: Any = 0.0


def check_optimizer(name: str) -> str:
    """The optimiser's name, when it is one of ``OPTIMISERS``; raises ``InputError``."""
    if name not in OPTIMISERS:
        raise InputError(f"optimizer={name!r}{near_miss(str(name), OPTIMISERS)}")
    return name


def library() -> Any:
    """optax; raises ``InputError`` where it is not installed."""
    try:
        import optax
    except ImportError:
        raise InputError(
            "optax is not installed, and real optimiser steps are taken with it; accepted: pip "
            "install 'sigprop[optax]'"
        ) from None
    return optax


def transform(
    name: str, settings: Mapping[str, Setting], matrices: Collection[str] = frozenset()
) -> Any:
    """The optax transformation of parameters {group: array}: W <- W + update, each group by its own
    ``Setting``; matrices: groups [slots, n_out, n_in] that Muon moves, the others AdamW.

        sgd    update = -rate g
        adam   update = -rate m/(sqrt(v) + epsilon), m and v the bias-corrected moments (0.9,
               0.999): the first step is -rate sign(g)
        adamw  the same and -rate decay W
        muon   update = -rate sqrt(max(1, n_out/n_in)) O - rate decay W, O each matrix's Nesterov
               momentum (0.95) after five Newton-Schulz iterations, close to its polar factor

    Settings may be traced. Source: optax; tests/simulations/training/test_training.py.
    """
    import jax

    optax = library()
    check_optimizer(name)
    one = {
        "sgd": lambda s: optax.sgd(s.rate),
        "adam": lambda s: optax.adam(s.rate, eps=s.epsilon),
        "adamw": lambda s: optax.adamw(s.rate, eps=s.epsilon, weight_decay=s.decay),
        "muon": lambda s: optax.adamw(s.rate, eps=s.epsilon, weight_decay=s.decay),
    }[name]
    of_matrices = _muon if name == "muon" else one
    rule = optax.multi_transform(
        {
            group: (of_matrices if group in matrices else one)(setting)
            for group, setting in settings.items()
        },
        {group: group for group in settings},
    )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        # optax raises a float to the power of an integer count
        with jax.numpy_dtype_promotion("standard"):
            return rule.update(updates, state, params)

    return optax.GradientTransformation(rule.init, update)


def _muon(setting: Setting) -> Any:
    """Return optax's Muon of matrices [slots, n_out, n_in]."""
    import jax

    contrib = contrib_with_muon()
    numbers = contrib.MuonDimensionNumbers(*MATRICES)
    return contrib.muon(
        setting.rate,
        eps=setting.epsilon,
        weight_decay=setting.decay,
        muon_weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: numbers, tree),
    )
