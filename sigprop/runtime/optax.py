"""optax's Muon, where it is installed and takes matrices by their axes."""

from __future__ import annotations

import inspect
from typing import Any

from sigprop.errors import InputError


def contrib_with_muon() -> Any:
    """Return optax.contrib; raises ``InputError`` without optax, or where its Muon takes no
    dimension numbers."""
    try:
        import optax
        from optax import contrib
    except ImportError:
        raise InputError(
            "optax is not installed; accepted: after pip install 'sigprop[optax]'"
        ) from None
    muon = getattr(contrib, "muon", None)
    takes = () if muon is None else inspect.signature(muon).parameters
    for name in ("muon_weight_dimension_numbers", "consistent_rms"):
        if name not in takes:
            raise InputError(
                f"optax {optax.__version__} has no optax.contrib.muon with {name}; accepted: optax "
                f"0.2.7 or newer"
            )
    return contrib
