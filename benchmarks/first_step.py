"""First steps: theory against explicit networks at n = 64 to 512, extrapolated.

    python benchmarks/first_step.py [--case NAME ...] [--optimizer NAME ...] [--target 0.005]
    [--minutes 3] [--rounds 99] [--more] [--out docs/first_step.csv]

What is measured is kept in a store beside the table (docs/first_step.db), a unit a case, optimiser
and first round of networks, and the table is written from all of it: several runs side by side lose
nothing and count no network twice. A store that is new takes the table's rows first.
Rows, as ``sigprop.first_step`` has them: dz_t by group; the rms change of the last state and of the
one in the middle by group; effective and propagating change of every weight (rms). Networks are
added in rounds, at every width, until each row's standard error at infinite width is below
``--target`` of it, or a case and optimiser has taken ``--minutes`` or ``--rounds``; ``--more`` adds
networks to those that are kept of them. A row holds where it is within 2 % or 3 standard errors of
the prediction, whichever is more. Prints every case's rows, z and deviations, and the rows that do
not hold.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

import sigprop as sp
from sigprop.simulations.training import extrapolation
from sigprop.simulations.training import response as measuring
from sigprop.studies.plan.units import machine, source, versions
from sigprop.studies.store import keeping, reading
from sigprop.studies.store.queue import Outcome
from sigprop.studies.store.store import Asked, Store
from sigprop.tables.files import write
from sigprop.tables.plain import plain
from sigprop.theory.first_step import response as theory

WIDTHS, ROUND = (64, 128, 256, 512), (640, 1024, 128, 256)  # least error of a in the time
POINTS = 8192
STUDENT = float(stdtrit(theory.REPLICATES - 1, (1 + theory.CONFIDENCE) / 2))
ROUNDING = 1e-5  # of a value: single precision, where every network gives the same
NOTHING = 1e-9
MARGIN, ERRORS = 0.02, 3.0
OPTIMIZERS = ("sgd", "adam", "muon")
TEXT = ("case", "optimizer", "quantity", "group")
COLUMNS = (
    *("case", "optimizer", "networks", "quantity", "group", "application", "token"),
    *("predicted", "predicted_se", "measured", "se", "deviation", "z"),
)
GRAM = {"token_cosine": 0.3}
CASES: dict[str, Callable[[], sp.Architecture]] = {
    "untied, 1 token": lambda: sp.architectures.residual_mlp(depth=3, c_b=0.2, activation="gelu"),
    "untied, 3 tokens": lambda: sp.architectures.residual_mlp(
        depth=3, c_b=0.2, activation="gelu", tokens=3, **GRAM
    ),
    "tied, 1 token": lambda: sp.architectures.looped_mlp(
        depth=2, loops=2, c_b=0.2, activation="tanh"
    ),
    "tied, 3 tokens": lambda: sp.architectures.looped_mlp(
        depth=2, loops=2, c_b=0.2, activation="tanh", tokens=3, **GRAM
    ),
    "nag": lambda: sp.architectures.nag(depth=4, **GRAM),
    "e-spa": lambda: sp.architectures.e_spa(depth=3),
    "transformer": lambda: sp.architectures.transformer(depth=1, mask="causal", **GRAM),
    "post-norm": lambda: sp.architectures.transformer(depth=2, norm="post", mask="causal", **GRAM),
}


class Number(NamedTuple):
    """A row's place, and its number with a standard error."""

    quantity: str
    group: str
    application: int | str
    token: int
    value: float
    se: float


