"""What the first step of an optimiser changes in finite networks, to first order in the rates, by
group of parameters.

One network is one sample: weights and stem of its own, theta of standard deviation 1/n, labels y_t
given. The step goes along the gradient G of (1/T) sum_t y_t z_t, scaled as ``ascent`` says; what it
changes is linear in it (``propagation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import Diverged, InputError
from sigprop.language.expression import Linear
from sigprop.runtime.compiling import jit
from sigprop.simulations.engines.engine import Static, base_key
from sigprop.simulations.network.precision import SINGLE, check_dtype, itemsize, scope
from sigprop.simulations.training import trained
from sigprop.simulations.training.ascent import check_rule
from sigprop.simulations.training.propagation import ALL, Network, Numbers, respond, weights_of

BATCH_BYTES, MOST = 48 * 2**20, 8  # the networks of one call
THREADS = 2


class Estimate(NamedTuple):
    """A mean over networks and its standard error, arrays of one shape, float64."""

    value: np.ndarray
    se: np.ndarray


class Response(NamedTuple):
    """Means over networks of ``Numbers``; settings and weights: names along their first axis;
    width: n, infinite of an extrapolation."""

    settings: tuple[str, ...]
    weights: tuple[str, ...]
    output: Estimate
    state: Estimate
    effective: Estimate
    propagating: Estimate
    width: float
    samples: int
    seed: int

    def of(self, quantity: str, name: str) -> Estimate:
        """Return one setting's (output, state) or weight's (effective, propagating) numbers."""
        names = self.settings if quantity in ("output", "state") else self.weights
        estimate = getattr(self, quantity)
        return Estimate(*(array[names.index(name)] for array in estimate))


class FirstStep:
    """First steps of networks of one description, width and optimiser; one compilation whatever
    the rates, labels and scales are.

    arch: the description; width: n; optimizer: 'sgd', 'adam' (at epsilon 0) or 'muon';
    newton_schulz: Muon's polar factor by five steps of its iteration, not exact; dtype: 'float32'
    or 'float64', which Muon's factors of slots with many uses and tokens need (``polar.CUT``).
    Raises ``InputError``.
    """

    def __init__(
        self,
        arch: Architecture,
        width: int,
        optimizer: str,
        *,
        newton_schulz: bool = False,
        dtype: str = SINGLE,
    ):
        rule = check_rule(optimizer, newton_schulz, width)
        arch.without_experts("the first step of an optimiser")
        self.arch, self.width, self.dtype = arch, width, check_dtype(dtype)
        self.settings = (*arch.groups, ALL)
        self.weights = weights_of(arch)
        self.tables = {"given": trained.tables(arch, dtype), "scales": trained.scales(arch, width)}
        self.static = Static(trained.bare(arch, width), (), width, rule, self.dtype)
        entries = sum(s.size for s in self.static.shapes)
        vectors = (arch.depth + 1) * arch.tokens * width
        copies = (len(self.settings) + 3) * (len(self.static.shapes) + 2)
        network = itemsize(self.dtype) * (3 * entries + copies * vectors)
        self.batch_size = 1 << int(np.log2(np.clip(BATCH_BYTES / network, 1, MOST)))

    def networks(
        self,
        samples: range,
        seed: int,
        *,
        rates: Mapping[str, float] | None = None,
        labels: Sequence[float] | None = None,
        stream: int = 0,
    ) -> Numbers:
        """Return every network's numbers, float64 [networks, ...].

        samples: indices of the networks, which with seed and stream fix every random number; rates
        {group: number}, 1 of those that are not named; labels [T], y_t, all 1 by default. Raises
        ``Diverged`` where one is not finite, ``InputError``.
        """
        if not samples:
            raise InputError(f"samples={samples}; accepted: indices of one or more networks")
        real = np.dtype(self.dtype).type
        table = self.tables | {
            "rates": {group: real(rate) for group, rate in self._rates(rates).items()},
            "labels": self._labels(labels).astype(self.dtype),
        }
        size = self.batch_size

        def batch(first: int) -> Numbers:
            indices = np.arange(first, first + size, dtype=np.uint32)
            with scope(self.dtype):
                key = base_key(self.arch, self.width, seed, stream)
                numbers = _batch(self.static, key, indices, table)
            return Numbers(*(np.asarray(x, dtype=np.float64) for x in numbers))

        firsts = list(range(samples.start, samples.stop, size))
        with ThreadPoolExecutor(THREADS) as pool:
            # the first alone: two at a time would both compile
            parts = [pool.submit(batch, firsts[0]).result(), *pool.map(batch, firsts[1:])]
        found = Numbers(*(np.concatenate(x)[: len(samples)] for x in zip(*parts, strict=True)))
        if not all(np.isfinite(x).all() for x in found):
            raise Diverged
        return self._held(found)

    def response(
        self,
        samples: int,
        seed: int,
        *,
        rates: Mapping[str, float] | None = None,
        labels: Sequence[float] | None = None,
        stream: int = 0,
    ) -> Response:
        """Return means and standard errors over so many networks; arguments as of ``networks``."""
        if samples < 2:
            raise InputError(f"samples={samples}; accepted: 2 or more networks")
        numbers = self.networks(range(samples), seed, rates=rates, labels=labels, stream=stream)
        return self.summary(numbers, seed)

    def summary(self, numbers: Numbers, seed: int) -> Response:
        """Return means and standard errors of networks' numbers [networks, ...], of this seed."""
        samples = len(numbers.output)
        output, state, effective, propagating = (
            Estimate(x.mean(axis=0), x.std(axis=0, ddof=1) / samples**0.5) for x in numbers
        )
        return Response(
            settings=self.settings,
            weights=self.weights,
            output=output,
            state=state,
            effective=effective,
            propagating=propagating,
            width=self.width,
            samples=samples,
            seed=seed,
        )

    def _rates(self, rates: Mapping[str, float] | None) -> dict[str, float]:
        """Return every group's rate; raise ``InputError`` for an unknown group."""
        for group in rates or {}:
            if group not in self.arch.groups:
                raise InputError(f"rates: group {group!r}; accepted: {', '.join(self.arch.groups)}")
        return {group: float((rates or {}).get(group, 1.0)) for group in self.arch.groups}

    def _labels(self, labels: Sequence[float] | None) -> np.ndarray:
        """Return y [T]; raise ``InputError`` for another number of them."""
        tokens = self.arch.tokens
        y = np.ones(tokens) if labels is None else np.asarray(labels, dtype=np.float64)
        if y.shape != (tokens,) or not np.isfinite(y).all():
            raise InputError(f"labels={labels}; accepted: {tokens} numbers, one of each token")
        return y

    def _held(self, numbers: Numbers) -> Numbers:
        """Put NaN where an application does not hold a weight, and where it has no input."""
        held = np.zeros((len(self.weights), self.arch.depth), dtype=bool)
        for i, name in enumerate(self.weights):
            for applications in self.arch.applications_of(name).values():
                held[i, applications] = True
        matrix = np.array([isinstance(self.arch.weights[w], Linear) for w in self.weights])
        effective, propagating = (
            np.where(real[..., None], x, np.nan)
            for real, x in (
                (held, numbers.effective),
                (held & matrix[:, None], numbers.propagating),
            )
        )
        return numbers._replace(effective=effective, propagating=propagating)


def _networks(static: Static, key: Any, samples: Any, table: Any) -> Any:
    return jax.vmap(lambda sample: _network(static, jax.random.fold_in(key, sample), table))(
        samples
    )


def _network(static: Static, key: Any, table: Any) -> Numbers:
    """Draw one network, and let it take its first step."""
    given = table["given"]
    params, _ = trained.start(
        static.arch,
        static.shapes,
        static.width,
        key,
        size=table["scales"],
        readout=np.float32(1 / static.width),
        by_part=given["inputs"],
    )
    params = jax.tree.map(lambda array: array.astype(static.dtype), params)
    one = Network(
        static.arch,
        static.shapes,
        static.width,
        params,
        given,
        jax.random.fold_in(key, np.uint32(1)),
    )
    return respond(one, static.plan, table["rates"], table["labels"])


_batch = jit(static=(0,))(_networks)
