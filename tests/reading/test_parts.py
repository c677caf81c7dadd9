"""Parts of packed matrices and heads' norms: what is no part of features is refused, and a factor
inside a norm counts for nothing."""

from __future__ import annotations

from typing import Any

import pytest

import sigprop as sp
from sigprop.errors import InputError

torch = pytest.importorskip("torch")
nn: Any = torch.nn
F: Any = torch.nn.functional
WIDTH, HEADS, TOKENS = 32, 2, 4
SIZE = WIDTH // HEADS


class FirstToken(nn.Module):
    """A branch that every token reads the first one through."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        return x + self.up(x)[:, :1]


class Packed(nn.Module):
    """Queries, keys and values of every head side by side, as GPT-NeoX packs them; normed: behind
    norms of a factor times the heads."""

    def __init__(self, apart: bool = False, eps: float | None = None, factor: float = 1.0) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.eps, self.factor = eps, factor
        nn.init.normal_(self.qkv.weight, std=WIDTH**-0.5)
        if apart:
            nn.init.normal_(self.qkv.weight[:WIDTH], std=0.5)

    def forward(self, x: Any) -> Any:
        heads = self.qkv(x).view(1, TOKENS, HEADS, 3 * SIZE).transpose(1, 2)
        q, k, v = heads.chunk(3, -1)
        if self.eps is not None:
            q, k = (F.rms_norm(self.factor * leg, (SIZE,), eps=self.eps) for leg in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(mixed.transpose(1, 2).reshape(x.shape))


def read(build: Any) -> Any:
    return sp.read(build, torch.randn(1, TOKENS, WIDTH))


def test_a_choice_of_tokens_in_a_branch_is_refused():
    with pytest.raises(InputError, match="a choice of tokens in a branch"):
        read(FirstToken)


def test_rows_that_lie_apart_have_one_law_or_are_refused():
    """One law for all rows is read; several are not taken for those of neighbours."""
    arch = read(Packed).architecture
    assert [arch.numbers[f"c_qkv_{k}"] for k in range(3)] == pytest.approx([1.0] * 3)
    with pytest.raises(InputError, match="qkv.weight: filled in pieces, and read in rows that lie"):
        read(lambda: Packed(apart=True))


def test_a_heads_norm_has_no_factor_inside_and_a_small_epsilon():
    """norm(2 W r) = norm(W r); an epsilon that would count is refused."""
    one, other = (read(lambda f=f: Packed(eps=1e-6, factor=f)).architecture for f in (1.0, 2.0))
    assert one.sub_blocks == other.sub_blocks and one.sub_blocks[0].attention[0].scores.qk_norm
    with pytest.raises(InputError, match="epsilon 0.1 in a norm of queries or keys"):
        read(lambda: Packed(eps=0.1))
