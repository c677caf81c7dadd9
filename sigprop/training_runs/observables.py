"""What is looked at while networks are trained, beside their losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.simulations.learning import observed
from sigprop.simulations.learning.grid import Carried, Learning, groups
from sigprop.tables.document import Row


class Observables:
    """Quantities by name, and the keys of their rows; false where there are none. Raises
    ``InputError``."""

    def __init__(self, arch: Architecture, names: tuple[str, ...], held_out: int):
        if names and not held_out:
            raise InputError(
                "observe: on windows of the held-out text, and held_out=0; accepted: held_out "
                "from 1 on"
            )
        self.rows = observed.rows_of(arch, names)
        self.of_groups = [name for name in observed.OF_GROUPS if name in names]
        by_group = [
            {"quantity": name, "group": group}
            for name in self.of_groups
            for group in sorted(groups(arch))
        ]
        self.named: list[Row] = [row.to_dict() for row in observed.named(self.rows)] + by_group

    def __bool__(self) -> bool:
        return bool(self.named)

    def values(self, learning: Learning, carried: Carried, start: Carried, words: Any) -> Any:
        """Return the values [members, rows] on sequences [B, T + 1]."""
        found, by_group = learning.observed(carried, start, words, self.rows)
        places = [observed.OF_GROUPS.index(name) for name in self.of_groups]
        chosen = np.asarray(by_group)[:, places].reshape(len(found), -1)
        return np.concatenate([np.asarray(found), chosen], axis=1)
