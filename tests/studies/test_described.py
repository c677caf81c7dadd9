"""Architectures that a study describes: a cell each, or those that its list names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import sigprop as sp

MLPS = {
    "short": sp.architectures.mlp(depth=2),
    "long": sp.architectures.mlp(depth=3),
}


def study(tmp_path: Path, **given: Any) -> sp.Study:
    """A study of predictions of two networks."""
    return sp.Study("s", command="predict", architecture=MLPS, store=tmp_path / "s.db", **given)


def varied(found: sp.Study) -> list[dict[str, Any]]:
    """What tells the cells apart."""
    return [dict(unit.cell["varied"]) for unit in found.plan.units]


def test_without_a_list_each_is_a_cell(tmp_path: Path):
    assert varied(study(tmp_path)) == [{"architecture": "short"}, {"architecture": "long"}]
    both = study(tmp_path, list=[{"quantities": ["residual_variance"]}, {"quantities": ["ntk"]}])
    assert [cell["architecture"] for cell in varied(both)] == ["short", "long"] * 2


def test_a_list_names_those_it_wants_with_options_of_their_own(tmp_path: Path):
    entries = [
        {"architecture": "long", "quantities": ("residual_variance",), "applications": (1, 3)},
        {"architecture": "short", "quantities": ("residual_variance",), "applications": None},
    ]
    asked = study(tmp_path, list=entries)
    assert [cell["architecture"] for cell in varied(asked)] == ["long", "short"]
    asked.run()
    for entry in entries:
        own = sp.predict(MLPS[entry["architecture"]], entry["quantities"], entry["applications"])
        kept = asked.results(architecture=entry["architecture"])
        assert [row["value"] for row in kept] == [row["value"] for row in own]


@pytest.mark.parametrize(
    "entries",
    [[{"architecture": "short"}, {"quantities": ["ntk"]}], [{"architecture": "shrt"}], [3], 3],
    ids=str,
)
def test_a_cell_without_an_architecture_is_refused(tmp_path: Path, entries: Any):
    with pytest.raises(sp.InputError, match="accepted|nearest|not"):
        _ = study(tmp_path, list=entries).plan.units
