"""How many programs a test file may compile: what tests wait for, and what grows unseen."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from sigprop.runtime.compiling import COMPILED, MOST_MAPS, make_room

TABLE = Path(__file__).parents[1] / "programs.toml"


def most() -> dict[str, int]:
    """Test file -> the most programs that it may compile; ``default``: of files without an
    entry."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def excess(name: str, count: int, table: Mapping[str, int]) -> str | None:
    """One line that says that a file compiled more than it may, and what to do; None where it
    did not."""
    allowed = table.get(name, table["default"])
    if count <= allowed:
        return None
    return (
        f"{name}: {count} programs compiled, {allowed} allowed; let cases share shapes and "
        f'quantities, or write "{name}" = {count} into tests/{TABLE.name}'
    )


@pytest.fixture(autouse=True, scope="module")
def few_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail at the end of a file that compiled more than ``programs.toml`` says; a part of it
    compiles no more than the whole. Files with tests marked long are held without those."""
    make_room(MOST_MAPS / 2)  # here, where what is compiled again is counted as no second one
    before = COMPILED.total()
    yield
    items = [item for item in request.session.items if item.path == request.node.path]
    if any(item.get_closest_marker("long") for item in items):
        return
    name = request.node.path.relative_to(request.config.rootpath).as_posix()
    if said := excess(name, COMPILED.total() - before, most()):
        pytest.fail(said, pytrace=False)
