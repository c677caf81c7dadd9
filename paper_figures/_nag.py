"""One norm-agnostic stack for several figures: the same quantities of the same states, so that
all of them compile one program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sigprop as sp

if TYPE_CHECKING:
    from sigprop.paper_figures._run import Run

FILE = Path(__file__)
DEPTH, WIDTHS = 64, (256, 2048)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
LOOPS = 16
STATES = (*range(LOOPS + 1), 32, 64)
QUANTITIES = ("residual_variance", "log_norm", "rotation", "state_cosine")
Row = Mapping[str, Any]


def at(row: Row) -> int:
    """The (later) state of a row."""
    return row.get("application_2", row["application"])


def shown(row: Row) -> bool:
    """Whether a row is of a depth that figures show, alone or beside the input."""
    return at(row) in DEPTHS and ("application_2" not in row or row["application"] == 0)


def untied(
    run: Run,
    quantities: Sequence[str],
    keep: Callable[[Row], bool] = shown,
    measured: bool = True,
    labels: Row | None = None,
    **changes: Any,
) -> Any:
    """Rows of one token in a stack of 64 with those gains (parameters of ``nag``); state l is
    the last one of a stack of l."""
    stack = sp.architectures.nag(depth=DEPTH, tokens=1, **changes)
    own = {
        "keep": lambda row: row["quantity"] in quantities and keep(row),
        "measured": lambda _: measured,
    }
    return run.points(stack, QUANTITIES, STATES, widths=WIDTHS, **own, **(labels or {}))


def tied(run: Run, keep: Callable[[Row], bool], labels: Row, **changes: Any) -> Any:
    """Cosines of states of one token in 16 loops of one block with those gains; state l is the
    last one of l loops."""
    stack = sp.architectures.looped_nag(loops=LOOPS, tokens=1, **changes)
    return run.points(stack, "state_cosine", range(LOOPS + 1), keep=keep, widths=WIDTHS, **labels)


def baseline(run: Run, quantity: str, labels: Row) -> Any:
    """Rows of a pre-norm ReLU stack of 64 at residual scale 1."""
    stack = sp.architectures.residual_mlp(depth=DEPTH, residual_scale=1.0)
    own: dict[str, Any] = {"keep": lambda row: row["quantity"] == quantity, **labels}
    return run.points(stack, ("residual_variance", "rotation"), DEPTHS, widths=WIDTHS, **own)
