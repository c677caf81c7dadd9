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
from sigprop.coordinate_check.rates import (
    Group,
    Parametrisation,
    Rule,
    over_original,
    prescribed,
)
from sigprop.coordinate_check.slopes import Column
from sigprop.description.architecture import Architecture
from sigprop.errors import Diverged, InputError
from sigprop.simulations.training.changes import OBSERVABLES, Training
from sigprop.simulations.training.parts import EFFECTIVE, Part, parts_of
from sigprop.simulations.training.steps import Setting

PILOT, LARGEST, HALVINGS, LINEAR = 8, 2.0**-4, 40, 0.05
"""Networks (of wide ones what a call holds), first base rate and its halvings at most, until half
the rate changes everything by half within 5 %."""
SAMPLED, PILOTED = 0, 2
"""Streams of random numbers: of the networks, of the search for a rate."""
RUNGS = 2  # at a time: one compiles while another runs
RESTING = 1e-30
"""Of Muon, beside a gradient's norm, where a read-out at zero leaves none in the first step."""


@dataclass
class Networks:
    """What stays the same on all rungs: the optimiser, how its rates depend on size, after how
    many steps to look, the loss, the seed, Muon's shape factor; detailed: whether both parts of
    every weight are looked at; zero: whether the read-out starts at zero; fine: whether
    theory's samples are more and larger."""

    optimizer: str
    rule: Parametrisation
    steps: tuple[int, ...]
    loss: str
    seed: int
    shape_factor: str = "original"
    detailed: bool = False
    zero: bool = False
    fine: bool = False
    programs: dict[tuple[int, int], Training] = field(default_factory=dict)

    @property
    def prescribed(self) -> Parametrisation:
        """The prescribed rule, with this run's shape factor."""
        muon = self.optimizer == "muon"
        factor = self.shape_factor if muon else None
        return functools.partial(prescribed, shape_factor=factor)

    def rates(self, rung: Rung, rule: Parametrisation | None = None) -> Rule:
        """Return a rule, by default the one in use, at one size."""
        found = (rule or self.rule)(rung.arch, rung.width, self.optimizer)
        return found._replace(readout=0.0) if self.zero else found

    def columns(self, arch: Architecture) -> tuple[Column, ...]:
        """Return what is looked at, in the order of ``Training.changes``. Behind a read-out at
        zero the first step moves it alone: the output's is the only prediction."""
        observed = [Column(name, judged=name == "output" or not self.zero) for name in OBSERVABLES]
        parts = [
            Column(part.quantity, part.group, self._judged(part), absolute=False)
            for part in self.parts(arch)
        ]
        return (*observed, *parts)

    def _judged(self, part: Part) -> bool:
        """Tell if a part is a row: of weights application by application, not as a mean."""
        return self.detailed and (part.quantity != EFFECTIVE or not part.uses)

    def parts(self, arch: Architecture) -> tuple[Part, ...]:
        """Return what is looked at beside the output and the states."""
        return parts_of(arch, self.detailed and not self.zero)

    def changes(self, rung: Rung, base: float, samples: range, stream: int) -> np.ndarray:
        """[networks, steps, columns] squared changes at this base rate."""
        rule = self.rates(rung)
        settings = {group: self.setting(rung, group, g, base) for group, g in rule.groups.items()}
        return self.training(rung).changes(settings, rule.readout, samples, self.seed, stream)

    def training(self, rung: Rung) -> Training:
        """The program of one size."""
        key = (id(rung.arch), rung.width)
        if key not in self.programs:
            self.programs[key] = Training(
                rung.arch,
                rung.width,
                self.optimizer,
                self.steps,
                self.loss,
                self.parts(rung.arch),
            )
        return self.programs[key]

    def setting(self, rung: Rung, group: str, rule: Group, base: float) -> Setting:
        """What one group is trained with at this base rate."""
        factor, epsilon = 1.0, rule.epsilon
        if self.optimizer == "muon":
            factor = over_original(rung.arch, group, rung.width, self.shape_factor)
            epsilon = max(epsilon, RESTING) if self.zero else epsilon
        decay = rule.decay / factor if self.optimizer in ("adamw", "muon") else 0.0
        return Setting(base * rule.rate * factor, epsilon, decay)

    def linear_rate(
        self, rungs: Sequence[Rung], advance: Callable[[int], Any] = lambda _: None
    ) -> float:
        """The largest of 2^-4, 2^-5, ... at which half the rate makes half of every change,
        within 5 %, on the first rung and on the last; raises ``InputError`` where none does."""
        base = LARGEST
        # most of the search is on the smallest networks
        for rung in (rungs[0], rungs[-1]):
            base = self._linear_rate(rung, base, advance)
        return base

    def _linear_rate(self, rung: Rung, base: float, advance: Callable[[int], Any]) -> float:
        samples = range(max(2, min(PILOT, self.training(rung).batch_size)))
        looked = [j for j in range(len(OBSERVABLES)) if not (self.zero and j)]
        whole = None
        for _ in range(HALVINGS):
            try:
                if whole is None:
                    whole = self.changes(rung, base, samples, PILOTED)[:, :, looked]
                half = self.changes(rung, base / 2, samples, PILOTED)[:, :, looked]
                advance(1)
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
        samples: tuple[int, int],
        advance: Callable[[int], Any],
    ) -> list[np.ndarray]:
        """``changes`` of every rung. samples: of the last rung, how many there are and are to be;
        of others ``times`` as many."""

        def one(rung: Rung) -> np.ndarray:
            old, new = (rung.times * count for count in samples)
            found = self.changes(rung, base, range(old, new), SAMPLED)
            advance(new - old)
            return found

        with ThreadPoolExecutor(RUNGS) as pool:
            return list(pool.map(one, rungs))
