"""One network beside the scatter that theory predicts: right ones are rejected as often as is said,
bugs are seen where they sit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError
from sigprop.inspection import networks, scattered
from sigprop.inspection.network import Network
from sigprop.reading.read import Reading

torch = pytest.importorskip("torch")
nn: Any = torch.nn
WIDTH, BLOCKS, COUNT = 128, 2, 200


class Block(nn.Module):
    """norm, up, gelu, down."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)
        for layer in (self.up, self.down):
            nn.init.normal_(layer.weight, std=WIDTH**-0.5)

    def forward(self, x: Any) -> Any:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def build() -> Any:
    return nn.Sequential(*(Block() for _ in range(BLOCKS)))


def embedded() -> Any:
    words = nn.Embedding(10, WIDTH)
    nn.init.normal_(words.weight)
    return nn.Sequential(words, *build())


def data() -> Any:
    return torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(0))


def ids() -> Any:
    return torch.arange(3)[None]


@pytest.mark.parametrize("made", [build, embedded], ids=["data", "embedding"])
def test_right_networks_are_rejected_as_often_as_is_said(
    made: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200, 1 % or fewer: 7 and more have a probability of 0.4 %. Rows' deviations have a mean
    square of 1, within four errors."""
    reading = sp.read(made, (data if made is build else ids)())
    every, predicted = networks.networks(reading, range(COUNT), lambda: None), scattered._scatter

    def once(reading: Reading, quantities: Sequence[str], fixed: bool) -> Any:
        found = kept.get("scatter") or predicted(reading, quantities, fixed)
        return kept.setdefault("scatter", found)

    kept: dict[str, Any] = {}
    monkeypatch.setattr(scattered, "_scatter", once)
    tables = []
    for network in every:
        monkeypatch.setattr(networks, "networks", lambda *_, one=network: [one])
        tables.append(sp.inspect(reading, scatter=True))
    assert sum(table.verdict == "rejected" for table in tables) < 7
    drawn = [k for k, row in enumerate(tables[0]) if row["sd"] > 0]
    assert len(drawn) == len(tables[0]) - (2 if made is build else 0)
    deviations = np.array([[list(table)[k]["deviation"] for k in drawn] for table in tables])
    assert abs((deviations**2).mean(axis=0) - 1).max() < 4 * (2 / COUNT) ** 0.5


def doubled() -> Any:
    net = build()
    with torch.no_grad():
        net[1].down.weight.mul_(1.5)
    return net


def test_a_bug_is_seen_where_it_sits() -> None:
    """One network, one matrix half as large again: its write first, then the state after it."""
    meant, (network,) = sp.read(build, data()), _run(doubled)
    rows = _judged(meant, network)
    outside = [row for row in rows if row["verdict"] == "rejected"]
    assert {row["module"] for row in outside if row["quantity"] == "write_variance"} == {"1.down"}
    assert "first outside: " in scattered._first(outside)[0]
    assert scattered._first(outside)[0].endswith("1.down")


def _run(made: Callable[[], Any]) -> list[Network]:
    return networks.networks(sp.read(made, data()), range(1), lambda: None)


def _judged(reading: Reading, network: Network) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "networks", lambda *_: [network])
        return list(sp.inspect(reading, scatter=True))


def normed() -> Any:
    """An embedding whose rows have one length, as BERT's."""
    words, *blocks = embedded()
    return nn.Sequential(words, nn.RMSNorm(WIDTH, eps=0.0), *blocks)


def test_an_embedding_fluctuates_and_data_does_not() -> None:
    for made, example, said in ((build, data, True), (embedded, ids, False), (normed, ids, False)):
        table = sp.inspect(made, example(), quantities="token_cosine", scatter=True)
        assert (scattered.DATA in table.notes["remarks"]) is said
        assert (table[0]["sd"] == 0) is said
        assert abs(table[0]["deviation"]) <= (1 if said else 5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"widths": (64, 128)}, "widths: accepted: without scatter"),
        ({"tolerances": {"residual_variance": 0.1}}, "tolerances: accepted: without scatter"),
        ({"quantities": "second_moment"}, "quantities='second_moment' with scatter"),
    ],
)
def test_refused_in_one_line(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        sp.inspect(build, data(), scatter=True, **given)
