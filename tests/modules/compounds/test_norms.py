"""LayerNorm and RMSNorm however they are written: kind, length, epsilon and factor; near misses are
no norms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from torch_modules import F, nn, torch

from sigprop.modules.building import build
from sigprop.modules.compounds.norms import Root, root_of
from sigprop.modules.exporting import Example, export
from sigprop.modules.pointwise import Expression, X
from sigprop.modules.reader import Reader
from sigprop.modules.terms import Gain, Norm, Pointwise, Shift, Source, Term, Unknown

FEATURES, EPS = 8, 3e-4
INPUT = torch.randn(1, 5, FEATURES, generator=torch.Generator().manual_seed(1))
SQUARE = INPUT[0].repeat(2, 1)[:FEATURES]


class Function(nn.Module):
    """A module of one function, with a gain and a shift."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(FEATURES))
        self.shift = nn.Parameter(torch.zeros(FEATURES))
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def term_of(function: Callable[[Any, Any], Any], x: Any = INPUT) -> Term:
    graph = export(build(lambda: Function(function)), Example((x,), {}))
    return Reader(graph).term(graph.outputs[0])


def mean(x: Any) -> Any:
    return x.mean(-1, keepdim=True)


def variance(x: Any, unbiased: bool = False) -> Any:
    return x.var(-1, keepdim=True, unbiased=unbiased)


def both(x: Any) -> Any:
    v, m = torch.var_mean(x, dim=-1, keepdim=True, unbiased=False)
    return (x - m) * torch.rsqrt(v + EPS)


def deviation(x: Any) -> Any:
    s, m = torch.std_mean(x, dim=(2,), correction=0, keepdim=True)
    return (x - m) / (s**2 + EPS).sqrt()


def mean_first(x: Any) -> Any:
    m = mean(x)
    return (x - m) / torch.sqrt(((x - m) ** 2).mean(-1, keepdim=True) + EPS)


LAYER: dict[str, Callable[[Any], Any]] = {
    "var": lambda x: (x - mean(x)) / torch.sqrt(variance(x) + EPS),
    "torch.var": lambda x: (
        (x - mean(x)) / (torch.var(x, dim=-1, keepdim=True, correction=0) + EPS).sqrt()
    ),
    "squares": mean_first,
    "rsqrt": lambda x: (
        (x - mean(x)) * torch.rsqrt((x - mean(x)).pow(2).mean(-1, keepdim=True) + EPS)
    ),
    "times itself": lambda x: (
        (x - mean(x)) * ((x - mean(x)) * (x - mean(x))).mean(-1, keepdim=True).add(EPS).rsqrt()
    ),
    "moments": lambda x: (
        (x - mean(x)) / torch.sqrt((x * x).mean(-1, keepdim=True) - mean(x) ** 2 + EPS)
    ),
    "var_mean": both,
    "std_mean": deviation,
    "std squared": lambda x: (
        (x - mean(x)) / torch.sqrt(x.std(-1, keepdim=True, unbiased=False).square() + EPS)
    ),
    "sums": lambda x: (
        (x - x.sum(-1, keepdim=True) / FEATURES)
        * torch.rsqrt(
            (x - x.sum(-1, keepdim=True) / FEATURES).square().sum(-1, keepdim=True) / FEATURES + EPS
        )
    ),
    "unsqueezed": lambda x: (
        (x - x.mean(-1).unsqueeze(-1)) / torch.sqrt(x.var(-1, unbiased=False).unsqueeze(-1) + EPS)
    ),
    "minus first": lambda x: (-mean(x) + x) * (variance(x) + EPS) ** -0.5,
    "function": lambda x: F.layer_norm(x, (FEATURES,), eps=EPS),
    "in double precision": lambda x: (
        (x.double() - mean(x.double())) / torch.sqrt(variance(x.double()) + EPS)
    ).float(),
}


@pytest.mark.parametrize("name", LAYER)
def test_a_layer_norm_however_it_is_written(name: str):
    """Kind, length and epsilon are those of the function of torch; what is normed is the input."""
    term = term_of(lambda self, x: LAYER[name](x))
    assert isinstance(term, Norm) and (term.kind, term.length) == ("layer", FEATURES)
    assert term.epsilon == pytest.approx(EPS, rel=1e-6) and isinstance(term.of, Source)


RMS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / FEATURES + EPS),
    "length": lambda x: x / torch.sqrt(x.norm(dim=-1, keepdim=True) ** 2 / FEATURES + EPS),
    "gain first": lambda x: (x * 2.0) * torch.rsqrt((x * 2.0).pow(2).mean(-1, keepdim=True) + EPS),
}


@pytest.mark.parametrize("name", RMS)
def test_an_rms_norm_by_sums_and_lengths(name: str):
    """The same norm of sums of squares."""
    term = term_of(lambda self, x: RMS[name](x))
    assert isinstance(term, Norm) and (term.kind, term.length) == ("rms", FEATURES)
    assert term.epsilon == pytest.approx(EPS, rel=1e-6)


