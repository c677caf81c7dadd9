"""Networks of a reading, measured by the library that its module is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sigprop.inspection.network import Network
from sigprop.reading.read import Reading


def networks(reading: Reading, seeds: Sequence[int], progress: Callable[[], None]) -> list[Network]:
    """Measure the module, once with the weights it holds, or with fresh ones for every seed.

    progress: called after each. Raises ``InputError`` for a module without weights, ``Diverged``
    where a state is not finite.
    """
    if type(reading.graph).__module__.startswith("sigprop.jaxmodules"):
        from sigprop.inspection.measuring_jax import networks as measured
    else:
        from sigprop.inspection.measuring import networks as measured  # asks for torch
    return measured(reading, seeds, progress)
