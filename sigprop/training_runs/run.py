"""``train``: a description's network learns a text, on a grid of rates and seeds."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sigprop.description.architecture import Architecture, check_described
from sigprop.errors import InputError
from sigprop.runtime import memory
from sigprop.runtime.progress import Progress, Silent
from sigprop.simulations.learning import batches
from sigprop.simulations.learning.grid import Carried, Learning, Plan, leaves_of, with_leaves
from sigprop.simulations.learning.sizes import member_bytes
from sigprop.tables.table import Table
from sigprop.training_runs.checkpoint import Checkpoint, Kept, run_of
from sigprop.training_runs.corpus import Corpus, corpus
from sigprop.training_runs.observables import Observables
from sigprop.training_runs.record import Record
from sigprop.training_runs.settings import Factors, Rates, Run, checked, rates_of, words_of

EVERY = 50  # steps between rows, at most, unless it is said
EVALUATED = 64  # windows of the held-out text


def train(
    arch: Architecture,
    data: object = None,
    *,
    width: int = 64,
    optimizer: str = "adamw",
    rates: Sequence[float] = (1e-3,),
    seeds: Sequence[int] = (0,),
    steps: int = 300,
    batch: int = 16,
    warmup: int = 20,
    clip: float | None = None,
    decay: float = 0.0,
    parametrisation: Factors = "constant",
    dtype: str = "float32",
    every: int | None = None,
    held_out: int = EVALUATED,
    observe: Sequence[str] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    memory_mib: int = 1024,
    progress: Progress | None = None,
) -> Table:
    """Train a causal language model of bytes whose body is the description's network, once for
    every rate and seed, and return the losses.

    arch: the description; its tokens T are the context; data: None (the source of Python's
    standard library), a file, a folder, bytes or integers; width: n; optimizer: 'sgd', 'adam',
    'adamw' or 'muon'; rates: base rates; seeds: each its own network and its own batches, the same
    ones at every rate; steps, batch: sequences of T + 1 bytes a step; warmup: steps over which the
    rate rises; clip: the largest norm of a gradient, None: none is clipped; decay: of the weights,
    with 'adamw' and 'muon', times the rate; parametrisation: 'constant', 'prescribed' or {group:
    factor of the rate}; dtype: 'float32' or 'bfloat16' (parameters stay float32); every: steps
    between rows; held_out: windows that are tested on, 0: none; observe: what else is looked at
    there, on one batch of them: quantities of ``measure`` that a pass forward has, as means over
    tokens, and 'parameter', 'gradient', 'change' (since the start), root mean squares by group;
    checkpoint: a file (.npz) that holds the run after every row, from which it goes on, also to
    more steps, of networks that are trained at once; memory_mib: ceiling for networks
    trained at once, which changes no loss; progress: an object with start and advance, of tokens.

    Rows are (rate, seed, steps): ``loss``, the mean over the steps since the row before, and
    ``held_out_loss``, in nats a byte. A network whose loss is not finite is a row ``diverged`` with
    the step, and rows before it stay. Learned modulators and routers are not trained. Raises
    ``InputError``. Source: docs/training.md; tests/simulations/learning (networks by hand).
    """
    check_described(arch)
    run = checked(
        Run(optimizer, tuple(rates), tuple(seeds), steps, batch, warmup, clip, decay, dtype)
    )
    words, text = words_of(arch), corpus(data)
    text.check(arch.tokens + 1, words)
    settings = rates_of(arch, width, run, parametrisation)
    plan = Plan(optimizer, words, batch, _every(every, steps), warmup, clip is not None, dtype)
    looked = Observables(arch, tuple(observe), held_out)
    grid = _Grid(arch, width, run, plan, text, settings, held_out, looked, progress or Silent())
    size = _at_once(arch, width, plan, memory_mib, len(rates) * len(seeds))
    said = run._asdict() | {"width": width, "parametrisation": parametrisation}
    if checkpoint is not None:
        if size < len(rates) * len(seeds):
            raise InputError(
                f"checkpoint: of {len(rates) * len(seeds)} networks {size} are trained at once; "
                f"accepted: fewer rates and seeds, or a larger memory_mib"
            )
        same = {k: v for k, v in said.items() if k != "steps"}
        same |= {"every": plan.steps, "held_out": held_out, "observe": list(observe)}
        grid.checkpoint = Checkpoint(checkpoint, run_of(arch, same, text.digest))
    record = grid.all(size)
    notes = record.notes | {
        "settings": said,
        "data": {"name": text.name, "sha256": text.digest, "bytes": len(text.text)},
    }
    return Table(arch.name, arch.parameters, record.rows, "train", notes=notes)


def _every(every: int | None, steps: int) -> int:
    """Return the steps of one call: what was asked, else the largest divisor that is not more
    than ``EVERY``, where there is none to speak of ``EVERY``."""
    if every is None:
        most = max(k for k in range(1, min(EVERY, steps) + 1) if steps % k == 0)
        return most if 2 * most > min(EVERY, steps) // 2 else EVERY
    if isinstance(every, bool) or not isinstance(every, int) or not 1 <= every <= steps:
        raise InputError(f"every={every!r}; accepted: an integer from 1 to steps={steps}")
    return every


def _at_once(arch: Architecture, width: int, plan: Plan, memory_mib: int, members: int) -> int:
    """Return how many networks are trained at once: as many as fit, in calls of one size."""
    need = member_bytes(arch, width, plan)
    memory.require(need, f"batch={plan.batch}, tokens={arch.tokens}, width={width}")
    fit = max(1, min(members, int(memory_mib * 2**20 // need)))
    return math.ceil(members / math.ceil(members / fit))


class _Grid:
    """A grid on its way: every call trains some of its networks to the end."""

    def __init__(
        self,
        arch: Architecture,
        width: int,
        run: Run,
        plan: Plan,
        text: Corpus,
        settings: Rates,
        held_out: int,
        looked: Observables,
        progress: Progress,
    ):
        self.run, self.plan, self.progress, self.looked = run, plan, progress, looked
        self.name, self.tokens = arch.name, arch.tokens
        self.learning = Learning(
            arch,
            width,
            plan,
            text.text,
            groups=settings.groups,
            spread=settings.spread,
            clip=run.clip or 0.0,
        )
        self.held = _held(text, arch.tokens + 1, plan.batch, held_out)
        self.record = Record()
        self.checkpoint: Checkpoint | None = None
        self.took: list[tuple[int, float]] = []  # tokens and seconds of every call for steps

    def all(self, size: int) -> Record:
        """Train every network, ``size`` at a time."""
        members = [(rate, seed) for rate in self.run.rates for seed in self.run.seeds]
        total = len(members) * self.run.steps * self.plan.batch * self.tokens
        self.progress.start(total, f"training {self.name}")
        for first in range(0, len(members), size):
            self._some(members[first : first + size], size)
        # the first call compiles
        later = self.took[1:] or self.took
        seconds = sum(seconds for _, seconds in later)
        self.record.finish(members, sum(n for n, _ in later) / seconds if later else math.nan)
        return self.record

    def _some(self, members: list[tuple[float, int]], size: int) -> None:
        """Train these; where they are fewer than ``size``, the last again, so that one program
        does."""
        padded = members + members[-1:] * (size - len(members))
        given = self.learning.members(*zip(*padded, strict=True))
        carried = self.start = self.learning.start(given)
        done, carried = self._resumed(carried)
        alive = self._look(members, 0, None, carried) if not done else True
        while alive and done < self.run.steps:
            count = min(self.plan.steps, self.run.steps - done)
            began = time.perf_counter()
            carried, losses = self.learning.steps(given, carried, done, count)
            losses = np.asarray(losses)
            tokens = len(members) * count * self.plan.batch * self.tokens
            self.took.append((tokens, time.perf_counter() - began))
            done += count
            alive = self._look(members, done, losses, carried)
            self.progress.advance(tokens)
            if self.checkpoint is not None:
                self.checkpoint.save(Kept(done, self.record.rows, leaves_of(carried)))

    def _resumed(self, carried: Carried) -> tuple[int, Carried]:
        """Return the steps that a checkpoint has, and the networks after them."""
        kept = None if self.checkpoint is None else self.checkpoint.load()
        if kept is None:
            return 0, carried
        if kept.done > self.run.steps:
            raise InputError(
                f"checkpoint: after {kept.done} steps; accepted: steps from {kept.done} on"
            )
        self.record.resume(kept.rows)
        self.progress.advance(kept.done * self.plan.batch * self.tokens)
        return kept.done, with_leaves(carried, kept.leaves)

    def _look(self, members: list[tuple[float, int]], done: int, losses: Any, carried: Any) -> bool:
        """Keep what came of some steps; return whether any network is still finite."""
        held = None
        if self.held is not None:
            held = np.asarray(self.learning.held_out(carried, self.held))
        alive = self.record.add(members, done, losses, held)
        if self.looked and self.held is not None:
            found = self.looked.values(self.learning, carried, self.start, self.held[0])
            self.record.observe(members, done, self.looked.named, found)
        said = self.record.latest
        say = getattr(self.progress, "say", None)
        if said is not None and say is not None:
            say(f"training {self.name}: loss {said:.3f}")
        return alive


def _held(text: Corpus, window: int, batch: int, most: int) -> Any:
    """Return windows [batches, B, T + 1] of the held-out text; None where none are asked for."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise InputError(f"held_out={most!r}; accepted: an integer from 0 on")
    if most == 0:
        return None
    offsets = batches.spread(len(text.held), window, most)
    size = math.gcd(len(offsets), batch)
    found = text.held[offsets[:, None] + np.arange(window)].astype(np.int32)
    return found.reshape(-1, size, window)
