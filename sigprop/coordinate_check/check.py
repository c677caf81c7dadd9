"""``check``: the coordinate check as a test. Real optimiser steps on ladders of finite networks,
slopes judged against theory's.

A row is confirmed when the interval of slope - reference lies inside +-0.1, rejected when it lies
wholly outside, else inconclusive; the table is rejected if any row is, else inconclusive if any is.
Intervals hold with 95 % over all looks. reference: the slope of what the wide limit predicts of the
first step on the same ladder under the prescribed rates, where theory has it; else, of output and
states, the leading exponent, 0, which half an interval of at most 0.05 confirms. predicted: that
slope under the rates in use. Notes hold every point, and which groups break. Source: docs/check.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sigprop.coordinate_check.causes import LETTERS
from sigprop.coordinate_check.causes import notes as causes
from sigprop.coordinate_check.ladder import (
    VARIABLES,
    Members,
    default_ladders,
    default_width,
    variables_of,
)
from sigprop.coordinate_check.looks import Pair, all_changes
from sigprop.coordinate_check.rates import Parametrisation, named, prescribed
from sigprop.coordinate_check.slopes import Changes, points, rows
from sigprop.coordinate_check.steps import LINEAR, Networks
from sigprop.description.architecture import Architecture, check_described
from sigprop.errors import InputError, near_miss
from sigprop.runtime.progress import Progress, Silent
from sigprop.scaling.rates import checked_factor
from sigprop.simulations.measure import check_sizes
from sigprop.simulations.training.changes import check_training
from sigprop.tables.table import Table
from sigprop.verdict.judgement import overall
from sigprop.verdict.slope import HALF_WIDTH, TOLERANCE

NETWORKS, MOST = 8, 256
"""Networks of a ladder's last rung, at the first look and at the last (of cheaper rungs up to four
times as many)."""
READOUTS = ("random", "zero")
ZERO = (
    "readout=zero: the first step moves the read-out alone, and what follows it in other groups "
    "and in the states has no prediction; their rows are left out"
)
TIED = (
    "head=tied: the output is the logit of a word that is not among the inputs, whose embedding "
    "is the read-out; what ties it to words that are has no first step"
)


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
    readout: str = "random",
    parts: bool = False,
    networks: int = NETWORKS,
    most: int = MOST,
    shape_factor: str | None = None,
    fine: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Test slopes of ln(rms change) in ln(size) for equivalence with the reference slopes within
    +-0.1 (the rows are those of this module's docstring).

    arch: a registered architecture, or one with a ``Family``, which builds it at other sizes;
    optimizer: sgd, adam, adamw or muon (optax); parametrisation: 'prescribed', 'naive', or a
    function (arch, width, optimizer) -> ``Rule``; seed: of weights, inputs and labels; variables:
    of width n, depth L and loops N, by default all it has; steps: after how many; ladders:
    {variable: sizes}, by default n = 128..1024 (muon: 64..256), L and N = 2..32, the others at L =
    2, N = 2 and n = width, by default 128 (muon: 64); loss: 'linear', -(1/T) sum y_t z_t with y =
    +-1, or 'squared'; readout: 'random' of the rule's scale, or 'zero'; parts: whether every
    group's effective part and every matrix's propagating part, at 1/4, 1/2, 3/4 and all of its
    applications, are rows; networks, most: of the largest size, at the first look and the last;
    shape_factor: of muon, as in ``rules``; fine: theory's samples are four times as
    many, of four times the points, for references to some tenths of a percent. Raises
    ``InputError``, ``Diverged``. Source: docs/check.md.
    """
    check_described(arch)
    width = default_width(optimizer) if width is None else width
    check_sizes(width=width, seed=seed)
    arch.without_experts("check")
    steps = check_training(optimizer, steps, loss)
    _check_choices(networks, most, readout)
    factor = checked_factor(optimizer, shape_factor)
    name, rule = named(parametrisation)
    rule = functools.partial(prescribed, shape_factor=shape_factor) if rule is prescribed else rule
    pairs = _ladders(arch, name == "naive", variables, _Sizes(ladders or {}, width, optimizer))
    run = Networks(optimizer, rule, steps, loss, seed, factor, parts, readout == "zero", fine)
    changes = all_changes(run, pairs, (networks, most), progress or Silent())
    return _table(arch, name, run, changes)


def _check_choices(networks: int, most: int, readout: str) -> None:
    """Raise ``InputError`` for networks that slopes could not be had of, or another read-out."""
    if not 4 <= networks <= most:
        raise InputError(
            f"networks={networks}, most={most}; accepted: at least 4, and most no smaller"
        )
    if readout not in READOUTS:
        raise InputError(f"readout={readout!r}{near_miss(str(readout), READOUTS)}")


class _Sizes(NamedTuple):
    """Sizes that were asked for: {variable: its ladder}, and n where n does not vary; the
    optimizer, whose steps limit the others."""

    ladders: Mapping[str, Sequence[int]]
    width: int
    optimizer: str

    def ladder(self, variable: str) -> Sequence[int]:
        """The ladder asked for, else the default one."""
        return self.ladders.get(variable, default_ladders(self.optimizer)[variable])


def _ladders(
    arch: Architecture, naive: bool, variables: Sequence[str] | None, sizes: _Sizes
) -> dict[str, Pair]:
    """Return the ladders of each variable; raise ``InputError`` for sizes that no network has.
    naive: the sampled networks' residual_scale is 1."""
    prescribed = Members(arch)
    family = Members(arch, {"residual_scale": 1.0}) if naive else prescribed
    for unknown in set(sizes.ladders) - set(VARIABLES):
        raise InputError(f"ladders: {unknown!r}{near_miss(str(unknown), VARIABLES)}")
    return {
        variable: Pair(
            *(
                members.ladder(variable, sizes.ladder(variable), sizes.width)
                for members in (family, prescribed)
            )
        )
        for variable in variables_of(arch, variables)
    }


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
        "readout": "zero" if run.zero else "random",
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
    said = causes(changes)
    remarks = [ZERO] * run.zero + [TIED] * arch.head.tied
    notes |= said | {"remarks": [_said(run.optimizer, parametrisation, changes), *said["remarks"]]}
    notes["remarks"] += remarks
    verdict = overall([row["verdict"] for row in judged])
    return Table(arch.name, dict(arch.parameters), judged, "check", verdict, notes)


def _said(optimizer: str, parametrisation: str, changes: Sequence[Changes]) -> str:
    """Say what was run: ``adamw, naive: n = 64, 128; L = 2, 4, 8 at n = 64``."""
    ladders: list[str] = []
    for ladder in changes:
        at = "" if ladder.variable == "width" else f" at n = {ladder.ladder[0].width}"
        sizes = ", ".join(map(str, ladder.sizes))
        ladders.append(f"{LETTERS[ladder.variable]} = {sizes}{at}")
    return f"{optimizer}, {parametrisation}: {'; '.join(ladders)}"
