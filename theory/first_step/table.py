"""``first_step``: what one optimiser step changes in a wide network, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture, check_described
from sigprop.tables.table import Table
from sigprop.theory.first_step.response import POINTS, Estimate, Response, response

ASSUMES = "n -> infinity at fixed depth and tokens; first order in the rates"


def first_step(
    arch: Architecture,
    optimizer: str = "adam",
    rates: Mapping[str, float] | None = None,
    labels: Sequence[float] | None = None,
    *,
    epsilon: Mapping[str, float] | None = None,
    seed: int = 0,
    points: int = POINTS,
) -> Table:
    """Predict what one step on the loss -(1/T) sum_t y_t z_t changes, to first order in the rates,
    group by group, in the wide limit of maximal update, z = v . h/n.

    arch: the description; optimizer: 'sgd', 'adam', or 'muon' (matrices inside branches, its exact
    polar factor; Adam for the rest); rates: {group: rate}, 1 where not named, over what makes a
    step of order one at every width n: sgd 1 (matrices), n (stem, biases, gates), 1/n (read-out);
    adam 1/n (matrices, read-out), 1 (others); muon sqrt(n_out/n_in) times the polar factor; labels
    [T]: y, all 1 where not given; epsilon {group: Adam's, times n (the read-out's as it is)}, 0
    where not named; seed, points: of sampled coordinates (in each of eight samples, a power of
    two).

    Returns a ``Table`` with rows, by group and for 'all' together: ``output_change``, dz of a
    token; ``state_change``, rms over coordinates after every application; by weight:
    ``effective_change``, rms of dW x at the input it has, and ``propagating_change``, of W dx as
    the input changes in a step of all groups; error: half a 99 % interval. Raises ``InputError``,
    and ``NoRule`` for what has no first step yet: learned modulators, experts, dropout, grouped
    queries, Muon with scores that vanish with the width, tied weights in several bands, tied
    orthogonal matrices. Source: derived (docs/first-step.md; tests/theory/first_step).
    """
    check_described(arch)
    found = response(arch, optimizer, rates, labels, epsilon=epsilon, seed=seed, points=points)
    rows = [*_by_setting(found), *_by_weight(found)]
    notes = {"optimizer": optimizer, "seed": seed, "points": points, "assumes": ASSUMES}
    return Table(arch.name, dict(arch.parameters), rows, "first-step", notes=notes)


def _by_setting(found: Response) -> Iterator[dict[str, Any]]:
    """Yield the rows of the output and of the states."""
    for s, group in enumerate(found.settings):
        for token in range(found.output.value.shape[1]):
            yield _row("output_change", group, None, token, found.output, (s, token))
    size = _rms(found.state)
    for s, group in enumerate(found.settings):
        for application, token in np.ndindex(*size.value.shape[1:]):
            at = (s, application, token)
            yield _row("state_change", group, application, token, size, at)


def _by_weight(found: Response) -> Iterator[dict[str, Any]]:
    """Yield the rows of effective and propagating parts."""
    parts = (("effective_change", found.effective), ("propagating_change", found.propagating))
    for quantity, by_weight in parts:
        for weight, square in by_weight.items():
            size = _rms(square)
            for use, token in np.ndindex(*size.value.shape):
                application = int(found.applications[weight][use]) + 1
                yield _row(quantity, weight, application, token, size, (use, token))


def _row(
    quantity: str,
    group: str,
    application: int | None,
    token: int,
    estimate: Estimate,
    at: tuple[int, ...],
) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "group": group,
        "application": application,
        "token": token,
        "value": float(estimate.value[at]),
        "error": float(estimate.error[at]),
        "status": "sampled",
    }


def _rms(square: Estimate) -> Estimate:
    """Return roots of mean squares, and their errors."""
    value = np.sqrt(square.value)
    upper, lower = (np.sqrt(np.maximum(square.value + k * square.error, 0)) for k in (1, -1))
    return Estimate(value, np.maximum(upper - value, value - lower))
