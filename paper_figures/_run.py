"""What a figure's ``tables`` is given: predictions and measurements of the same rows, side by
side, at the figure's own widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sigprop as sp
from sigprop.runtime.progress import Progress, Silent
from sigprop.tables.document import KEYS
from sigprop.tables.table import Table

if TYPE_CHECKING:
    from sigprop.description.architecture import Architecture

# their ratio decides how little of the finite width is left in the extrapolation
WIDTHS = (256, 4096)
SAMPLES, FULL_SAMPLES = 128, 1024
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """quick: few networks; seed: of every network; progress: told of every round of networks."""

    quick: bool = False
    seed: int = 0
    progress: Progress = Silent()
    samples: int | None = None

    @property
    def networks(self) -> int:
        """Networks at each width."""
        return self.samples or (SAMPLES if self.quick else FULL_SAMPLES)

    def more(self, times: int) -> Run:
        """For quantities that vary more from network to network than others: that many times the
        networks."""
        return replace(self, samples=times * self.networks)

    def points(
        self,
        arch: Architecture,
        quantity: str | Sequence[str],
        applications: Sequence[int] | None = None,
        *,
        keep: Callable[[Row], bool] = lambda _: True,
        measured: Callable[[Row], bool] = lambda _: True,
        widths: Sequence[int] = WIDTHS,
        engine: str = "auto",
        **labels: Any,
    ) -> list[dict[str, Any]]:
        """One row for each kept row of ``arch`` and each width: labels, keys, theory and its error,
        the measured mean and its standard error.

        quantity: one, or several of the same networks; keep: which of their rows; measured: which
        of them at finite width too (one row without a width else); labels: columns that say which
        panel and curve. A network that overflows leaves measured empty, which no verdict supports.
        """
        given: dict[str, Any] = {
            "quantities": [quantity] if isinstance(quantity, str) else list(quantity),
            "applications": applications,
        }
        theory = [row for row in sp.predict(arch, **given) if keep(row)]
        rows = []
        for width in widths:
            options: dict[str, Any] = {
                "width": width,
                "samples": self.networks,
                "seed": self.seed,
                "engine": engine,
                "progress": self.progress,
            }
            networks = (
                {key(row): row for row in sp.measure(arch, **given, **options)}
                if any(map(measured, theory))
                else {}
            )
            rows += [labels | joined(row, networks[key(row)]) for row in theory if measured(row)]
        return rows + [labels | joined(row, None) for row in theory if not measured(row)]

    def table(
        self, name: str, rows: Sequence[Row], about: Mapping[str, Any] | None = None
    ) -> Table:
        """The rows as a table of a figure; about: what else its JSON should say."""
        return Table(name, dict(about or {}), [dict(row) for row in rows], "figure")


def key(row: Row) -> tuple[Any, ...]:
    """Which number a row is."""
    return tuple(row.get(name) for name in KEYS)


def joined(theory: Row, network: Row | None) -> dict[str, Any]:
    """A row of a figure's table."""
    keys = {name: theory[name] for name in KEYS if name in theory}
    row = keys | {
        "theory": theory["value"],
        "theory_error": theory["error"],
        "scale": theory["scale"],
    }
    if network is None:
        return row
    return (
        row
        | {"measured": network["value"]}
        | {name: network[name] for name in ("se", "width", "samples", "seed", "engine")}
    )
