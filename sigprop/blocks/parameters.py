"""What builders pass to each other: parameters, the numbers of a description, sizes."""

from __future__ import annotations

from typing import Any

Parameters = dict[str, Any]
"""A builder's parameters by name, each as its reader gave it (``sigprop.registry.parameters``)."""
Numbers = dict[str, object]
"""Named numbers, as formulas may be written (``sigprop.language.formula``)."""
Sizes = dict[str, int]
"""N, L, S and, where it was given, n."""
