"""The networks of ``check``: on every rung of a ladder, at a rate whose steps are in the linear
regime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sigprop.coordinate_check.ladder import Rung
from sigprop.coordinate_check.rates import Group, Parametrisation, over_original, prescribed
from sigprop.errors import Diverged, InputError
from sigprop.simulations.training.changes import Training
from sigprop.simulations.training.steps import Setting

PILOT, LARGEST, HALVINGS, LINEAR = 8, 2.0**-4, 40, 0.05
"""Networks, first base rate and its halvings at most, until half the rate changes everything by
half within 5 %."""
FIRST, EXTENSION, PILOTED = 0, 1, 2
"""Streams of random numbers: of the first look, of the extension, of the search for a rate."""
RUNGS = 2  # at a time: one compiles while another runs


@dataclass
class Networks:
    """What stays the same on all rungs: the optimiser, how its rates depend on size, after how
    many steps to look, the loss, the seed, Muon's shape factor."""

    optimizer: str
    rule: Parametrisation
    steps: tuple[int, ...]
    loss: str
    seed: int
    shape_factor: str = "original"
    programs: dict[tuple[int, int], Training] = field(default_factory=dict)

    @property
    def prescribed(self) -> Parametrisation:
        """The prescribed rule, with this run's shape factor."""
        muon = self.optimizer == "muon"
        factor = self.shape_factor if muon else None
        return functools.partial(prescribed, shape_factor=factor)

    def changes(self, rung: Rung, base: float, networks: int, stream: int) -> np.ndarray:
        """[networks, steps, observables] squared changes at this base rate."""
        key = (id(rung.arch), rung.width)
        if key not in self.programs:
            self.programs[key] = Training(
                rung.arch, rung.width, self.optimizer, self.steps, self.loss
            )
        rule = self.rule(rung.arch, rung.width, self.optimizer)
        settings = {group: self.setting(rung, group, g, base) for group, g in rule.groups.items()}
        return self.programs[key].changes(
            settings, rule.readout, range(networks), self.seed, stream
        )

    def setting(self, rung: Rung, group: str, rule: Group, base: float) -> Setting:
        """What one group is trained with at this base rate."""
        factor = 1.0
        if self.optimizer == "muon":
            factor = over_original(rung.arch, group, rung.width, self.shape_factor)
        decay = rule.decay / factor if self.optimizer in ("adamw", "muon") else 0.0
        return Setting(base * rule.rate * factor, rule.epsilon, decay)

    def linear_rate(self, rung: Rung) -> float:
        """The largest of 2^-4, 2^-5, ... at which half the rate makes half of every change,
        within 5 %; raises ``InputError`` where none does."""
        base, whole = LARGEST, None
        for _ in range(HALVINGS):
            try:
                whole = self.changes(rung, base, PILOT, PILOTED) if whole is None else whole
                half = self.changes(rung, base / 2, PILOT, PILOTED)
                ratio = 2 * np.sqrt(half.mean(axis=0) / np.maximum(whole.mean(axis=0), 1e-300))
                if np.all(np.abs(ratio - 1) <= LINEAR):
                    return base
                whole = half
            except Diverged:
                whole = None
            base /= 2
        raise InputError(
            f"parametrisation: no rate down to {base:.1e} at which half the step makes half the "
            f"change; accepted: rates with a linear regime"
        )

    def ladder(
        self,
        rungs: Sequence[Rung],
        base: float,
        networks: int,
        stream: int,
        advance: Callable[[int], Any],
    ) -> list[np.ndarray]:
        """``changes`` of every rung."""

        def one(rung: Rung) -> np.ndarray:
            found = self.changes(rung, base, networks, stream)
            advance(networks)
            return found

        with ThreadPoolExecutor(RUNGS) as pool:
            return list(pool.map(one, rungs))
