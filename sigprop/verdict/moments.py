"""Sufficient statistics of independent networks: what a verdict keeps of half a million vectors
of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sigprop.errors import Diverged

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """Count, mean, scatter and extremes of the deviations d = (x - theory)/scale of ``count``
    networks of one width.

    mean, low, high: [R]. scatter: [R, R], sum (d - mean)(d - mean)^T. heaviest, weight: [R], the
    largest and the sum of the networks' weights u (see ``weigh``). Two sets of networks merge by
    ``+`` (Chan, Golub and LeVeque 1983), in any order, to rounding. Source: docs/verdict.md, step 1
    and 2.
    """

    count: int
    mean: Floats
    scatter: Floats
    low: Floats
    high: Floats
    heaviest: Floats
    weight: Floats

    @classmethod
    def of(cls, deviations: Floats, weights: Floats) -> Moments:
        """deviations, weights: [samples >= 1, R]. Raises ``Diverged`` on a number that is not
        finite."""
        if not (np.isfinite(deviations).all() and np.isfinite(weights).all()):
            raise Diverged()
        mean = deviations.mean(axis=0)
        centred = deviations - mean
        return cls(
            count=len(deviations),
            mean=mean,
            scatter=centred.T @ centred,
            low=deviations.min(axis=0),
            high=deviations.max(axis=0),
            heaviest=weights.max(axis=0),
            weight=weights.sum(axis=0),
        )

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of networks together."""
        count = self.count + other.count
        shift = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + shift * (other.count / count),
            scatter=self.scatter
            + other.scatter
            + np.outer(shift, shift) * (self.count * other.count / count),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            heaviest=np.maximum(self.heaviest, other.heaviest),
            weight=self.weight + other.weight,
        )

    def rows(self, keep: Booleans | NDArray[np.intp]) -> Moments:
        """The same networks, with the rows ``keep`` (boolean or integer index) only."""
        vectors = {
            name: getattr(self, name)[keep]
            for name in ("mean", "low", "high", "heaviest", "weight")
        }
        return Moments(count=self.count, scatter=self.scatter[keep][:, keep], **vectors)

    @property
    def covariance(self) -> Floats:
        """[R, R] covariance of one network's rows, scatter / (count - 1)."""
        return self.scatter / max(self.count - 1, 1)

    @property
    def variance(self) -> Floats:
        """[R] variance of one network's rows."""
        return np.diag(self.scatter) / max(self.count - 1, 1)

    def with_variance(self, variance: Floats) -> Moments:
        """The same networks, their correlations at another variance of each row [R]."""
        own = self.variance
        s = np.sqrt(np.where(own > 0, variance / np.where(own > 0, own, 1.0), 1.0))
        return replace(self, scatter=self.scatter * np.outer(s, s))

    @property
    def size(self) -> Floats:
        """[R] mean weight: about |mean x|/scale for rows with scale = |theory|, about 1 for
        cosines."""
        return self.weight / self.count

    @property
    def share(self) -> Floats:
        """[R] the largest part of a row's sum that a single network carries, max u / sum u."""
        return self.heaviest / np.where(self.weight > 0, self.weight, 1.0)

    @property
    def reach(self) -> Floats:
        """[R] how far the furthest network is from the mean."""
        return np.maximum(self.high - self.mean, self.mean - self.low)

    @property
    def variance_share(self) -> Floats:
        """[R] the largest part of a row's scatter that a single network carries: large when the
        standard error is luck."""
        scatter = np.diag(self.scatter)
        return np.where(scatter > 0, self.reach**2 / np.where(scatter > 0, scatter, 1.0), 0.0)


def weigh(values: Floats, theory: Floats, scale: Floats) -> Floats:
    """u = |x|/scale + max(0, 1 - |theory|/scale): what a network contributes to a row, [samples,
    R].

    A variance (scale = |theory|) weighs |x|/scale. A cosine or a covariance near zero weighs about
    1, so that a sum that happens to cancel is not taken for one that a single network carries.
    values: [samples, R]; theory, scale: [R].
    """
    return np.abs(values) / scale + np.maximum(0.0, 1.0 - np.abs(theory) / scale)
