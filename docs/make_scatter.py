"""Compare predicted scatter and shift with networks and write docs/scatter.csv: a line an
architecture.

    python docs/make_scatter.py [--gradients] [--only transformer,nag] [--seed 0]

Every registered architecture at its defaults (skipless ones, whose matrices are orthogonal, with
``weights=gaussian``), all rows of the forward pass that have a form, on networks of three widths
extrapolated to 1/n = 0 (``sigprop.agreement.finite_width.scatter``); what has no form is listed
with its line.
--gradients: rows of the backward pass instead, on fewer networks, in docs/scatter_gradients.csv.
Architectures that are in the file are kept, so that an interrupted run continues: to measure one
anew, delete its line first; the table that it prints is docs/finite-width.md's. About 20 minutes on
a core.
"""

from __future__ import annotations

import argparse
import csv
import math
from typing import Any

from scatter_table import (
    COLUMNS,
    FAR,
    FILE,
    GRADIENTS,
    MOST_RMS,
    NEAR,
    RESOLVED,
    summary,
    table,
)

import sigprop as sp
from sigprop.agreement.finite_width.scatter import NETWORKS, against_networks
from sigprop.architectures import entries
from sigprop.description.quantities import QUANTITIES
from sigprop.description.shapes import Row
from sigprop.simulations.network.weights import least_width
from sigprop.theory.fluctuations.forms import FORMS, having_forms

FEWER = 4  # networks for gradients, of the forward pass's


def built(name: str) -> tuple[sp.Architecture, str]:
    """Build an architecture at its defaults, of Gaussian matrices; also what was set for it."""
    arch = entries()[name].build()
    if arch.ensemble == "gaussian":
        return arch, ""
    return entries()[name].build(weights="gaussian"), "weights=gaussian"


def asked(arch: sp.Architecture, gradients: bool) -> list[str]:
    """Return the quantities of a pass that have a form; raises ``InputError`` where none has."""
    found = [name for name in having_forms(arch) if QUANTITIES[name].backward == gradients]
    return found or [name for name in FORMS if QUANTITIES[name].backward]  # refused by name


def sizes(arch: sp.Architecture, fewer: int) -> dict[int, int]:
    """Widths and how many networks of each: the next that heads and bands divide."""
    step = least_width(arch, max(NETWORKS))
    return {step * math.ceil(n / step): count // fewer for n, count in NETWORKS.items()}


def line(name: str, seed: int, gradients: bool = False) -> dict[str, Any]:
    """Measure one architecture and sum its rows up."""
    arch, given = built(name)
    networks = sizes(arch, FEWER if gradients else 1)
    about: dict[str, Any] = {"architecture": name, "set": given, "seed": seed, "refused": ""}
    try:
        rows = against_networks(arch, networks, seed=seed, quantities=asked(arch, gradients))
    except sp.InputError as why:
        return about | {"refused": str(why)}
    judged = [row for row in rows if row["variance_z"] is not None]
    resolved = [abs(row["variance_off"]) for row in judged if _error(row) < RESOLVED]
    about |= {
        "widths": " ".join(map(str, networks)),
        "networks": " ".join(map(str, networks.values())),
        "rows": len(judged),
        "alike": len(rows) - len(judged),
        "off": f"{max(resolved, default=math.inf):.4f}",
        "off_se": f"{sorted(map(_error, judged))[len(judged) // 2]:.4f}",
    }
    for what in ("variance", "shift"):
        about |= _about(judged, what)
    return about


def _error(row: dict[str, Any]) -> float:
    """The relative standard error of networks' n Var (where it is next to nothing, large)."""
    return row["networks_variance_se"] / row["n_variance"] if row["n_variance"] else math.inf


def _about(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """Of all rows the rms z, the furthest and its name, and how many are beyond what one may be."""
    worst = max(rows, key=lambda row: abs(row[f"{what}_z"]))
    near = NEAR if what == "variance" else 0.0
    beyond = [r for r in rows if abs(r[f"{what}_z"]) > FAR and abs(r["variance_off"]) > near]
    keys = {key: worst[key] for key in Row.__dataclass_fields__ if key in worst}
    return {
        f"{what}_rms": f"{math.sqrt(sum(r[f'{what}_z'] ** 2 for r in rows) / len(rows)):.3f}",
        f"{what}_furthest": f"{worst[f'{what}_z']:.2f}",
        f"{what}_row": str(Row(**keys)),
        f"{what}_beyond": len(beyond),
    }


def main() -> int:
    """Measure what the file lacks; exit code 1 where an architecture misses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(sorted(entries())))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gradients", action="store_true")
    given = parser.parse_args()
    path = GRADIENTS if given.gradients else FILE
    if unknown := [name for name in given.only.split(",") if name not in entries()]:
        parser.error(f"--only {unknown[0]}; accepted: {', '.join(sorted(entries()))}")
    every = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    for name in given.only.split(","):
        if name not in {found["architecture"] for found in every}:
            every.append(line(name, given.seed, given.gradients))
            every.sort(key=lambda found: found["architecture"])
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(every)
            print(next(found for found in every if found["architecture"] == name), flush=True)
    told = summary(every)
    print(table(path), told, sep="\n")
    return int(bool(told.missed) or max(told.rms) > MOST_RMS)


if __name__ == "__main__":
    raise SystemExit(main())
