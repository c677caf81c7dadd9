"""A study run: what is missing of it, here, in processes side by side or on a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sigprop.errors import InputError
from sigprop.runtime import interrupts
from sigprop.studies.plan.plan import Plan, Shard
from sigprop.studies.running.here import Work, side_by_side, through
from sigprop.studies.running.watching import Watch, watched
from sigprop.studies.store.store import Counts, Store

MOST_JOBS = 256


@dataclass(frozen=True)
class How:
    """Say how a study is run.

    jobs: processes here, or workers that a slurm cluster is asked for; shard: the part of the units
    (None: all); scheduler: of dask, an address or 'slurm'; retry: failed units again; show:
    progress on stderr; say: takes lines to the user.
    """

    jobs: int = 1
    shard: Shard | None = None
    scheduler: str | None = None
    retry: bool = False
    show: bool = False
    say: Callable[[str], None] = print


@dataclass(frozen=True)
class Report:
    """What a run did: units done and failed by it, and the units as they are now."""

    done: int
    failed: int
    counts: Counts
    seconds: float


def run(plan: Plan, path: Path, how: How) -> Report:
    """Run the units of a study that its store has not; raises ``InputError`` for a store of another
    study, or of another form of this one, and for one that cannot be written."""
    check_jobs(how.jobs)
    if how.shard is not None and how.scheduler is not None:
        raise InputError("shard with scheduler; accepted: one of the two")
    asked = plan.units
    from sigprop.studies.plan import units

    with Store(path, write=True) as store:
        begin(store, plan, how.shard)
        store.say(source=units.source())
        number = store.source(units.source())
        store.begin()
        asked = asked if how.shard is None else how.shard.of(asked)
        store.request(asked, number, how.retry)
        store.supersede(asked, number, units.source())
        interrupts.leaves(store.excuse)
        interrupts.keeps(f"{path} keeps what is done, and the same command continues")
        before = store.counts(number)
        with watched(plan.name, how.show, how.say) as watch:
            watch.start(before)
            _work(store, Work(path, plan, number), how, watch)
        interrupts.leaves(None)
        after = store.counts(number)
    return Report(after.done - before.done, after.failed - before.failed, after, watch.seconds)


def check_jobs(jobs: object) -> None:
    """Raise ``InputError`` for a number of processes that is none."""
    if isinstance(jobs, bool) or not isinstance(jobs, int) or not 1 <= jobs <= MOST_JOBS:
        raise InputError(f"jobs={jobs!r}; accepted: an integer from 1 to {MOST_JOBS}")


def begin(store: Store, plan: Plan, shard: Shard | None) -> None:
    """Write what the study is into a new store, or check that it is this one's."""
    about = store.about()
    part = None if shard is None else f"{shard.index}/{shard.count}"
    if about:
        plan.check_same(about["study"], str(store.path))
        if about["shard"] != part:
            raise InputError(
                f"store={str(store.path)!r}: of shard {about['shard'] or 'none'}; accepted: "
                f"another store for {'shard ' + part if part else 'all units'}"
            )
    store.say(study=dict(plan.document), shard=part)


def _work(store: Store, work: Work, how: How, watch: Watch) -> None:
    """Work through what waits."""

    def look() -> None:
        watch.look(store.counts(work.source))

    if how.scheduler is not None:
        from sigprop.studies.running.cluster import on_cluster

        on_cluster(store, work, how.scheduler, how.jobs, look)
    elif how.jobs > 1:
        side_by_side(store, work, how.jobs, look)
    else:
        through(store, work, advance=watch.one)
