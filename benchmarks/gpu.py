"""The steps of ``gpu.sh``, one a process.

    python benchmarks/gpu.py device|law|predict|verify|same [--small] [--out FOLDER] [--seconds S]

device: what is run on, and which packages are missing. law: the networks of both engines, compared
in distribution (``tests/helpers/engine_law.py``; by pytest where it is installed). predict: a
transformer's wide limit at 128 tokens. verify: looped-mlp at 0.1 %. same: the same networks and
predictions on this device and on the CPU beside it.

Every result is printed, and added to FOLDER/results.jsonl, as it comes. --seconds: nothing begins
later than that. Exit code: 0 done, 1 a result is wrong, 3 no accelerator where one was wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpu_machine import cores, processor, release, said, there

ROOT = Path(__file__).resolve().parents[1]
HELPERS, TESTS = ROOT / "tests/helpers", ROOT / "tests/simulations/engines/test_matrix_free.py"
TEST = "test_engines_agree_in_law"
FLOOR = (0, 10)  # of jax
NEEDED = ("jaxtyping", "scipy", "sympy", "cyclopts", "rich", "matplotlib", "pytest")
WRONG, NO_ACCELERATOR = 1, 3
# of networks and of predictions on two devices: relative to the largest value of the quantity
ROUNDING = {"measure": 1e-4, "predict": 1e-6}
STATES = ["residual_variance", "gradient_variance"]


class Step:
    """One step: where its results go, and until when it may begin something."""

    def __init__(self, name: str, out: Path, small: bool, seconds: float):
        self.name, self.small, self.file = name, small, out / "results.jsonl"
        self.start = time.monotonic()
        self.end = self.start + seconds

    @property
    def late(self) -> bool:
        """Whether nothing may begin any more."""
        return time.monotonic() > self.end

    def add(self, text: str, **record: Any) -> None:
        """Print a result and add it to the file; with the device's name where that is known."""
        print(f"{self.name}: {text}", flush=True)
        jax = sys.modules.get("jax")
        kind = {} if jax is None else {"device": jax.devices()[0].device_kind}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"step": self.name, "time": now, "small": self.small} | kind | record
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")
            file.flush()
            os.fsync(file.fileno())


def device(step: Step) -> int:
    """Say what is run on; packages that are missing, in one line."""
    missing = [name for name in NEEDED if not there(name)]
    print("missing packages: " + (", ".join(missing) or "none"), flush=True)
    import jax

    found = jax.devices()[0]
    about = {
        "platform": found.platform,
        "devices": len(jax.devices()),
        "memory": (found.memory_stats() or {}).get("bytes_limit"),
        "driver": said(
            ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        ),
        "jax": jax.__version__,
        "jaxlib": release("jaxlib"),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": cores(),
        "revision": said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        "missing": missing,
    }
    text = (
        f"{found.device_kind} ({found.platform}, {about['devices']}); driver: {about['driver']}; "
        f"jax {about['jax']}, jaxlib {about['jaxlib']}, Python {about['python']}; "
        f"{about['cores']} cores of {about['processor']}; revision {about['revision']}; "
        f"{datetime.now(UTC):%Y-%m-%d}"
    )
    step.add(text, **about)
    if tuple(int(part) for part in jax.__version__.split(".")[:2]) < FLOOR:
        step.add(f"jax {jax.__version__} is below {FLOOR[0]}.{FLOOR[1]}", wrong="jax is too old")
        return WRONG
    if found.platform == "cpu" and not step.small:
        step.add("no accelerator: what follows is a test of the script itself, on the CPU")
        return NO_ACCELERATOR
    return 0


def law(step: Step) -> int:
    """Compare both engines' networks in distribution."""
    sys.path.insert(0, str(HELPERS))
    if not there("pytest"):
        print("pytest is missing: the test's comparison without it", flush=True)
        return _law_alone(step)
    return _law_tested(step)


def _law_alone(step: Step) -> int:
    from engine_law import CASES, WIDER, compared  # pyright: ignore[reportMissingImports]

    wrong = 0
    for job, width in CASES[:2] if step.small else (*CASES, *WIDER):
        if step.late:
            _add_case(step, f"{job}-{width}", "skipped", 0.0, {})
            continue
        start = time.monotonic()
        try:
            found = compared(job, width)
        except Exception as error:  # the other cases are results too
            print(f"{job}-{width}: {error}", file=sys.stderr)
            _add_case(step, f"{job}-{width}", "failed", time.monotonic() - start, {})
            wrong = WRONG
            continue
        wrong = wrong if found.alike else WRONG
        outcome = "passed" if found.alike else "failed"
        _add_case(step, f"{job}-{width}", outcome, time.monotonic() - start, found._asdict())
    return wrong


def _law_tested(step: Step) -> int:
    import pytest
    from engine_law import CASES  # pyright: ignore[reportMissingImports]

    class Results:
        """Reports each test as it ends, and begins none when it is late."""

        def pytest_runtest_setup(self, item: Any) -> None:
            if step.late:
                pytest.skip("time is up")

        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                case = report.nodeid.partition("[")[2].rstrip("]")
                found = dict(report.user_properties)
                if report.failed:
                    print(report.longreprtext, file=sys.stderr)
                _add_case(step, case, report.outcome, report.duration, found)

    chosen = [f"{TESTS}::{TEST}[{job}-{width}]" for job, width in CASES[:2]]
    chosen = chosen if step.small else [f"{TESTS}::{TEST}"]
    # the suite's own settings are for its machines; here warnings of a driver are no errors
    plain = ["-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default"]
    plain += ["--noconftest", "-p", "no:cacheprovider", "-p", "no:terminal"]
    plain += ["-m", "long or not long"]
    code = pytest.main([*plain, *chosen], plugins=[Results()])
    return 0 if code == 0 else WRONG


