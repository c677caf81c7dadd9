"""What builders pass to each other: parameters, the numbers of a description, sizes."""

from __future__ import annotations

from typing import Any

from sigprop.errors import InputError

Parameters = dict[str, Any]
"""A builder's parameters by name, each as its reader gave it (``sigprop.registry.parameters``)."""
Numbers = dict[str, object]
"""Named numbers, as formulas may be written (``sigprop.language.formula``)."""
Sizes = dict[str, int]
"""N, L, S and, where it was given, n."""


class Given(dict[str, Any]):
    """Parameters of which one that is not there is named: a system ``without`` a parameter hands
    its fixed value on."""

    def __missing__(self, name: str) -> Any:
        raise InputError(
            f"{name}: the transformer's stack is given no value; accepted: one, also of a system "
            f"that is without the parameter"
        )
