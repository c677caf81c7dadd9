"""What a training run leaves: rows of losses by rate and seed, and where networks diverged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sigprop.tables.document import Row

BLOWN = 1000.0
"""Nats a byte beyond which a network has diverged: numbers may stay finite behind a norm."""
LOSSES = ("loss", "held_out_loss")
Members = Sequence[tuple[float, int]]


class Record:
    """Rows as they come; ``latest``: the last mean loss of networks that are finite."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.diverged: dict[tuple[float, int], int] = {}
        self.final: dict[tuple[float, int], float] = {}
        self.latest: float | None = None
        self.speed = math.nan

    def add(self, members: Members, done: int, losses: Any, held: Any) -> bool:
        """Keep losses [members, steps] of the steps up to ``done`` and held-out ones [members];
        return whether any of these networks is still finite."""
        finite: list[float] = []
        for i, member in enumerate(members):
            if member in self.diverged:
                continue
            if losses is not None:
                # a comparison with NaN is false
                bad = np.flatnonzero(~(losses[i] < BLOWN))
                if len(bad):
                    step = done - losses.shape[1] + int(bad[0]) + 1
                    self._diverge(member, step)
                    continue
                finite.append(float(losses[i].mean()))
                self._row("loss", member, done, finite[-1])
            if held is not None:
                self._held(member, done, float(held[i]))
        self.latest = float(np.mean(finite)) if finite else self.latest
        return any(member not in self.diverged for member in members)

    def _held(self, member: tuple[float, int], done: int, value: float) -> None:
        """Keep a held-out loss; one that is not finite is of a network that the last step broke."""
        if value < BLOWN:
            self._row("held_out_loss", member, done, value)
        else:
            self._diverge(member, done)

    def _diverge(self, member: tuple[float, int], step: int) -> None:
        self.diverged[member] = step
        self.final.pop(member, None)
        self._row("diverged", member, step, None)

    def _row(
        self, quantity: str, member: tuple[float, int], step: int, value: float | None
    ) -> None:
        rate, seed = member
        self.rows.append(
            {"quantity": quantity, "rate": rate, "seed": seed, "steps": step, "value": value}
        )
        if value is not None:
            self.final[member] = value

    def observe(self, members: Members, done: int, named: Sequence[Row], values: Any) -> None:
        """Keep what was observed after some steps: rows' keys, values [members, rows]."""
        for member, found in zip(members, values, strict=False):
            if member not in self.diverged:
                rate, seed = member
                where = {"rate": rate, "seed": seed, "steps": done}
                self.rows += [
                    {**row, **where, "value": float(value)}
                    for row, value in zip(named, found, strict=True)
                ]

    def resume(self, rows: Sequence[Row]) -> None:
        """Take rows that were kept."""
        for row in rows:
            member = (row["rate"], row["seed"])
            if row["quantity"] == "diverged":
                self._diverge(member, row["steps"])
            elif row["quantity"] in LOSSES:
                self._row(row["quantity"], member, row["steps"], row["value"])
            else:
                self.rows.append(dict(row))

    def finish(self, members: Members, speed: float) -> None:
        """Sort the rows by network; speed: tokens a second."""
        place = {member: i for i, member in enumerate(members)}
        self.rows.sort(key=lambda row: (place[row["rate"], row["seed"]], row["steps"]))
        self.speed = speed

    @property
    def best(self) -> dict[str, float] | None:
        """The rate whose last losses are smallest on average over seeds, of those where no
        network diverged."""
        rates = {rate for rate, _ in self.final} - {rate for rate, _ in self.diverged}
        means = {
            rate: float(np.mean([loss for (r, _), loss in self.final.items() if r == rate]))
            for rate in rates
        }
        if not means:
            return None
        rate = min(means, key=means.__getitem__)
        return {"rate": rate, "loss": means[rate]}

    @property
    def notes(self) -> dict[str, Any]:
        """What the table says beside its rows."""
        lost = [
            f"diverged at step {step}: rate={rate:g}, seed={seed}"
            for (rate, seed), step in self.diverged.items()
        ]
        best = self.best
        found = [] if best is None else [f"best rate {best['rate']:g}: loss {best['loss']:.4f}"]
        return {
            "varied": ("rate", "seed"),
            "tokens_per_second": self.speed,
            "best": best,
            "lost": [
                {"rate": rate, "seed": seed, "steps": step}
                for (rate, seed), step in self.diverged.items()
            ],
            "remarks": [*found, *lost],
        }
