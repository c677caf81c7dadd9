"""One ladder of ``check``: its networks, at as many looks as its rows ask for, while theory's
first steps are made beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from sigprop.coordinate_check.causes import rejected
from sigprop.coordinate_check.ladder import Rung
from sigprop.coordinate_check.rates import Parametrisation
from sigprop.coordinate_check.reference import first_step
from sigprop.coordinate_check.slopes import Changes
from sigprop.coordinate_check.steps import RUNGS, Networks
from sigprop.errors import InputError
from sigprop.runtime.progress import Labelled, Progress
from sigprop.verdict.slope import Known, level, looks

ENOUGH = 4
"""Of the first look's networks, after which a rejected ladder is looked at no more."""
Logs = list[list[Known]] | None


class Pair(NamedTuple):
    """Ladders of one variable: of the networks that are sampled, and of those whose prescribed
    rule is the reference."""

    sampled: list[Rung]
    reference: list[Rung]


class _Predicted(NamedTuple):
    """Hold what ``_first_steps`` will have returned for the two ladders of a ``Pair``."""

    in_use: Future[Logs]
    reference: Future[Logs]


def all_changes(
    run: Networks, pairs: Mapping[str, Pair], networks: tuple[int, int], progress: Progress
) -> list[Changes]:
    """Sample every ladder, while theory compiles beside the networks. networks: of the last rung,
    at first and at most."""
    _ask_rates(run, pairs, progress)
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
                _sampled(run, variable, (pair.sampled, predicted[variable]), networks, progress)
                for variable, pair in pairs.items()
            ]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ask_rates(run: Networks, pairs: Mapping[str, Pair], progress: Progress) -> None:
    """Make every size's rates before anything is run, so that what they refuse is refused; where
    no law has depth they are the recursion's, which takes its time, network by network."""
    rungs = [rung for pair in pairs.values() for rung in pair.sampled]
    networks = {id(rung.arch): rung for rung in rungs}
    progress.start(len(networks), "rates of every size")

    def ask(rung: Rung) -> None:
        # a rule of one's own may start the read-out at zero, too
        run.zero = not run.rates(rung).readout or run.zero
        progress.advance(1)

    with ThreadPoolExecutor(RUNGS) as pool:
        list(pool.map(ask, networks.values()))


def _first_steps(ladder: Sequence[Rung], run: Networks, rule: Parametrisation) -> Logs:
    """Return ln of every column's first change at every size; None where theory has it not at
    every size, or there is no prescription (which only another rule's reference would want)."""
    found: list[list[Known]] = []
    try:
        for rung in ladder:
            rates, parts = run.rates(rung, rule), run.parts(rung.arch)
            logs = first_step(
                rung.arch, rung.width, run.optimizer, rates, run.shape_factor, parts, run.fine
            )
            if logs is None:
                return None
            found.append(logs)
    except InputError:
        return None
    return found


def _sampled(
    run: Networks,
    variable: str,
    ladder: tuple[list[Rung], _Predicted],
    networks: tuple[int, int],
    progress: Progress,
) -> Changes:
    """Look at the networks, and at twice as many, until every row is decided."""
    rungs, predicted = ladder
    told, planned = Labelled(progress, variable), looks(*networks)
    told.start(2, "a rate of the linear regime")
    rate = run.linear_rate(rungs, told.advance)
    each = sum(rung.times for rung in rungs)
    squares: list[np.ndarray] | None = None
    have, want, changes = 0, planned[0], None
    while want > have:
        told.start(each * (want - have), "networks" if changes is None else "more networks")
        fresh = run.ladder(rungs, rate, (have, want), told.advance)
        squares = fresh if squares is None else _joined(squares, fresh)
        if changes is None:
            changes = _changes(run, variable, (rungs, rate), predicted, told)
            changes.confidence = level(len(planned))
        changes.squares = squares
        have, want = want, _next(changes, planned, want)
    assert changes is not None  # there is a first look
    return changes


def _joined(old: list[np.ndarray], new: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate(pair) for pair in zip(old, new, strict=True)]


def _changes(
    run: Networks,
    variable: str,
    ladder: tuple[list[Rung], float],
    predicted: _Predicted,
    progress: Progress,
) -> Changes:
    """Wait for theory, and return the ladder without its networks."""
    rungs, rate = ladder
    progress.start(len(predicted), "theory's first step")
    logs: list[Logs] = []
    for future in predicted:
        logs.append(future.result())
        progress.advance(1)
    columns = run.columns(rungs[0].arch)
    return Changes(variable, rate, run.steps, run.loss, columns, rungs, *logs, squares=[])


def _next(changes: Changes, planned: tuple[int, ...], have: int) -> int:
    """Look, and return how many networks to look at next: those there are when all is decided, or
    a row is rejected by enough of them."""
    open_ = changes.look(have)
    if not open_ or have == planned[-1] or (rejected(changes) and have >= ENOUGH * planned[0]):
        return have
    return planned[planned.index(have) + 1]
