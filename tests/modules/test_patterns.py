"""Compounds that libraries write out, recognised by what they compute: norms, rotary positions,
attention in three operations; and near misses, which stay what they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from torch_modules import F, nn, rotated, torch

from sigprop.modules.building import build
from sigprop.modules.exporting import Example, export
from sigprop.modules.reader import Reader
from sigprop.modules.terms import Attention, Contract, Norm, Term, Times, Turned

HEAD, ROWS = 8, 5
X = torch.randn(1, 2, ROWS, HEAD, generator=torch.Generator().manual_seed(1))
"""[B, H, T, d]"""


class Function(nn.Module):
    """A module of one function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def term_of(function: Callable[[Any], Any]) -> Term:
    graph = export(build(lambda: Function(function)), Example((X,), {}))
    return Reader(graph).term(graph.outputs[0])


EPS = 3e-4
RMS: dict[str, Callable[[Any], Any]] = {
    "rsqrt": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS),
    "division": lambda x: x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + EPS),
    "product": lambda x: x / (EPS + (x * x).mean(dim=-1, keepdim=True)).sqrt(),
    "power": lambda x: x * (x.square().mean(-1, keepdim=True) + EPS) ** -0.5,
    "reciprocal": lambda x: (x**2).mean(-1, keepdim=True).add(EPS).sqrt().reciprocal() * x,
    "function": lambda x: F.rms_norm(x, (HEAD,), eps=EPS),
    "cast": lambda x: (
        x.double() * (x.double() ** 2).mean(-1, keepdim=True).add(EPS).rsqrt()
    ).float(),
}


@pytest.mark.parametrize("name", RMS)
def test_an_rms_norm_however_it_is_written(name: str):
    """Kind, length and epsilon are those of the function of torch."""
    term = term_of(RMS[name])
    assert isinstance(term, Norm) and (term.kind, term.length) == ("rms", HEAD)
    assert term.epsilon == pytest.approx(EPS, rel=1e-6)


NO_NORM: dict[str, Callable[[Any], Any]] = {
    "another power": lambda x: x * (x.square().mean(-1, keepdim=True) + EPS) ** -0.4,
    "outside the root": lambda x: x / (x.square().mean(-1, keepdim=True).sqrt() + 0.1),
    "fourth moment": lambda x: x * torch.rsqrt((x**4).mean(-1, keepdim=True) + EPS),
    "of something else": lambda x: x * torch.rsqrt(x.tanh().square().mean(-1, keepdim=True) + EPS),
}


@pytest.mark.parametrize("name", NO_NORM)
def test_a_near_miss_of_a_norm_is_a_product(name: str):
    """Another function of another mean is no RMS norm."""
    assert isinstance(term_of(NO_NORM[name]), Times)


@pytest.mark.parametrize("base", [500.0, 1e4, 1e6])
def test_rotary_positions_have_their_base(base: float):
    """The base is solved for from the angles to float32's digits."""
    term = term_of(lambda x: rotated(x, base))
    assert isinstance(term, Turned) and term.features == HEAD
    assert term.base == pytest.approx(base, rel=1e-5)


def test_rotary_positions_of_some_features():
    """The first half of a head turned, the rest as it is."""

    def partly(x: Any) -> Any:
        return torch.cat([rotated(x[..., : HEAD // 2], 1e4), x[..., HEAD // 2 :]], dim=-1)

    term = term_of(partly)
    assert isinstance(term, Turned) and (term.features, term.shape[-1]) == (HEAD // 2, HEAD)


def half_turn(x: Any, sign: float, scaled: float) -> Any:
    angles = scaled * torch.outer(
        torch.arange(ROWS).float(), 1e4 ** -(torch.arange(0, HEAD, 2).float() / HEAD)
    )
    angles = torch.cat([angles, angles], -1)
    first, second = x[..., : HEAD // 2], x[..., HEAD // 2 :]
    return x * angles.cos() + torch.cat([sign * second, first], -1) * angles.sin()


@pytest.mark.parametrize(("sign", "scaled"), [(1.0, 1.0), (-1.0, 0.5)])
def test_near_misses_of_rotary_positions_are_sums(sign: float, scaled: float):
    """A wrong sign, or angles that are divided (interpolated positions), is no rotary form."""
    assert isinstance(term_of(lambda x: half_turn(x, -1.0, 1.0)), Turned)
    assert not isinstance(term_of(lambda x: half_turn(x, sign, scaled)), Turned)


CAP = 2.5
ATTENTION: dict[str, tuple[Callable[[Any], Any], float, float | None]] = {
    "scaled scores": (lambda x: (x @ x.mT * 0.3).softmax(-1) @ x.exp(), 0.3, None),
    "divided scores": (lambda x: (x @ x.mT / math.sqrt(HEAD)).softmax(-1) @ x, HEAD**-0.5, None),
    "scaled queries": (lambda x: ((x * 0.3) @ x.mT).softmax(-1) @ x, 0.3, None),
    "both scaled": (lambda x: ((x * 0.5) @ (x / 2).mT).softmax(-1) @ x, 0.25, None),
    "a cap": (lambda x: (CAP * torch.tanh(x @ x.mT * 0.3 / CAP)).softmax(-1) @ x, 0.3, CAP),
    "sdpa": (lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.3), 0.3, None),
    "sdpa default": (lambda x: F.scaled_dot_product_attention(x, x, x), HEAD**-0.5, None),
    "matmul, transpose": (
        lambda x: torch.matmul(F.softmax(torch.matmul(x, x.transpose(2, 3)) * 0.3, dim=-1), x),
        0.3,
        None,
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_in_three_operations_has_its_scale_and_cap(name: str):
    """softmax(cap(s q k^T)) v, wherever s stands."""
    function, scale, cap = ATTENTION[name]
    term = term_of(function)
    assert isinstance(term, Attention) and term.head_dim == HEAD and term.masks == ()
    assert term.scale == pytest.approx(scale, rel=1e-6)
    assert term.cap == (None if cap is None else pytest.approx(cap, rel=1e-6))


def mask() -> Any:
    return torch.full((ROWS, ROWS), float("-inf")).triu(1)


def test_a_mask_that_is_added_is_kept():
    """Its node holds the table, in both forms."""
    eager = term_of(lambda x: (x @ x.mT * 0.3 + mask()).softmax(-1) @ x)
    fused = term_of(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=mask()))
    assert isinstance(eager, Attention) and len(eager.masks) == 1
    assert isinstance(fused, Attention) and len(fused.masks) == 1


NO_ATTENTION: dict[str, Callable[[Any], Any]] = {
    "a curve of scores": lambda x: torch.sin(x @ x.mT).softmax(-1) @ x,
    "a bias of scores": lambda x: (x @ x.mT * 0.3 + 1.0).softmax(-1) @ x,
    "no softmax": lambda x: (x @ x.mT).tanh() @ x,
    "queries through a curve": lambda x: (x.tanh() @ x.mT).softmax(-1) @ x,
}


@pytest.mark.parametrize("name", NO_ATTENTION)
def test_near_misses_of_attention_are_contractions(name: str):
    """Scores that are another function of q k^T are no attention (of a constant's sum: harmless,
    but not recognised)."""
    assert isinstance(term_of(NO_ATTENTION[name]), Contract)


def test_sdpa_with_live_dropout_is_refused():
    """Dropout on the attention's weights is no attention without it."""
    term = term_of(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1))
    assert not isinstance(term, Attention)