def places(arch: sp.Architecture) -> Iterator[tuple[str, str, int | str, int, Any]]:
    """Yield (quantity, group, application, token, where its number is) of every row."""
    for token in range(arch.tokens):
        for s, group in enumerate((*arch.groups, "all")):
            yield "output_change", group, "", token, (s, token)
            for a in dict.fromkeys((max(1, arch.depth // 2), arch.depth)):
                yield "state_change", group, a, token, (s, a, token)
        for weight in arch.weights:
            used = sorted(a for u in arch.applications_of(weight).values() for a in u)
            for use, a in enumerate(used):
                for quantity in ("effective_change", "propagating_change"):
                    yield quantity, weight, a + 1, token, (use, a, token)


def root(mean: float, se: float) -> tuple[float, float]:
    """Return the root of a mean square, and its standard error."""
    size = math.sqrt(max(mean, 0.0))
    return size, se / (2 * size) if size > 0 else math.sqrt(se)


def predicted(arch: sp.Architecture, optimizer: str) -> list[Number]:
    """Return the theory's rows; standard errors of its eight samples."""
    found = theory.response(arch, optimizer, points=POINTS)
    rows = []
    for *place, at in places(arch):
        quantity, group = place[:2]
        if quantity in ("output_change", "state_change"):
            estimate = found.output if quantity == "output_change" else found.state
        else:
            parts = found.effective if quantity == "effective_change" else found.propagating
            if group not in parts:  # biases: nothing goes through them
                continue
            estimate, at = parts[group], (at[0], at[2])
        rows.append(_number(place, estimate.value[at], estimate.error[at] / STUDENT))
    return rows


def _number(place: list[Any], value: Any, se: Any) -> Number:
    """Return a row; of mean squares their roots."""
    pair = (value, se) if place[0] == "output_change" else root(value, se)
    return Number(*place, *map(float, pair))


class Networks:
    """Networks of one case and optimiser at every width, more of them at each call."""

    def __init__(self, arch: sp.Architecture, optimizer: str, seed: int, before: int = 0):
        self.arch, self.seed, self.before = arch, seed, before
        self.steps = [measuring.FirstStep(arch, width, optimizer) for width in WIDTHS]
        self.found: list[list[Any]] = [[] for _ in WIDTHS]
        self.rounds = 0

    def more(self) -> None:
        """Draw a round."""
        for found, step, count in zip(self.found, self.steps, ROUND, strict=True):
            first = count * (self.before + self.rounds)
            found.append(step.networks(range(first, first + count), self.seed))
        self.rounds += 1

    def limit(self) -> Any:
        """Return the extrapolated response."""
        return extrapolation.extrapolated(
            [self._response(s, f) for s, f in zip(self.steps, self.found, strict=True)]
        )

    def _response(self, step: Any, found: list[Any]) -> Any:
        numbers = type(found[0])(*(np.concatenate(x) for x in zip(*found, strict=True)))
        return step.summary(numbers, self.seed)

    def measured(self) -> dict[tuple[Any, ...], Number]:
        """Return the rows by place."""
        limit, rows = self.limit(), {}
        for *place, at in places(self.arch):
            quantity, group = place[:2]
            name = str(quantity).removesuffix("_change")
            estimate = getattr(limit, name)
            if name in ("effective", "propagating"):
                at = (limit.weights.index(group), *at[1:]) if group in limit.weights else None
            if at is not None and np.isfinite(estimate.value[at]):
                rows[tuple(place)] = _number(place, estimate.value[at], estimate.se[at])
        return rows


def compared(ours: list[Number], measured: dict[tuple[Any, ...], Number]) -> list[dict[str, Any]]:
    """Return the rows of the table; those that are zero in both are left out."""
    rows = []
    scale = max(abs(row.value) for row in ours)
    for row in ours:
        other = measured.get(row[:4])
        if other is None or max(abs(row.value), abs(other.value)) < NOTHING * scale:
            continue
        size = abs(row.value)
        se = math.hypot(row.se, other.se, ROUNDING * size)
        rows.append(
            dict(zip(Number._fields[:4], row[:4], strict=True))
            | {"predicted": row.value, "predicted_se": row.se}
            | {"measured": other.value, "se": other.se}
            | {"deviation": other.value / row.value - 1 if size else math.inf}
            | {"z": (other.value - row.value) / se}
        )
    return rows


def holds(row: dict[str, Any]) -> bool:
    """Tell if a row is within 2 % or 3 standard errors."""
    return abs(float(row["deviation"])) <= MARGIN or abs(float(row["z"])) <= ERRORS


def pooled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return a row of what two runs measured, of other networks each."""
    k, j = float(old["networks"]), float(new["networks"])
    value = (k * float(old["measured"]) + j * new["measured"]) / (k + j)
    se = math.hypot(k * float(old["se"]), j * new["se"]) / (k + j)
    size = abs(new["predicted"])
    error = math.hypot(new["predicted_se"], se, ROUNDING * size)
    off = value - new["predicted"]
    found = {"measured": value, "se": se, "z": off / error}
    return new | found | {"networks": int(k + j), "deviation": off / size if size else math.inf}


def joined(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of two runs."""
    where = itemgetter("quantity", "group", "application", "token")
    before = {tuple(map(str, where(row))): row for row in old}
    both = ((before.get(tuple(map(str, where(row)))), row) for row in new)
    return [row if earlier is None else pooled(earlier, row) for earlier, row in both]


def one(
    name: str, optimizer: str, target: float, most: tuple[float, int], before: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of a case and optimiser, whose first rounds were in an earlier run; most:
    minutes, rounds."""
    arch, started = CASES[name](), time.monotonic()
    ours = predicted(arch, optimizer)
    networks = Networks(arch, optimizer, seed=1, before=before)
    while True:
        networks.more()
        rows = compared(ours, networks.measured())
        worst = max(row["se"] / abs(row["predicted"]) for row in rows if row["predicted"])
        spent = time.monotonic() - started
        longer = spent * (1 + 1 / networks.rounds) > 60 * most[0] or networks.rounds >= most[1]
        if worst <= target or longer:
            break
    print(f"{name}, {optimizer}: {networks.rounds} rounds, {spent:.0f} s", flush=True)
    head = {"case": name, "optimizer": optimizer, "networks": networks.rounds * ROUND[-1]}
    return [head | row for row in rows]


def report(rows: list[dict[str, Any]]) -> None:
    """Print a line a case and optimiser, and the rows that do not hold."""
    print("case, optimizer: rows, rms z, largest z, largest deviation, largest se, not held")
    for key in dict.fromkeys((r["case"], r["optimizer"]) for r in rows):
        own = [r for r in rows if (r["case"], r["optimizer"]) == key]
        z = np.array([abs(float(r["z"])) for r in own])
        some = [r for r in own if float(r["predicted"])]  # not 0, of which nothing is a share
        off = max(abs(float(r["deviation"])) for r in some)
        error = max(abs(float(r["se"]) / float(r["predicted"])) for r in some)
        print(
            f"{', '.join(key)}: {len(own)}, {np.sqrt((z**2).mean()):.2f}, {z.max():.1f}, "
            f"{off:.2%}, {error:.2%}, {sum(not holds(r) for r in own)}"
        )
    for row in rows:
        if not holds(row):
            print("not held:", *row.values())


def place(row: dict[str, Any]) -> tuple[int, int]:
    """Return where a row's case and optimiser stand in the table."""
    return list(CASES).index(row["case"]), OPTIMIZERS.index(row["optimizer"])


def keep(store: Store, rows: list[dict[str, Any]], before: int, seconds: float, of: str) -> None:
    """Keep the rows of a case and optimiser whose networks begin with a round; where another run
    has kept networks from that round on, those stay."""
    varied = {name: rows[0][name] for name in ("case", "optimizer")} | {"round": before}
    key = hashlib.sha256(json.dumps(varied, sort_keys=True).encode()).hexdigest()[:32]
    asked = Asked(key, before, 0, {"varied": varied}, None)
    finite = [plain(row | {"application": row["application"] or None}) for row in rows]
    now = Outcome(finite, {"versions": versions()}, None, None, None, seconds, machine())
    store.say(study={"name": "first steps", "command": "first_step"}, shard=None, source=of)
    keeping.keep(store, store.source(of), asked, now._replace(ended=Outcome.now()))


def kept(store: Store) -> list[dict[str, Any]]:
    """Return the rows of all networks that are kept, of whatever sources, in the table's order."""
    units = reading.finished(store, bool, None)
    own: dict[int, list[dict[str, Any]]] = {}
    for unit, row in reading.rows(store, units, None, None):
        row |= {"application": "" if row["application"] is None else row["application"]}
        row |= {"deviation": math.inf if row["deviation"] is None else row["deviation"]}
        own.setdefault(unit, []).append({name: row[name] for name in COLUMNS})
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for unit in sorted(own, key=lambda unit: units[unit].varied["round"]):
        key = (units[unit].varied["case"], units[unit].varied["optimizer"])
        found[key] = joined(found.get(key, []), own[unit])
    return sorted((row for rows in found.values() for row in rows), key=place)


def take(store: Store, path: Path) -> None:
    """Keep what an earlier table has, where the store has nothing."""
    if not path.exists() or store.ask("SELECT 1 FROM unit LIMIT 1"):
        return
    with path.open(newline="") as file:
        lines = [
            {name: value if name in TEXT else _number_of(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
    for _, rows in itertools.groupby(lines, key=itemgetter("case", "optimizer")):
        keep(store, list(rows), 0, 0.0, f"the table {path.name}")


def _number_of(text: str) -> Any:
    """Read a number of the table; empty stays so."""
    return int(text) if text.isdecimal() else float(text) if text else text


def save(store: Store, path: Path) -> list[dict[str, Any]]:
    """Write the whole table of what is kept by now, and return it; of two runs at once the later
    has the rows of both."""
    with store.change():
        rows, text = kept(store), io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows
        )
        write(path, text.getvalue())
    return rows


def main() -> None:
    """Write the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--optimizer", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--target", type=float, default=0.005)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=99)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/first_step.csv"))
    given = parser.parse_args()
    with Store(given.out.with_suffix(".db"), write=True) as store:
        take(store, given.out)
        for key in itertools.product(given.case, given.optimizer):
            old = [r for r in kept(store) if (r["case"], r["optimizer"]) == key]
            if given.more or not old:
                before = int(old[0]["networks"]) // ROUND[-1] if old else 0
                begun = time.monotonic()
                rows = one(*key, given.target, (given.minutes, given.rounds), before)
                keep(store, rows, before, time.monotonic() - begun, source())
                save(store, given.out)
        report(save(store, given.out))


if __name__ == "__main__":
    main()
