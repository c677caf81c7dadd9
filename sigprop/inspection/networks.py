"""Networks of a reading, measured by the library that its module is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from sigprop.inspection.network import Network
from sigprop.reading.read import Reading

ENGINES = {"torch": "sigprop.inspection.measuring", "jax": "sigprop.inspection.measuring_jax"}
"""Library to the module that runs its graphs, which asks for it."""


def networks(reading: Reading, seeds: Sequence[int], progress: Callable[[], None]) -> list[Network]:
    """Measure the module, once with the weights it holds, or with fresh ones for every seed.

    progress: called after each. Raises ``InputError`` for a module without weights, ``Diverged``
    where a state is not finite.
    """
    engine = import_module(ENGINES[reading.graph.library])
    return engine.networks(reading, seeds, progress)
