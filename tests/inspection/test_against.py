"""A network of one builder beside the scatter of fresh ones of another: planted bugs are found
where they sit, right networks are not rejected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sigprop as sp
from sigprop.errors import InputError

torch = pytest.importorskip("torch")
nn: Any = torch.nn
WIDTH, LAYERS = 128, 3


class Block(nn.Module):
    """norm, up, relu, down."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH, eps=eps)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Any) -> Any:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Net(nn.Module):
    """Embeddings of sd ``stem``, three blocks."""

    def __init__(self, stem: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.words = nn.Embedding(50, WIDTH)
        self.blocks = nn.ModuleList([Block(eps) for _ in range(LAYERS)])
        nn.init.normal_(self.words.weight, std=stem)
        for block in self.blocks:
            nn.init.normal_(block.up.weight, std=WIDTH**-0.5)
            nn.init.normal_(block.down.weight, std=(2 * WIDTH) ** -0.5)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids)
        for block in self.blocks:
            x = block(x)
        return x


def changed(change: Callable[[Any], None]) -> Callable[[], Any]:
    def build() -> Any:
        net = Net()
        change(net)
        return net

    return build


def wide(net: Any) -> None:
    nn.init.normal_(net.blocks[1].up.weight, std=2 * WIDTH**-0.5)


def shared(net: Any) -> None:
    net.blocks[2].up.weight = net.blocks[1].up.weight
    net.blocks[2].down.weight = net.blocks[1].down.weight


def example() -> Any:
    return torch.arange(6)[None]


def test_right_networks_are_not_rejected():
    """Six networks of the builder itself, each beside 20 others: at 1 % a table, two rejections or
    more have a probability of 0.15 %."""
    reading = sp.read(Net, example())
    tables = [sp.compare(reading, against=reading, seeds=20, first_seed=100 * k) for k in range(6)]
    assert sum(table.verdict == "rejected" for table in tables) <= 1


@pytest.mark.parametrize(("bug", "place"), [(wide, "blocks.1"), (shared, "blocks.")])
def test_planted_bugs_are_found_where_they_sit(bug: Any, place: str):
    table = sp.compare(changed(bug), example(), against=Net, seeds=20)
    rejected = [row for row in table if row["verdict"] == "rejected"]
    assert table.verdict == "rejected" and rejected[0]["module"].startswith(place)


def test_a_parameter_that_is_out_of_use_is_a_row():
    """Its gradient is zero, which no fresh network's is."""

    class Bare(Net):
        def forward(self, ids: Any) -> Any:
            x = self.words(ids)
            for k, block in enumerate(self.blocks):
                x = x + block.down(torch.relu(block.up(x if k == 1 else block.norm(x))))
            return x

    table = sp.compare(Bare, example(), against=Net, seeds=20)
    rejected = {row["module"] for row in table if row["verdict"] == "rejected"}
    assert "blocks.1.norm.weight" in rejected


def test_what_one_network_cannot_show_names_how_many_would():
    """Another epsilon at a small stem, 1.2 times it: that many networks of each are rejected."""

    def meant() -> Any:
        return Net(stem=0.01, eps=1e-5)

    def bug() -> Any:
        return Net(stem=0.01, eps=2e-5)

    one = sp.compare(bug, example(), against=meant, seeds=20)
    needed = one.notes["needed"]
    assert one.verdict == "inconclusive" and 1 < needed < 100
    assert any(line.startswith(f"{needed} networks") for line in one.notes["remarks"])
    several = sp.compare(bug, example(), against=meant, seeds=max(20, needed), networks=needed)
    assert several.verdict == "rejected"


def test_equal_theories_name_no_number():
    assert sp.compare(Net, example(), against=Net, seeds=8).notes["needed"] is None


def test_others_are_refused():
    with pytest.raises(InputError, match="seeds=3; accepted: 8 or more"):
        sp.compare(Net, example(), against=Net, seeds=3)
    with pytest.raises(InputError, match="is a parameter of one of the two"):
        sp.compare(
            lambda: nn.Sequential(nn.Embedding(50, WIDTH), *(Block(1e-5) for _ in range(LAYERS))),
            example(),
            against=Net,
            seeds=8,
        )
    with pytest.raises(InputError, match="applications of width"):
        sp.compare(
            lambda: nn.Sequential(nn.Embedding(50, WIDTH), Block(1e-5)),
            example(),
            against=Net,
            seeds=8,
        )


def test_an_example_that_is_drawn_is_drawn_once():
    """A function of the example: both builders are read on what one call returns."""
    calls: list[int] = []

    def drawn() -> Any:
        calls.append(1)
        return example()

    assert sp.compare(Net, drawn, against=Net, seeds=8).notes["samples"] == 1
    assert calls == [1]
