"""Cases that take minutes, apart from those that every run has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def apart(cases: Iterable[Any], long: Callable[[Any], bool] | Iterable[Any]) -> list[Any]:
    """Cases as parameters, some marked ``long``: those that ``long`` names, or tells."""
    tells = long if callable(long) else set(long).__contains__
    return [pytest.param(case, marks=pytest.mark.long) if tells(case) else case for case in cases]
