"""What rules of operations have in common: names, layouts, functions of functions."""

from __future__ import annotations

import math
from typing import Any

from sigprop.modules.pointwise import Expression
from sigprop.modules.terms import Pointwise, Term

LAYOUT = {
    *(
        "view",
        "reshape",
        "transpose",
        "contiguous",
        "dropout",
        "to",
        "_to_copy",
        "expand",
    ),
    *("unsqueeze", "squeeze", "alias", "clone", "permute", "flatten", "_unsafe_view", "detach"),
    *(
        "unflatten",
        "numpy_T",
        "broadcast_to",
        "lift_fresh_copy",
        "type_as",
        "t",
        "movedim",
        "repeat_interleave",
        "lift_fresh",
        "expand_as",
        "view_as",
        "mT",
    ),
}
"""Operations that move numbers and change none (dropout in evaluation is one)."""
TURNS = {"t", "transpose", "numpy_T", "mT", "permute"}
"""Of them: those that turn a matrix around."""


def named(node: Any) -> str:
    """Return an operation's name, ``add`` of ``aten.add.Tensor``."""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return schema.name.split("::")[1]
    return getattr(node.target, "__name__", "")


def drops(node: Any) -> bool:
    """Tell whether an operation is dropout that is live."""
    if named(node) != "dropout":
        return False
    _, rate, live = node.args
    return bool(live) and rate > 0


def turned(node: Any) -> bool:
    """Tell whether what a parameter passed through turned it around."""
    turns = 0
    while named(node) in LAYOUT:
        turns += named(node) in TURNS
        node = node.args[0]
    return turns % 2 == 1


def applied(node: Any, function: Expression, of: Term) -> Term:
    """Return function(of), one elementwise function where ``of`` is one itself; factors that
    together are 1 are none."""
    if not isinstance(of, Pointwise):
        return Pointwise(node, of, function)
    both = function.after(of.function)
    undone = both.factor is not None and math.isclose(both.factor, 1.0, rel_tol=1e-9)
    return of.of if undone else Pointwise(node, of.of, both)
