"""What a module of flax or equinox computes at every application of its description: its own jaxpr,
run on its own weights and differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from sigprop.inspection.network import READOUT_SEED, Floats, Network, about, geometry, places
from sigprop.jaxmodules.running import Runner, fresh, held, named
from sigprop.reading.read import Reading


def networks(reading: Reading, seeds: Sequence[int], progress: Callable[[], None]) -> list[Network]:
    """Measure the module, once with the weights it holds, or with fresh ones for every seed: every
    key of its constructor folded with the seed.

    progress: called after each. Raises ``Diverged`` where a state is not finite.
    """
    made = reading.built.module
    draw = None if reading.make is None else fresh(made)
    at = places(reading)
    written = [node for group in at.writes for _, node in group]
    run = Runner(reading.graph, at.states, [*at.states, *written], at.top).compiled()
    found: list[Network] = []
    for seed in seeds:
        arrays = held(made) if draw is None else draw(seed)
        weights = named(made, reading.graph, arrays)
        found.append(_network(reading, run, weights, seed))
        progress()
    return found


def _network(reading: Reading, run: Any, weights: dict[str, Any], seed: int) -> Network:
    """One network's numbers, of z = n^-1/2 sum_t v_t . h_t."""
    width, tokens = reading.width, reading.architecture.tokens
    shape = tokens, width
    v = np.random.default_rng(seed + READOUT_SEED).standard_normal(shape) / width**0.5
    ran = run(weights, jnp.asarray(v, jnp.float32))
    at = places(reading)
    arrays = [np.asarray(value, np.float64).reshape(shape) for value in ran.kept]
    states, written = arrays[: len(at.states)], iter(arrays[len(at.states) :])
    writes = [
        np.sum([factor * next(written) for factor, _ in group], axis=0) for group in at.writes
    ]
    variance, cosine = geometry(about(reading, states))
    gradients = [np.asarray(value, np.float64).reshape(shape) for value in ran.states]
    return Network(
        variance,
        cosine,
        np.stack([_squares(gradient) * width for gradient in gradients]),
        np.stack([_squares(write) for write in writes]),
        {name: _mean_square(value) for name, value in sorted(weights.items())},
        {name: width * _mean_square(value) for name, value in sorted(ran.weights.items())},
    )


def _squares(array: Floats) -> Floats:
    """The mean square of every row."""
    return np.asarray((array**2).mean(axis=1))


def _mean_square(array: Any) -> float:
    return float((np.asarray(array, np.float64) ** 2).mean())
