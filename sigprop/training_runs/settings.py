"""What a training run is asked for, checked before anything is compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sigprop.coordinate_check.rates import prescribed
from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, near_miss
from sigprop.simulations.learning.grid import groups
from sigprop.simulations.learning.network import EMBEDDING, POSITION, Variances, variances
from sigprop.simulations.training.steps import Setting, check_optimizer, library

EPSILON = 1e-8  # optax's own
DTYPES = ("float32", "bfloat16")
PARAMETRISATIONS = ("constant", "prescribed")
WORDS = 256
MOST_STEPS, MOST_MEMBERS = 10**7, 10**4
Factors = str | Mapping[str, float]


class Run(NamedTuple):
    """One run: the optimiser, rates and seeds of the grid, how many steps of how many sequences,
    warm-up steps, the largest gradient norm (None: not clipped), weight decay, precision."""

    optimizer: str
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    batch: int
    warmup: int
    clip: float | None
    decay: float
    dtype: str


def checked(run: Run) -> Run:
    """Return the run; raises ``InputError`` for the first setting that is wrong."""
    check_optimizer(run.optimizer)
    library()
    if run.dtype not in DTYPES:
        raise InputError(f"dtype={run.dtype!r}{near_miss(str(run.dtype), DTYPES)}")
    _whole("steps", run.steps, 1, MOST_STEPS)
    _whole("batch", run.batch, 1, MOST_STEPS)
    _whole("warmup", run.warmup, 0, MOST_STEPS)
    for name, least, values in (("rates", 0.0, run.rates), ("seeds", -1, run.seeds)):
        if not values or len(set(values)) < len(values):
            raise InputError(f"{name}={values}; accepted: one or more, each once")
        for value in values:
            if not math.isfinite(value) or value <= least:
                raise InputError(f"{name}: {value!r}; accepted: finite numbers above {least:g}")
    for seed in run.seeds:
        _whole("seeds", seed, 0, 2**32 - 1)
    if run.clip is not None and not 0 < run.clip < math.inf:
        raise InputError(f"clip={run.clip!r}; accepted: a number above 0, or None")
    if not 0 <= run.decay < math.inf:
        raise InputError(f"decay={run.decay!r}; accepted: a number from 0 on")
    if len(run.rates) * len(run.seeds) > MOST_MEMBERS:
        raise InputError(
            f"rates and seeds: {len(run.rates) * len(run.seeds)} networks; accepted: at most "
            f"{MOST_MEMBERS}"
        )
    return run


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{name}={value!r}; accepted: an integer from {least} to {most}")


def words_of(arch: Architecture) -> int:
    """Return the vocabulary: the head's, else all bytes. Raises ``InputError`` beyond bytes."""
    words = arch.head.vocabulary or WORDS
    if words > WORDS:
        raise InputError(f"vocabulary={words}; accepted: 2 to {WORDS}, words are bytes")
    return words


class Rates(NamedTuple):
    """{group: factor of the rate, epsilon, decay}, and the variances outside the body."""

    groups: dict[str, Setting]
    spread: Variances


def rates_of(arch: Architecture, width: int, run: Run, parametrisation: Factors) -> Rates:
    """Return what each group is trained with, over the base rate.

    parametrisation: 'constant', one rate for all; 'prescribed', the powers of width, depth and
    loops of ``check`` (read-out of standard deviation 1/n, Adam's epsilon beside a gradient's
    size); {group: factor}, 1 where it names none. Raises ``InputError``.
    """
    names, spread = groups(arch), variances(arch, width)
    if not isinstance(parametrisation, str):
        return Rates(_given(names, run, parametrisation), spread)
    if parametrisation not in PARAMETRISATIONS:
        raise InputError(
            f"parametrisation={parametrisation!r}{near_miss(parametrisation, PARAMETRISATIONS)}"
        )
    if parametrisation == "constant":
        return Rates(_given(names, run, {}), spread)
    rule = prescribed(arch, width, run.optimizer)
    first = next(iter(arch.stem_parts))
    found = {name: rule.groups[name if name in rule.groups else first] for name in names}
    head = None if spread.head is None else rule.readout**2 * arch.head.variance
    return Rates(
        {name: Setting(g.rate, g.epsilon, run.decay / g.rate) for name, g in found.items()},
        spread._replace(head=head),
    )


def _given(names: Sequence[str], run: Run, factors: Mapping[str, float]) -> dict[str, Setting]:
    for name, factor in factors.items():
        if name not in names:
            raise InputError(f"parametrisation: group {name!r}; accepted: {', '.join(names)}")
        if not 0 <= factor < math.inf:
            raise InputError(f"parametrisation: {name}={factor!r}; accepted: a number from 0 on")
    return {name: Setting(factors.get(name, 1.0), EPSILON, run.decay) for name in names}


__all__ = ["EMBEDDING", "POSITION", "READOUT", "Rates", "Run", "checked", "rates_of", "words_of"]
