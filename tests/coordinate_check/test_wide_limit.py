"""The wide first step over labels: finer samples say the same with smaller errors."""

from __future__ import annotations

import numpy as np

import sigprop as sp
from sigprop.coordinate_check.wide_limit import Step, squares


def test_finer_samples_have_smaller_errors_and_lie_within_the_others():
    """Of a state that grows, where samples scatter most; errors are halves of 99 % intervals."""
    arch = sp.architectures.looped_mlp(depth=2, loops=2, residual_scale=1.0)
    step = Step("adam", {}, 1.0)
    plain, fine = (np.array(squares(arch, step, (), finer)) for finer in (False, True))
    assert (fine[:, 1] < plain[:, 1] / 2).all()
    assert (np.abs(fine[:, 0] - plain[:, 0]) < 2 * np.hypot(plain[:, 1], fine[:, 1])).all()
