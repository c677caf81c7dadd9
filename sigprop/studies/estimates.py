"""What a study takes before it is run: how many units, how long by the engines' own estimates, how
much memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sigprop.errors import InputError, NoRule
from sigprop.studies.plan.plan import Plan
from sigprop.studies.running.run import check_jobs
from sigprop.studies.running.watching import duration
from sigprop.studies.store.schema import DONE
from sigprop.studies.store.store import Asked, Store

PROBED = 64
"""Units that an estimate looks at, evenly spread: the rest is taken to be as they are."""


@dataclass(frozen=True)
class Estimate:
    """What a run would take. seconds, bytes: None where neither an engine nor a finished unit says;
    bytes: of the units that run at a time."""

    units: int
    bunches: int
    missing: int
    seconds: float | None
    bytes: float | None
    said_by: str
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.units} units in {self.bunches} bunches that share compiled programs; "
            f"{self.missing} to run"
        ]
        if self.seconds is not None:
            lines.append(f"about {duration(self.seconds)} and compilation, by {self.said_by}")
        else:
            lines.append(f"no estimate of the time: {self.said_by}")
        if self.bytes is not None:
            lines.append(f"about {self.bytes / 2**20:.0f} MiB of memory for networks")
        if self.refused:
            lines.append(f"{len(self.refused)} of the units looked at will fail: {self.refused[0]}")
        return "\n".join(lines)


def estimate(plan: Plan, path: Path, jobs: int = 1) -> Estimate:
    """Return what a run of a plan would take, on ``jobs`` processes; raises ``InputError``."""
    asked = plan.units
    check_jobs(jobs)
    done, mean = _kept(path)
    missing = [
        unit for unit in asked if unit.key not in done or (unit.samples or 0) > done[unit.key]
    ]
    bunches = len({unit.bunch for unit in asked})
    common = (len(asked), bunches, len(missing))
    if plan.document["command"] == "measure" and missing:
        seconds, size, refused = _sampled(plan, missing, done)
        said = "the engines' own"
        return Estimate(*common, seconds / jobs, size * jobs, said, tuple(refused))
    if mean is not None:
        said = f"the {len(done)} units that are done"
        return Estimate(*common, mean * len(missing) / jobs, None, said)
    said = f"{plan.document['command']} has none before its first units; then study status says"
    return Estimate(*common, None, None, said)


def _kept(path: Path) -> tuple[dict[str, int], float | None]:
    """Return {key: networks that are kept} of units that are done (0 where they do not
    accumulate), and their mean seconds."""
    if not path.exists():
        return {}, None
    with Store(path) as store:
        found = store.ask(
            "SELECT key, coalesce(json_extract(moments, '$.every.count'), 0), seconds FROM unit "
            "WHERE shared IS NOT NULL AND (status = ? OR moments IS NOT NULL)",
            DONE,
        )
    seconds = [s for *_, s in found if s is not None]
    mean = sum(seconds) / len(seconds) if seconds else None
    return {key: int(kept) for key, kept, _ in found}, mean


def _sampled(
    plan: Plan, missing: list[Asked], done: Mapping[str, int]
) -> tuple[float, float, list[str]]:
    """Return the seconds of all networks that are not there, the bytes of the largest batch, and
    what units that were looked at will fail for."""
    from sigprop.reading.named import built
    from sigprop.simulations.measure import estimate as of_engine
    from sigprop.studies.plan.commands import option

    step = max(1, len(missing) // PROBED)
    probed = missing[::step]
    seconds, size, refused = 0.0, 0.0, list[str]()
    for unit in probed:
        name, taken = unit.cell["architecture"], dict(unit.cell["options"])
        if unit.samples is not None:
            taken["samples"] = max(2, unit.samples - done.get(unit.key, 0))
        try:
            arch = plan.described.get(name) or built(name, unit.cell["parameters"])
            of = {key: option(key, value, arch) for key, value in taken.items()}
            found = of_engine(arch, **{k: v for k, v in of.items() if k in PARTS})
        except (InputError, NoRule) as error:
            refused.append(f"{_cell(unit)}: {error}")
            continue
        seconds, size = seconds + found.seconds, max(size, found.bytes)
    return seconds * len(missing) / len(probed), size, refused


def _cell(unit: Asked) -> str:
    """Write a unit's cell in a line."""
    return ", ".join(f"{name}={value}" for name, value in unit.cell["varied"].items())


PARTS = (
    *("width", "samples", "engine", "dtype"),
    *("quantities", "applications", "memory_mib"),
)
"""Options that an engine's estimate depends on."""
