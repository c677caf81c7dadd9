"""Optimiser steps as people take them: optax, one rate, epsilon and decay for each group of
parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sigprop.errors import InputError, near_miss

OPTIMISERS = ("sgd", "adam", "adamw")


class Setting(NamedTuple):
    """Of one group: rate (W <- W - rate * direction), epsilon (beside the root of Adam's second
    moment), decay (AdamW: W <- W - rate decay W)."""

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


def transform(name: str, settings: Mapping[str, Setting]) -> Any:
    """The optax transformation of parameters {group: array}: W <- W + update, each group by its own
    ``Setting``.

        sgd    update = -rate g
        adam   update = -rate m/(sqrt(v) + epsilon), m and v the bias-corrected moments (0.9,
               0.999): the first step is -rate sign(g)
        adamw  the same and -rate decay W

    Settings may be traced. Source: optax; tests/simulations/training/test_training.py.
    """
    import jax

    optax = library()
    check_optimizer(name)
    one = {
        "sgd": lambda s: optax.sgd(s.rate),
        "adam": lambda s: optax.adam(s.rate, eps=s.epsilon),
        "adamw": lambda s: optax.adamw(s.rate, eps=s.epsilon, weight_decay=s.decay),
    }[name]
    rule = optax.multi_transform(
        {group: one(setting) for group, setting in settings.items()},
        {group: group for group in settings},
    )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        # optax raises a float to the power of an integer count
        with jax.numpy_dtype_promotion("standard"):
            return rule.update(updates, state, params)

    return optax.GradientTransformation(rule.init, update)
