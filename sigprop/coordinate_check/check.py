"""``check``: the coordinate check as a test. Real optimiser steps on ladders of finite networks,
slopes judged against theory's.

A row is confirmed when the 95 % interval of slope - reference lies inside +-0.1 and half of it is
at most 0.05, rejected when it lies wholly outside, else inconclusive; the table is rejected if any
row is, else inconclusive if any is. reference: the slope of what the wide limit predicts of the
first step on the same ladder under the prescribed rates, where theory has it; else the leading
exponent, 0. predicted: that slope under the rates in use. Notes hold every point. Source:
docs/check.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sigprop.coordinate_check.ladder import (
    VARIABLES,
    Members,
    Rung,
    default_ladders,
    default_width,
    variables_of,
)
from sigprop.coordinate_check.rates import Parametrisation, Rule, named, prescribed
from sigprop.coordinate_check.reference import first_step
from sigprop.coordinate_check.slopes import Changes, points, rows
from sigprop.coordinate_check.steps import EXTENSION, FIRST, LINEAR, Networks
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError, near_miss
from sigprop.runtime.progress import Progress, Silent
from sigprop.scaling.rates import checked_factor
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.training.changes import check_training
from sigprop.tables.table import Table
from sigprop.verdict.judgement import overall
from sigprop.verdict.slope import HALF_WIDTH, TOLERANCE, needed

NETWORKS, MOST = 32, 256
"""Networks a rung at the first look, and after the extension at most."""


def check(
    arch: Architecture,
    optimizer: str = "adamw",
    parametrisation: str | Parametrisation = "prescribed",
    seed: int = 0,
    variables: Sequence[str] | None = None,
    steps: Sequence[int] = (1, 10),
    *,
    ladders: Mapping[str, Sequence[int]] | None = None,
    width: int | None = None,
    loss: str = "linear",
    networks: int = NETWORKS,
    most: int = MOST,
    shape_factor: str | None = None,
    progress: Progress | None = None,
) -> Table:
    """Test slopes of ln(rms change) in ln(size) for equivalence with the reference slopes within
    +-0.1 (the rows are those of this module's docstring).

    arch: a registered architecture; what it is at other sizes is built from its parameters;
    optimizer: sgd, adam, adamw or muon (optax); parametrisation: 'prescribed', 'naive', or a
    function (arch, width, optimizer) -> ``Rule``; seed: of weights, inputs and labels; variables:
    of width n, depth L and loops N, by default all it has; steps: after how many; ladders:
    {variable: sizes}, by default n = 128..1024 (muon: 64..256), L and N = 2..32, the others at L =
    2, N = 2 and n = width, by default 128 (muon: 64); loss: 'linear', -(1/T) sum y_t z_t with y =
    +-1, or 'squared'; networks, most: a rung, at first and after the one extension; shape_factor:
    of muon, as in ``rules``. Raises ``InputError``, ``Diverged``. Source: docs/check.md.
    """
    width = default_width(optimizer) if width is None else width
    check_sizes(width=width, seed=seed)
    arch.without_experts("check")
    steps = check_training(optimizer, steps, loss)
    looks = _checked_looks(networks, most)
    factor = checked_factor(optimizer, shape_factor)
    name, rule = named(parametrisation)
    rule = functools.partial(prescribed, shape_factor=shape_factor) if rule is prescribed else rule
    pairs = _ladders(arch, name == "naive", variables, _Sizes(ladders or {}, width, optimizer))
    run = Networks(optimizer, rule, steps, loss, seed, factor)
    # what it refuses it refuses before anything is run
    _rates(next(iter(pairs.values())).sampled[0], optimizer, rule)
    changes = _all_changes(run, pairs, looks, progress or Silent())
    return _table(arch, name, run, changes)


class _Looks(NamedTuple):
    """Networks a rung: at the first look, and at most."""

    first: int
    most: int


def _checked_looks(networks: int, most: int) -> _Looks:
    """Return the two numbers of networks; raise ``InputError`` where slopes could not be had."""
    if not 4 <= networks <= most:
        raise InputError(
            f"networks={networks}, most={most}; accepted: at least 4, and most no smaller"
        )
    return _Looks(networks, most)


class _Sizes(NamedTuple):
    """Sizes that were asked for: {variable: its ladder}, and n where n does not vary; the
    optimizer, whose steps limit the others."""

    ladders: Mapping[str, Sequence[int]]
    width: int
    optimizer: str

    def ladder(self, variable: str) -> Sequence[int]:
        """The ladder asked for, else the default one."""
        return self.ladders.get(variable, default_ladders(self.optimizer)[variable])


class _Pair(NamedTuple):
    """Ladders of one variable: of the networks that are sampled, and of those whose prescribed
    rule is the reference."""

    sampled: list[Rung]
    reference: list[Rung]


def _ladders(
    arch: Architecture, naive: bool, variables: Sequence[str] | None, sizes: _Sizes
) -> dict[str, _Pair]:
    """Return the ladders of each variable; raise ``InputError`` for sizes that no network has.
    naive: the sampled networks' residual_scale is 1."""
    prescribed = Members(arch)
    family = Members(arch, {"residual_scale": 1.0}) if naive else prescribed
    for unknown in set(sizes.ladders) - set(VARIABLES):
        raise InputError(f"ladders: {unknown!r}{near_miss(unknown, VARIABLES)}")
    return {
        variable: _Pair(
            *(
                members.ladder(variable, sizes.ladder(variable), sizes.width)
                for members in (family, prescribed)
            )
        )
        for variable in variables_of(arch, variables)
    }


def _all_changes(
    run: Networks, pairs: Mapping[str, _Pair], looks: _Looks, progress: Progress
) -> list[Changes]:
    """Sample every ladder, while theory compiles beside the networks."""
    with ThreadPoolExecutor(1) as pool:
        predicted = {
            variable: _Predicted(
                pool.submit(_first_steps, pair.sampled, run, run.rule),
                pool.submit(_first_steps, pair.reference, run, run.prescribed),
            )
            for variable, pair in pairs.items()
        }
        try:
            return [
                _sampled(run, _Ladder(variable, pair.sampled, predicted[variable]), looks, progress)
                for variable, pair in pairs.items()
            ]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Predicted(NamedTuple):
    """Hold what ``_first_steps`` will have returned for the two ladders of a ``_Pair``."""

    in_use: Future[list[list[float]] | None]
    reference: Future[list[list[float]] | None]


def _first_steps(
    ladder: Sequence[Rung], run: Networks, rule: Parametrisation
) -> list[list[float]] | None:
    """Return ln of every observable's first change at every size; None where theory has it not at
    every size, or there is no prescription (which only another rule's reference would want)."""
    try:
        logs = [
            first_step(
                rung.arch,
                rung.width,
                run.optimizer,
                _rates(rung, run.optimizer, rule),
                run.shape_factor,
            )
            for rung in ladder
        ]
    except InputError:
        return None
    predicted = [value for value in logs if value is not None]
    return predicted if len(predicted) == len(logs) else None


def _rates(rung: Rung, optimizer: str, rule: Parametrisation) -> Rule:
    """Return the rule at one size."""
    return rule(rung.arch, rung.width, optimizer)


class _Ladder(NamedTuple):
    """A variable, the rungs that are sampled, and theory's first step on them."""

    variable: str
    rungs: Sequence[Rung]
    predicted: _Predicted


def _sampled(run: Networks, ladder: _Ladder, looks: _Looks, progress: Progress) -> Changes:
    """Take the first look, and one extension with fresh networks, as many as its intervals ask
    for."""
    rungs = ladder.rungs
    rate = run.linear_rate(rungs[-1])
    progress.start(len(rungs) * looks.first, "networks")
    squares = run.ladder(rungs, rate, looks.first, FIRST, progress.advance)
    theory, reference = (future.result() for future in ladder.predicted)
    changes = Changes(ladder.variable, rate, run.steps, run.loss, rungs, theory, reference, squares)
    fits = [changes.fit(at) for at in changes.cells()]
    more = max(needed(line, looks.first, looks.most) for line in fits) - looks.first
    if more > 0:
        progress.start(len(rungs) * more, "more networks")
        fresh = run.ladder(rungs, rate, more, EXTENSION, progress.advance)
        changes.squares = [np.concatenate(pair) for pair in zip(squares, fresh, strict=True)]
    return changes


def _table(
    arch: Architecture, parametrisation: str, run: Networks, changes: Sequence[Changes]
) -> Table:
    """Gather every ladder's rows and points."""
    judged = [row for ladder in changes for row in rows(ladder)]
    notes: dict[str, Any] = {
        "optimizer": run.optimizer,
        **({"shape_factor": run.shape_factor} if run.optimizer == "muon" else {}),
        "parametrisation": parametrisation,
        "seed": run.seed,
        "loss": run.loss,
        "labels": "+-1 of each token",
        "rates": {ladder.variable: ladder.rate for ladder in changes},
        "linear_within": LINEAR,
        "engine": "dense",
        "dtype": next(iter(run.programs.values())).dtype,
        "estimator": "ln of the rms over networks, tokens and coordinates",
        "tolerance": TOLERANCE,
        "half_width": HALF_WIDTH,
        "points": [point for ladder in changes for point in points(ladder)],
    }
    verdict = overall([row["verdict"] for row in judged])
    return Table(arch.name, dict(arch.parameters), judged, "check", verdict, notes)
