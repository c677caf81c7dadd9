"""Ten bugs planted in a transformer of the user's own, each one network beside 20 fresh ones of
what was meant: at least eight are rejected, and first where the bug sits; the others name how many
networks would do, and with so many are rejected. Minutes, so marked long (the fast ones are in
``test_against``)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import sigprop as sp

torch: Any = pytest.importorskip("torch")
nn: Any = torch.nn
F: Any = torch.nn.functional
WIDTH, HEADS, LAYERS, TOKENS, WORDS, SEEDS = 256, 4, 4, 12, 100, 20


class Plan(NamedTuple):
    """How a network is built; every field but the first two is a bug."""

    stem: float = 1.0  # of the embedding's entries
    root: bool = False  # whether the embedding is multiplied by sqrt(n)
    scaled: str = (
        "w2"  # which of an MLP's matrices is divided by sqrt(2 L), with attention's output
    )
    outputs: bool = True  # whether outputs are scaled at all
    eps: float = 1e-5
    xavier: bool = False  # packed q, k, v filled as one matrix [3n, n]
    unscaled_stem: bool = False  # sqrt(n) forgotten
    bare: int | None = None  # a layer without its MLP's norm
    shared: int | None = None  # a layer whose MLP is the one before it
    score: float = 0.5  # scores over head_dim to this power
    wide: int | None = None  # a layer whose w1 is twice as wide


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w1, self.w3 = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.w2 = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Any) -> Any:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Attention(nn.Module):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.scale = (WIDTH // HEADS) ** -plan.score

    def forward(self, x: Any) -> Any:
        q, k, v = (
            part.view(1, TOKENS, HEADS, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return self.out(heads.transpose(1, 2).reshape(1, TOKENS, WIDTH))


class Block(nn.Module):
    def __init__(self, plan: Plan, bare: bool) -> None:
        super().__init__()
        self.bare = bare
        self.norm1, self.norm2 = (nn.RMSNorm(WIDTH, eps=plan.eps) for _ in range(2))
        self.attention, self.mlp = Attention(plan), Mlp()

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(x if self.bare else self.norm2(x))


class Transformer(nn.Module):
    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.factor = math.sqrt(WIDTH) if plan.root and not plan.unscaled_stem else 1.0
        self.words = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList([Block(plan, k == plan.bare) for k in range(LAYERS)])
        self.norm = nn.RMSNorm(WIDTH, eps=plan.eps)
        nn.init.normal_(self.words.weight, std=plan.stem)
        for k, block in enumerate(self.blocks):
            self._fill(block, plan, k)
        if plan.shared is not None:
            self.blocks[plan.shared].mlp = self.blocks[plan.shared - 1].mlp

    @staticmethod
    def _fill(block: Any, plan: Plan, layer: int) -> None:
        small = 1 / math.sqrt(2 * LAYERS) if plan.outputs else 1.0
        mlp, attention = block.mlp, block.attention
        for matrix in (mlp.w1, mlp.w2, mlp.w3, attention.qkv, attention.out):
            nn.init.normal_(matrix.weight, std=matrix.in_features**-0.5)
        with torch.no_grad():
            getattr(mlp, plan.scaled).weight.mul_(small)
            attention.out.weight.mul_(small)
        if plan.xavier:
            nn.init.xavier_normal_(attention.qkv.weight)
        if layer == plan.wide:
            nn.init.normal_(mlp.w1.weight, std=2 * WIDTH**-0.5)

    def forward(self, ids: Any) -> Any:
        x = self.words(ids) * self.factor
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


MEANT, SMALL, ROOT = Plan(), Plan(stem=0.005), Plan(stem=WIDTH**-0.5, root=True)
BUGS: dict[str, tuple[Plan, Plan, str]] = {
    "outputs not scaled": (MEANT, MEANT._replace(outputs=False), "blocks.0.attention"),
    "epsilon 1e-6 for 1e-5, small stem": (SMALL, SMALL._replace(eps=1e-6), "blocks.0"),
    "packed q, k, v by Xavier": (MEANT, MEANT._replace(xavier=True), "blocks.0.attention"),
    "embedding 0.02 for 1": (MEANT, MEANT._replace(stem=0.02), ""),
    "sqrt(n) forgotten": (ROOT, ROOT._replace(unscaled_stem=True), ""),
    "w3 scaled for w2": (MEANT, MEANT._replace(scaled="w3"), "blocks.0.mlp"),
    "a norm missing": (MEANT, MEANT._replace(bare=2), "blocks.2"),
    "weights shared": (MEANT, MEANT._replace(shared=2), "blocks."),
    "scores over head_dim": (MEANT, MEANT._replace(score=1.0), "blocks.0.attention"),
    "a layer twice as wide": (MEANT, MEANT._replace(wide=1), "blocks.1.mlp"),
}
"""What was meant, what was built, and the start of the path where the first rejected row is."""


def built(plan: Plan) -> Callable[[], Any]:
    return lambda: Transformer(plan)


def example() -> Any:
    return torch.arange(TOKENS)[None]


@pytest.mark.long
def test_ten_bugs():
    """Eight of ten by one network; every other by as many networks as it names."""
    late = []
    for name, (meant, bug, place) in BUGS.items():
        one = sp.compare(built(bug), example(), against=built(meant), seeds=SEEDS)
        rejected = [row["module"] for row in one if row["verdict"] == "rejected"]
        if one.verdict == "rejected":
            assert rejected[0].startswith(place), (name, rejected)
            print(f"{name}: rejected at {rejected[0]!r}")
            continue
        needed = one.notes["needed"]
        assert needed is not None, name
        seeds = max(SEEDS, needed)
        more = sp.compare(built(bug), example(), against=built(meant), seeds=seeds, networks=needed)
        print(f"{name}: inconclusive by one, {more.verdict} by {needed}")
        assert more.verdict == "rejected", name
        late.append(name)
    assert len(late) <= 2, late


@pytest.mark.long
def test_what_is_found_without_a_reference():
    """Layers that are copies, a shared layer, a packed fan, outputs that are not scaled."""

    def copies() -> Any:
        network = Transformer(MEANT)
        network.blocks = nn.ModuleList(copy.deepcopy(network.blocks[0]) for _ in range(LAYERS))
        return network

    planted = {
        "start as copies": copies,
        "one parameter of": built(MEANT._replace(shared=2)),
        "Xavier of the packed shape": built(MEANT._replace(xavier=True)),
        "not scaled by depth": built(MEANT._replace(outputs=False)),
    }
    usual = sp.read(built(MEANT), example()).findings
    for text, build in planted.items():
        findings = sp.read(build, example()).findings
        assert any(text in line for line in findings), (text, findings)
        assert not any(text in line for line in usual), (text, usual)