def _add_case(step: Step, case: str, outcome: str, seconds: float, found: dict[str, Any]) -> None:
    figures = "".join(f", {name} {value:.3g}" for name, value in found.items())
    step.add(
        f"{case}: {outcome}{figures}, {seconds:.1f} s",
        case=case,
        outcome=outcome,
        seconds=seconds,
        **found,
    )


def predict(step: Step) -> int:
    """Predict a transformer's states and gradients, then all that comes unasked, twice each: the
    first time is mostly compilation."""
    import sigprop as sp

    depth, tokens = (1, 16) if step.small else (2, 128)
    arch = sp.architectures.transformer(depth=depth, tokens=tokens)
    wrong = 0
    for quantities in (STATES,) if step.small else (STATES, None):
        for turn in ("first", "again"):
            if step.late:
                step.add(f"{quantities or 'all'}, {turn}: left out, time is up")
                continue
            start = time.monotonic()
            rows = sp.predict(arch, quantities=quantities).rows
            seconds = time.monotonic() - start
            valued = sum(row["value"] is not None for row in rows)
            wrong = wrong if valued == len(rows) else WRONG
            shown = ", ".join(quantities or ["all that comes unasked"])
            step.add(
                f"transformer, depth {depth}, {tokens} tokens, {shown}, {turn}: {seconds:.2f} s, "
                f"{len(rows)} rows, {valued} with a value",
                depth=depth,
                tokens=tokens,
                quantities=quantities,
                turn=turn,
                seconds=seconds,
                rows=len(rows),
                values=valued,
            )
    return wrong


def verify(step: Step) -> int:
    """Judge looped-mlp at 0.1 % (small: 5 %), first with compilation, then again."""
    import sigprop as sp

    tolerance, wrong = 0.05 if step.small else 0.001, 0
    for turn in ("first",) if step.small else ("first", "again"):
        if step.late:
            step.add(f"{turn}: left out, time is up")
            continue
        start = time.monotonic()
        table = sp.verify(sp.architectures.looped_mlp(), tolerance=tolerance)
        seconds = time.monotonic() - start
        wrong = WRONG if table.verdict == "rejected" else wrong
        worst = max(abs(row["deviation"]) for row in table.rows if row["deviation"] is not None)
        step.add(
            f"looped-mlp at {tolerance:.1%}, {turn}: {table.verdict} in {seconds:.1f} s, "
            f"{len(table.rows)} rows, largest deviation {worst:.2e}",
            tolerance=tolerance,
            turn=turn,
            verdict=table.verdict,
            seconds=seconds,
            rows=table.rows,
        )
    return wrong


def same(step: Step) -> int:
    """Hold networks and predictions of this device against the CPU's."""
    words = [sys.executable, __file__, "values"] + ["--small"] * step.small
    beside = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}
    )
    try:
        here = values(step.small)
        answer, _ = beside.communicate(timeout=min(600.0, max(1.0, step.end - time.monotonic())))
    finally:
        beside.kill()
    wrong = 0
    for name, numbers in json.loads(answer.splitlines()[-1]).items():
        apart = difference(here[name], numbers)
        most = ROUNDING[name.partition(",")[0]]
        wrong = wrong if apart <= most else WRONG
        step.add(
            f"{name}: {apart:.1e} from the CPU's ({most:.0e} is allowed)", what=name, apart=apart
        )
    return wrong


def values(small: bool) -> dict[str, dict[str, list[float]]]:
    """Networks of both engines and a transformer's prediction: {what: {quantity: values}}."""
    import sigprop as sp

    looped = sp.architectures.looped_mlp(tokens=2, readout="mean", loops=2 if small else 8)
    attending = sp.architectures.transformer(depth=1, tokens=4 if small else 16)
    calls: dict[str, Callable[[], Any]] = {
        f"measure, {engine}": lambda engine=engine: sp.measure(
            looped, width=64, samples=64, engine=engine, quantities=STATES
        )
        for engine in ("dense", "matrix-free")
    }
    calls["predict, transformer"] = lambda: sp.predict(attending, quantities=STATES)
    found: dict[str, dict[str, list[float]]] = {}
    for name, call in calls.items():
        found[name] = {}
        for row in call().rows:
            found[name].setdefault(row["quantity"], []).append(row["value"])
    return found


def difference(one: dict[str, list[float]], other: dict[str, list[float]]) -> float:
    """Return the largest difference, over the largest value of its quantity."""

    def each() -> Iterator[float]:
        for name, mine in one.items():
            scale = max(map(abs, mine))
            yield from (abs(a - b) / scale for a, b in zip(mine, other[name], strict=True))

    return max(each())


STEPS: dict[str, Callable[[Step], int]] = {
    step.__name__: step for step in (device, law, predict, verify, same)
}


def main() -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=[*STEPS, "values"])
    parser.add_argument("--small", action="store_true", help="minutes of two CPU cores in all")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    if given.step == "values":
        print(json.dumps(values(given.small)))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    step = Step(given.step, given.out, given.small, given.seconds)
    try:
        return STEPS[given.step](step)
    except Exception as error:  # a failure is a result
        print(f"{given.step}: {type(error).__name__}: {error}", flush=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
