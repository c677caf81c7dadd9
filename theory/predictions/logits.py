"""What a head says of a network's last state: the contact of a word with its own embedding, and
the initial cross-entropy."""

from __future__ import annotations

import math

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import no_rule

POINTS, REACH = 4001, 10.0  # of the Gaussian average, in standard deviations


def cross_entropy(variance: float, vocabulary: int) -> float:
    """E log sum_w e^(zeta_w) over V iid zeta ~ N(0, variance): the loss of a target that the
    weights know nothing of.

    = int (e^(-e^y) - phi(e^y)^V) dy over y = log u, phi(u) = E e^(-u e^zeta); log V + variance/2
    while variance << 2 log V. Source: derived (Frullani's integral for log;
    tests/theory/predictions/test_head.py).
    """
    s = math.sqrt(variance)
    z = np.linspace(-REACH, REACH, POINTS)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    low, high = -REACH * s - variance - math.log(vocabulary) - 40, REACH * s + 6
    y = np.linspace(low, high, 4000)
    phi = np.array([weight @ np.exp(-np.exp(np.minimum(s * z + at, 60.0))) for at in y])
    return float(np.trapezoid(np.exp(-np.exp(np.minimum(y, 60.0))) - phi**vocabulary, y))


def check_contact(arch: Architecture) -> None:
    """Raise ``NoRule`` unless the read-out sees the last state, or that state normalised."""
    readout = arch.readout
    if not arch.contact_known:
        raise no_rule(
            "logit_contact",
            f"no rule for a read-out of {readout.branch} at {readout.read}",
            "that of the last state, or of its norm",
        )