WITH_FACTOR: dict[str, tuple[Callable[[Any], Any], str, float, float]] = {
    "unbiased": (
        lambda x: (x - mean(x)) / torch.sqrt(variance(x, unbiased=True) + EPS),
        "layer",
        math.sqrt((FEATURES - 1) / FEATURES),
        EPS * (FEATURES - 1) / FEATURES,
    ),
    "normalize": (lambda x: F.normalize(x, dim=-1), "rms", FEATURES**-0.5, 0.0),
    "a length of sqrt(n)": (
        lambda x: F.normalize(x, dim=-1) * FEATURES**0.5,
        "rms",
        1.0,
        0.0,
    ),
    "deviation alone": (
        lambda x: (x - mean(x)) / x.std(-1, keepdim=True),
        "layer",
        math.sqrt((FEATURES - 1) / FEATURES),
        0.0,
    ),
    "a factor inside": (
        lambda x: 3.0 * x / torch.sqrt(4.0 * x.square().mean(-1, keepdim=True) + EPS),
        "rms",
        1.5,
        EPS / 4,
    ),
}


@pytest.mark.parametrize("name", WITH_FACTOR)
def test_a_norm_has_the_factor_that_it_has(name: str):
    """Variances over n - 1 and lengths are other multiples of the same norm, epsilon included."""
    function, kind, factor, epsilon = WITH_FACTOR[name]
    term = term_of(lambda self, x: function(x))
    if factor != 1.0:
        assert isinstance(term, Pointwise)
        assert term.function.factor == pytest.approx(factor, rel=1e-6)
        term = term.of
    assert isinstance(term, Norm) and term.kind == kind
    assert term.epsilon == pytest.approx(epsilon, rel=1e-6)


AFFINE: dict[str, Callable[[Any, Any], Any]] = {
    "after": lambda self, x: self.gain * (x - mean(x)) / torch.sqrt(variance(x) + EPS) + self.shift,
    "outside": lambda self, x: self.gain * LAYER["var"](x) + self.shift,
    "shift first": lambda self, x: self.shift + LAYER["rsqrt"](x) * self.gain,
    "functional": lambda self, x: F.layer_norm(x, (FEATURES,), self.gain, self.shift, EPS),
}


@pytest.mark.parametrize("name", AFFINE)
def test_gain_and_shift_stand_around_the_norm(name: str):
    """Wherever the gain is multiplied, it is a gain of the norm."""
    term = term_of(AFFINE[name])
    assert isinstance(term, Shift) and isinstance(term.of, Gain) and isinstance(term.of.of, Norm)
    assert term.of.of.kind == "layer" and term.of.of.epsilon == pytest.approx(EPS, rel=1e-6)


def norms_inside(term: Term) -> bool:
    return isinstance(term, Norm) or any(norms_inside(part) for part in term.inside)


NO_NORM: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "epsilon outside": (lambda x: (x - mean(x)) / (x.std(-1, keepdim=True) + 1e-6), INPUT),
    "a small epsilon outside": (
        lambda x: x / (x.square().mean(-1, keepdim=True).sqrt() + 1e-6),
        INPUT,
    ),
    "another variance": (lambda x: (x - mean(x)) / torch.sqrt(variance(x.tanh()) + EPS), INPUT),
    "another mean": (lambda x: (x - mean(x.exp())) / torch.sqrt(variance(x) + EPS), INPUT),
    "half the mean": (lambda x: (x - mean(x) / 2) / torch.sqrt(variance(x) + EPS), INPUT),
    "no mean": (lambda x: x / torch.sqrt(variance(x) + EPS), INPUT),
    "no root": (lambda x: (x - mean(x)) / (variance(x) + EPS), INPUT),
    "all entries": (lambda x: (x - x.mean()) / torch.sqrt(x.var() + EPS), INPUT),
    "over tokens": (
        lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True)).sqrt(),
        INPUT,
    ),
    "rows for columns": (lambda x: x - x.mean(-1), SQUARE),
    "rows for columns, rms": (lambda x: x * torch.rsqrt(x.square().mean(-1) + EPS), SQUARE),
    "a sum of fourth powers": (lambda x: x / (x**4).mean(-1, keepdim=True) ** 0.25, INPUT),
    "another length": (lambda x: x / x.norm(p=1, dim=-1, keepdim=True), INPUT),
}


@pytest.mark.parametrize("name", NO_NORM)
def test_a_near_miss_is_no_norm(name: str):
    """Another function of another statistic is no norm."""
    function, x = NO_NORM[name]
    assert not norms_inside(term_of(lambda self, x: function(x), x))


def test_a_layer_norm_over_tokens_too_is_none_over_features():
    """A shape of two axes."""
    for function in (F.layer_norm, F.rms_norm):
        term = term_of(lambda self, x, f=function: f(x, (5, FEATURES)))
        assert isinstance(term, Unknown)


def power(c: float, epsilon: float, p: float) -> Expression:
    return Expression("mul", (Expression("pow", (Expression("add", (X, epsilon)), p)), c))


@pytest.mark.parametrize("epsilon", [0.0, 1e-12, 1e-6, 0.1, 3.0])
def test_a_root_is_solved_for(epsilon: float):
    """Factor and epsilon of c (v + epsilon)^-1/2, and none of another power."""
    found = root_of(power(1.7, epsilon, -0.5))
    assert found is not None
    assert found == (pytest.approx(1.7, rel=1e-9), pytest.approx(epsilon, rel=1e-6, abs=1e-11))
    assert root_of(power(1.7, epsilon, -0.4)) is None and root_of(power(1.7, epsilon, 0.5)) is None


def test_a_factor_of_one_within_rounding_is_one():
    """Graphs hold float32."""
    assert root_of(power(1 + 1e-7, 0.5, -0.5)) == Root(1.0, pytest.approx(0.5, rel=1e-6))
