"""How a learned modulator is distributed at initialisation, and below which value it skips a given
share of tokens (Mixture-of-Depths).

m = (mean over c = 1..C of sigmoid(z_c))^beta with z_c ~ N(0, variance) independent, whatever the
token's direction: its scores are w_c . h with |h|^2 = n and w of variance variance/n. Source:
derived; tests/description/test_modulators.py compares with draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import InputError

Floats = NDArray[np.float64]
BINS = 2**12  # of one sigmoid


class Modulator:
    """The distribution of m for C directions, power beta and w of that variance over n."""

    def __init__(self, directions: int, beta: float, variance: float = 1.0):
        from scipy.special import logit, ndtr

        self.directions, self.beta = directions, beta
        self.sd: float = variance**0.5
        edges = np.linspace(0, 1, BINS + 1)
        one = np.diff(ndtr(logit(edges) / self.sd))  # mass of a sigmoid in each bin
        size = directions * (BINS - 1) + 1
        total = np.fft.irfft(np.fft.rfft(one, 2 * size) ** directions, 2 * size)[:size]
        # means of C bins' centres, upper edges
        self.at = (np.arange(size) + (directions + 1) / 2) / (BINS * directions)
        self.mass = np.cumsum(np.clip(total, 0, None))

    def below(self, m: Floats | float) -> Floats:
        """P(modulator < m)."""
        from scipy.special import logit, ndtr

        mean = np.clip(m, 0, 1) ** (1 / self.beta)
        if self.directions > 1:
            return np.interp(mean, self.at, self.mass, left=0.0, right=1.0)
        return np.asarray(ndtr(logit(mean) / self.sd))

    def quantile(self, rate: float) -> float:
        """m with P(modulator < m) = rate."""
        from scipy.optimize import root_scalar

        return root_scalar(
            lambda m: float(self.below(m)) - rate, bracket=(0.0, 1.0), xtol=1e-12
        ).root


def thresholds(
    alpha: Floats, rate: float, by: str, threshold: str, directions: int, beta: float
) -> Floats:
    """[D] what m must reach for an application not to skip the token, so that a share ``rate`` of
    tokens and applications is skipped.

    by: 'gain' skips where alpha_l m is small, 'modulator' where m is; threshold: 'layer', one for
    each application, which skips the same share everywhere, or 'global', one for all (of
    modulators, which are all distributed alike, the same thing). Raises ``InputError``.
    """
    from scipy.optimize import root_scalar

    known = Modulator(directions, beta)
    if by == "modulator" or threshold == "layer":
        return np.full(len(alpha), known.quantile(rate))
    if not (alpha > 0).all():
        raise InputError(
            "alpha_0=0 with mod_by=gain: every gain is 0, none is smallest; accepted: gains > 0"
        )

    def share(log_tau: float) -> float:
        return float(np.mean(known.below(np.exp(log_tau) / alpha))) - rate

    tau = np.exp(
        root_scalar(
            share,
            bracket=(np.log(alpha.min()) - 50 * max(beta, 1.0), np.log(alpha.max())),
            xtol=1e-13,
        ).root
    )
    return tau / alpha
