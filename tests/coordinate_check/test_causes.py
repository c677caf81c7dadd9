"""Which group breaks: a wrong exponent planted in one group's rate, in width or in depth, is named,
and the prescribed rule names none."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest

import sigprop as sp
from sigprop.coordinate_check.causes import causes, notes, rejected, told
from sigprop.coordinate_check.ladder import Members
from sigprop.coordinate_check.looks import Pair, all_changes
from sigprop.coordinate_check.rates import Parametrisation, Rule, prescribed
from sigprop.coordinate_check.slopes import Changes
from sigprop.coordinate_check.steps import Networks
from sigprop.description.architecture import Architecture
from sigprop.runtime.progress import Silent

SIZES = {"width": (32, 128), "depth": (2, 8)}
PROGRAMS: dict[tuple[int, int], Any] = {}
"""Of all rules: they differ in numbers alone."""


@functools.cache
def pair(variable: str) -> Pair:
    rungs = Members(sp.architectures.residual_mlp(residual_scale="1/sqrt(L)")).ladder(
        variable, SIZES[variable], 32
    )
    return Pair(rungs, rungs)


def judged(rule: Parametrisation, variable: str) -> Changes:
    run = Networks("adamw", rule, (1,), "linear", 0, programs=PROGRAMS)
    (changes,) = all_changes(run, {variable: pair(variable)}, (8, 128), Silent())
    return changes


def planted(group: str, power: float) -> Parametrisation:
    """The prescribed rule, but one group's rate times n^power, or L^power."""

    def rule(arch: Architecture, width: int, optimizer: str) -> Rule:
        found = prescribed(arch, width, optimizer)
        size = width / 32 * arch.sizes["L"] / 2  # one of the two varies
        rate = found.groups[group].rate * size**power
        return found._replace(
            groups={**found.groups, group: found.groups[group]._replace(rate=rate)}
        )

    return rule


@pytest.mark.parametrize("variable", list(SIZES))
@pytest.mark.parametrize(("group", "power"), [("stem", 0.5), ("w", 1.0), ("readout", -0.5)])
def test_a_wrong_exponent_is_named(group: str, power: float, variable: str):
    """By its own part alone, which goes as the power that was planted: other groups' gradients, and
    so their steps, are as they were."""
    changes = judged(planted(group, power), variable)
    (cause,) = causes(changes)
    assert (cause.variable, cause.group) == (variable, group)
    assert abs(cause.slope - cause.reference - power) < 5 * cause.se + 0.03
    letter = {"width": "n", "depth": "L"}[variable]
    assert f"group {group}: its effective part {'grows' if power > 0 else 'falls'} as " in str(
        cause
    )
    assert f"{letter}^{cause.slope:.2f} (reference {round(cause.reference, 2) + 0.0:.2f})" in str(
        cause
    )
    said = notes([changes])
    if rejected(changes):
        assert said["cause"] == str(cause) and said["breaks"] == [cause._asdict()]
    else:  # a group whose share of the rest is small
        assert "cause" not in said and str(cause) in said["remarks"][-1]


@pytest.mark.parametrize("variable", list(SIZES))
def test_the_right_rule_names_none(variable: str):
    """Every group's part has the predicted slope, some three errors inside the margin."""
    changes = judged(prescribed, variable)
    assert not causes(changes) and not rejected(changes) and told([changes]) is None
    assert all(verdict == "confirmed" for verdict in changes.verdicts[-1].values())
    (remark,) = notes([changes])["remarks"]
    assert f"in {variable}: 5 of 5 rows decided, by " in remark


def test_what_is_no_groups_rate_is_said_to_be_none():
    """A read-out that starts n^1/2 too large: Adam's steps are as they were."""

    def rule(arch: Architecture, width: int, optimizer: str) -> Rule:
        found = prescribed(arch, width, optimizer)
        return found._replace(readout=found.readout * math.sqrt(width / 32))

    changes = judged(rule, "width")
    assert rejected(changes) and not causes(changes)
    assert "no group's effective part is off: what changes pass through is" in str(told([changes]))


def test_how_many_networks_decided_is_said_row_by_row():
    changes = judged(prescribed, "width")
    for cell in changes.cells():
        count = changes.decided(cell)
        assert count in changes.looks and changes.looks == sorted(changes.looks)
    # of the cheapest networks four times as many
    assert [len(s) for s in changes.squares] == [4 * changes.looks[-1], changes.looks[-1]]
