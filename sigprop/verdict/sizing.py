"""How many networks on each rung: the cheapest run that confirms a true theory and rejects one
that is twice off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from sigprop.verdict.fit import powers, share, weights
from sigprop.verdict.looks import boundary, draws_for, gaussian, simultaneous
from sigprop.verdict.moments import Floats, Moments
from sigprop.verdict.pilot import TINY

CONFIRM_POWER = 0.95  # of a true theory, all rows at once, by the last look
REJECT_POWER = 0.90  # of a theory that one row, whichever, puts 2 x tolerance off
FLOOR = 200  # networks a rung: enough for its mean to be normal and for lack of fit to show
DEGREE = 2
LEAST = 1e-9  # of the largest rung: fewer networks than that are none


@dataclass(frozen=True)
class Plan:
    """counts: [k] networks a rung and look. weight: [3, k, R] and lever: [R] (``fit.share``), fixed
    before the run. looks: 1 or 2."""

    counts: tuple[int, ...]
    weight: Floats
    lever: Floats
    looks: int

    @classmethod
    def of(cls, x: Floats, variance: Floats, counts: Floats, looks: int) -> Plan:
        """Return the plan of so many networks a rung; variance: [k, R], of one network."""
        error = variance / counts[:, None]
        levers = share(x, error, DEGREE)
        whole = tuple(int(m) for m in counts)
        return cls(whole, weights(x, error, DEGREE), levers, looks)


def cheapest(x: Floats, variance: Floats, cost: Floats) -> Floats:
    """Return Elfving's optimal design for the intercept: m_i = |w_i| sqrt(v_i/c_i), [k].

    w minimises sum_i |w_i| sqrt(v_i c_i) subject to sum_i w_i = 1 and sum_i w_i x_i^p = 0, p = 1, 2
    (a linear programme); the cost for a standard error se is then (sum_i |w_i| sqrt(v_i
    c_i))^2/se^2. x, variance, cost: [k], of one network. Three rungs get networks, the others none.
    Source: docs/verdict.md, step 10.
    """
    basis = powers(x, DEGREE).T
    price = np.sqrt(variance * cost)
    price = price / price.max()
    target = np.eye(DEGREE + 1)[0]
    best = linprog(
        np.concatenate([price, price]), A_eq=np.hstack([basis, -basis]), b_eq=target, method="highs"
    )
    # a rung more than coefficients, ascending: the programme has a solution
    assert best.x is not None
    w: Floats = best.x[: len(x)] + best.x[len(x) :]
    return w * np.sqrt(variance / cost)


def needed(covariance: Floats, room: Floats, looks: int) -> float:
    """Return the factor by which a design with this intercept covariance must be multiplied, each
    look being one such run.

    With independent looks Z1, Z1' ~ N(0, C) and pooled Z2 = (Z1 + Z1')/sqrt 2, a true theory is
    confirmed at look l iff sqrt(factor) >= max_r (|Z_l,r| + c) s_r/room_r (s: se; s/sqrt 2 at look
    2), a row that is 2 x tolerance off is rejected iff sqrt(factor) >= (C_sim + Z_l,r) s_r/room_r:
    both are quantiles of what the draws need, no search. covariance: [R, R]. room: [R], tolerance
    less the known widening, in d. Source: docs/verdict.md, step 7, 8, 10.
    """
    count = draws_for(len(room))
    reach = np.sqrt(np.diag(covariance)) / room
    critical, limit = boundary(looks), simultaneous(covariance, looks)
    pooled = gaussian(covariance, count, 1)
    confirm = ((abs(pooled) + critical) * reach).max(axis=1)
    reject = (limit + pooled) * reach
    if looks == 2:
        pooled = (pooled + gaussian(covariance, count, 2)) / np.sqrt(2)
        confirm = np.minimum(confirm, ((abs(pooled) + critical) * reach).max(axis=1) / np.sqrt(2))
        reject = np.minimum(reject, (limit + pooled) * reach / np.sqrt(2))
    root = max(
        float(np.quantile(confirm, CONFIRM_POWER)),
        float(np.quantile(reject, REJECT_POWER, axis=0).max()),
    )
    return max(root, 0.0) ** 2


def plan(
    pilot: Sequence[Moments],
    ladder: Floats,
    cost: Floats,
    room: Floats,
    *,
    looks: int = 2,
    samples: Sequence[int] | None = None,
    budget: float = np.inf,
) -> Plan:
    """Return counts and weights for the main run from the pilot's covariances.

    The design is the cheapest one for the envelope over rows of v_ir/room_r^2, scaled by ``needed``
    and lifted to FLOOR networks a rung; it shrinks to ``budget`` (cost units, both looks),
    ``samples`` [k] overrides it. room: [R], see ``needed``. Raises ``ValueError`` when the floor
    alone is over the budget.
    """
    x = 1 / ladder
    variance = np.stack([np.maximum(r.variance, TINY) for r in pilot])
    if samples is not None:
        counts = np.asarray(samples, dtype=float)
    else:
        shape = cheapest(x, (variance / room**2).max(axis=1), cost)
        shape = shape / shape.max()
        factor = needed(_covariance(pilot, x, variance, shape), room, looks)
        counts = _affordable(np.maximum(FLOOR, np.ceil(factor * shape)), cost, looks, budget)
    return Plan.of(x, variance, counts, looks)


def _covariance(pilot: Sequence[Moments], x: Floats, variance: Floats, shape: Floats) -> Floats:
    """Return the intercepts' covariance under ``shape`` networks a rung, some of which get none."""
    with np.errstate(divide="ignore"):
        weight = weights(x, variance / np.where(shape > LEAST, shape, 0.0)[:, None], DEGREE)
    used = [i for i in range(len(x)) if shape[i] > LEAST]
    parts = [np.outer(weight[0, i], weight[0, i]) * pilot[i].covariance / shape[i] for i in used]
    return np.asarray(sum(parts))


def _affordable(counts: Floats, cost: Floats, looks: int, budget: float) -> Floats:
    """Return the counts, shrunk to the budget; raise ``ValueError`` when the floor alone is over
    it."""
    if looks * counts @ cost <= budget:
        return counts
    spare = budget / looks - FLOOR * cost.sum()
    if spare < 0:
        raise ValueError(
            f"{FLOOR} networks a rung cost {looks * FLOOR * cost.sum():.3g} > what is "
            f"left of max_cost, {max(budget, 0):.3g}"
        )
    return FLOOR + np.floor((counts - FLOOR) * spare / ((counts - FLOOR) @ cost))
