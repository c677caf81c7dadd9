"""A family from outside the package, of sub-blocks alone: prescribed for by the recursion, checked,
and what is said of one that is not what it should be."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import pytest

import sigprop as sp
from sigprop.registry import entries as registry

NAME = "remembering"


@pytest.fixture(scope="module")
def mine() -> Iterator[ModuleType]:
    """The builder, registered for this file only: other tests list what the package registers."""
    registry.registered()
    yield importlib.import_module("own_family")
    registry._ENTRIES.pop(NAME)
    registry._FUNCTIONS.pop(NAME)
    del sys.modules["own_family"]


def test_it_is_prescribed_for_by_the_recursion(mine: ModuleType) -> None:
    """Shares of the output's change grow with depth, about as sqrt(L) at epsilon = 1/sqrt(L), and
    rates fall so; the read-out's, and every power of the width, are laws."""
    plan = sp.prescribe(NAME, base={"width": 64, "depth": 2}, target={"width": 256, "depth": 4})
    rates = {row["group"]: row for row in plan if row["setting"] == "learning_rate"}
    for group, width in {"w": 4, "x": 4, "a": 4, "scale": 1}.items():
        assert rates[group]["by"] == "recursion"
        assert 0.65 < rates[group]["ratio"] * width < 0.75, group
    assert rates["readout"]["by"] == "law" and rates["readout"]["ratio"] == 0.25


@pytest.mark.parametrize(("rule", "verdict"), [("prescribed", "confirmed"), ("naive", "rejected")])
def test_it_is_checked_in_depth(mine: ModuleType, rule: str, verdict: str) -> None:
    table = mine.judged(rule, ladders={"depth": (2, 8)}, width=32, steps=(1,))
    assert table.verdict == verdict
    # what was run is said with the verdict: columns do not name it
    assert f"adamw, {rule}: L = 2, 8 at n = 32" in " ".join(str(table).split())
    named = {found["group"] for found in table.notes["breaks"]}
    assert named == (set() if verdict == "confirmed" else {"w", "x", "a", "scale"})


def test_a_family_that_builds_other_sizes_is_refused(mine: ModuleType) -> None:
    """Its ladder would be one network, whose slopes are 0 under every rule."""
    arch = mine.remembering()
    fixed = replace(arch, family=sp.Family(lambda L, N: mine.remembering(depth=4)))
    with pytest.raises(sp.InputError, match=r"build\(L=2, N=1\) has L=4 in its sizes; accepted"):
        sp.check(fixed, variables=["depth"])
    numbers = {"epsilon": 0.5, "mu": 0.7, "gamma": 0.5}
    one = replace(arch, sizes={}, numbers=numbers, family=sp.Family(lambda L, N: one))
    with pytest.raises(sp.InputError, match=r"\[4, 4\] applications at depth=\[2, 8\]; accepted"):
        sp.check(one, variables=["depth"], ladders={"depth": (2, 8)})


def test_a_registered_one_without_a_family_is_told_what_it_needs(mine: ModuleType) -> None:
    with pytest.raises(sp.InputError, match=r"'remembering' has no family, .*sigprop.Family"):
        sp.check(replace(mine.remembering(), family=None))


READERS: dict[str, Callable[[object], object]] = {
    "derive": sp.derive,  # type: ignore[dict-item]
    "predict": sp.predict,  # type: ignore[dict-item]
    "measure": sp.measure,  # type: ignore[dict-item]
    "verify": sp.verify,  # type: ignore[dict-item]
    "exponents": sp.exponents,  # type: ignore[dict-item]
    "critical": sp.critical,  # type: ignore[dict-item]
    "first_step": sp.first_step,  # type: ignore[dict-item]
    "check": sp.check,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("read", list(READERS.values()), ids=list(READERS))
@pytest.mark.parametrize(
    "given", [NAME, sp.architectures.looped_mlp, None], ids=["name", "builder", "none"]
)
def test_what_is_no_description_is_refused(read: Callable[[object], object], given: object) -> None:
    """Commands and ``prescribe`` take names; these take what a builder builds."""
    with pytest.raises(sp.InputError, match=r"^arch=.*; accepted: a sigprop.Architecture, such as"):
        read(given)


def test_prescribe_is_given_a_name(mine: ModuleType) -> None:
    sides = {"base": {"width": 64, "depth": 2}, "target": {"width": 64, "depth": 4}}
    for given in (mine.remembering(), mine.remembering):
        with pytest.raises(sp.InputError, match=r"^name=.*; accepted: the name of a registered"):
            sp.prescribe(given, **sides)


def test_one_sub_block_stands_in_a_tuple(mine: ModuleType) -> None:
    with pytest.raises(sp.InputError, match=r"^sub_blocks=.*; accepted: a tuple of SubBlocks"):
        replace(mine.remembering(), sub_blocks=mine.BLOCK)
