"""Operations of a traced graph as terms: elementwise ones by the values of torch itself, matrices,
norms and slices by what they hold, others without a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from torch_modules import WIDTH, F, nn, torch

from sigprop.modules.building import build
from sigprop.modules.exporting import Example, export
from sigprop.modules.reader import Reader
from sigprop.modules.terms import (
    Contract,
    Embedding,
    Gain,
    Joined,
    Matrix,
    Norm,
    Part,
    Pointwise,
    Shift,
    Softmax,
    Source,
    Term,
    Times,
    Unknown,
    base,
)

POINTS = torch.linspace(-3.0, 3.0, 25, dtype=torch.float32)[None]


class Function(nn.Module):
    """A module of one function, with what it needs."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *given: Any) -> Any:
        return self.function(self, *given)


def term_of(function: Callable[..., Any], *given: Any, **parts: Any) -> Term:
    """The term of what a function of (module, inputs) returns."""
    built = build(lambda: Function(function, **parts))
    graph = export(built, Example(given, {}))
    return Reader(graph).term(graph.outputs[0])


ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "leaky_relu of a slope": lambda x: F.leaky_relu(x, 0.3),
    "elu": F.elu,
    "elu of a scale": lambda x: F.elu(x, alpha=0.4),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.5),
    "softplus": F.softplus,
    "softplus of a slope": lambda x: F.softplus(x, beta=2.0),
    "softplus of a threshold": lambda x: F.softplus(x, threshold=1.0),
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "hardtanh": F.hardtanh,
    "hardtanh of ends": lambda x: F.hardtanh(x, -0.5, 2.0),
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "exp": torch.exp,
    "sine": torch.sin,
    "cosine": torch.cos,
    "absolute": torch.abs,
    "clamp": lambda x: x.clamp(-1.0, 0.5),
    "clamp above": lambda x: x.clamp(max=0.5),
    "clamp below": lambda x: x.clamp(min=-0.5),
    "clamp_min": lambda x: torch.clamp_min(x, 0.25),
    "threshold": lambda x: F.threshold(x, 0.5, -1.0),
    "square": torch.square,
    "power": lambda x: x**3,
    "root of a square": lambda x: torch.sqrt(x.pow(2) + 1.0),
    "reciprocal": lambda x: 1 / (x * x + 2.0),
    "one minus": lambda x: 1.0 - x,
    "minus, alpha": lambda x: torch.sub(x, 0.5, alpha=3),
    "from a number, alpha": lambda x: torch.rsub(x, 2.0, alpha=3),
    "plus itself, alpha": lambda x: torch.add(torch.tanh(x), x, alpha=2),
    "times itself": lambda x: x * x,
    "over itself": lambda x: torch.tanh(x) / (x.square() + 1),
    "gate": lambda x: x * torch.sigmoid(1.702 * x),
    "written gelu": lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))),
    "constant tensor": lambda x: x * torch.tensor(0.5) + torch.full((1,), 2.0),
    "in place": lambda x: (x + 0.0).mul_(2).add_(1).sub_(0.5).div_(4),
    "chain": lambda x: F.relu(-torch.tanh(x) * 2 - 1) ** 2,
}
REFUSED = {"selu", "celu", "softplus of a threshold", "softsign", "logsigmoid", "threshold"}
REFUSED |= {"clamp_min", "from a number, alpha"}
"""Of them: those that may be without a rule, but not with a wrong one."""


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_an_elementwise_chain_has_the_values_of_torch(name: str):
    """One expression in x that jax evaluates as torch does, or no rule where there is none."""
    function = ELEMENTWISE[name]
    of, expression = base(term_of(lambda self, x: function(x), POINTS))
    if name in REFUSED and not isinstance(of, Source):
        assert _unknown_inside(of)
        return
    assert isinstance(of, Source)
    with jax.enable_x64(True):
        found = np.asarray(expression(jax.numpy.asarray(POINTS.double().numpy())))
    np.testing.assert_allclose(found, function(POINTS.double()).numpy(), rtol=1e-6, atol=1e-7)


def _unknown_inside(term: Term) -> bool:
    return isinstance(term, Unknown) or any(_unknown_inside(part) for part in term.inside)


X = torch.randn(1, 3, WIDTH, generator=torch.Generator().manual_seed(0))


def linear(rows: int = 48, bias: bool = True) -> Any:
    return nn.Linear(WIDTH, rows, bias=bias)


def weight(*shape: int) -> Any:
    return nn.Parameter(torch.randn(*shape))


MATRICES: dict[str, tuple[Callable[..., Any], dict[str, Callable[[], Any]], str | None, int]] = {
    "linear": (lambda self, x: self.w(x), {"w": linear}, "w.bias", 0),
    "addmm": (
        lambda self, x: torch.addmm(self.b, x[0], self.w),
        {"w": lambda: weight(WIDTH, 48), "b": lambda: weight(48)},
        "b",
        1,
    ),
    "matmul": (lambda self, x: x @ self.w, {"w": lambda: weight(WIDTH, 48)}, None, 1),
    "transposed": (lambda self, x: x @ self.w.T, {"w": lambda: weight(48, WIDTH)}, None, 0),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_has_its_sizes_its_bias_and_the_axis_of_its_outputs(name: str):
    """Rows, columns and the axis along which outputs lie, in every way of multiplying."""
    function, makers, bias, axis = MATRICES[name]
    term = term_of(function, X, **{key: make() for key, make in makers.items()})
    assert isinstance(term, Matrix) and isinstance(term.of, (Source, Part))
    assert (term.rows, term.columns, term.axis, term.bias) == (48, WIDTH, axis, bias)


def test_a_square_matrix_is_told_from_its_transpose():
    """x W and x W^T of a square parameter lie along different axes."""
    axes = [
        term_of(lambda self, x, f=f: x @ f(self.w), X, w=weight(WIDTH, WIDTH)).axis  # pyright: ignore
        for f in (lambda w: w, lambda w: w.T)
    ]
    assert axes == [1, 0]


def test_norms_with_their_parameters():
    """LayerNorm is a norm, its gain and its shift; RMSNorm without an epsilon has float32's."""
    shift = term_of(lambda self, x: self.norm(x), X, norm=nn.LayerNorm(WIDTH, eps=1e-3))
    assert isinstance(shift, Shift) and isinstance(shift.of, Gain)
    norm = shift.of.of
    assert isinstance(norm, Norm) and (norm.kind, norm.epsilon, norm.length) == (
        "layer",
        1e-3,
        WIDTH,
    )
    plain = term_of(lambda self, x: F.rms_norm(x, (WIDTH,)), X)
    assert isinstance(plain, Norm) and plain.kind == "rms"
    assert plain.epsilon == torch.finfo(torch.float32).eps


def test_a_norm_in_half_precision_has_that_epsilon():
    """Without an epsilon it is that of the tensor's own precision."""
    plain = term_of(lambda self, x: F.rms_norm(x.double(), (WIDTH,)), X)
    assert isinstance(plain, Norm) and plain.epsilon == torch.finfo(torch.float64).eps


CUTS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda y: y[..., 16:32],
    "negative slice": lambda y: y[..., -32:-16],
    "chunk": lambda y: y.chunk(3, -1)[1],
    "split": lambda y: y.split(16, dim=-1)[1],
    "split of sizes": lambda y: torch.split(y, [16, 16, 16], dim=2)[1],
    "unbind": lambda y: y.view(1, 3, 3, 16).unbind(2)[1],
    "select": lambda y: y.view(1, 3, 3, 16)[:, :, 1],
    "narrow": lambda y: y.narrow(-1, 16, 16),
    "a list of them": lambda y: y.view(1, 3, 3, 16)[:, :, [-2]],
    "indices": lambda y: y[..., torch.arange(16, 32)],
}


@pytest.mark.parametrize("name", CUTS)
def test_a_run_of_features_is_the_same_part_however_it_is_cut(name: str):
    """The second third of a matrix's outputs, as a share of the axis."""
    term = term_of(lambda self, x: CUTS[name](self.w(x)), X, w=linear())
    assert isinstance(term, Part) and isinstance(term.of, Matrix)
    third = term.length // 3
    assert (term.start, term.stop) == (third, 2 * third)


NO_RULE: dict[str, Callable[..., Any]] = {
    "cumsum": lambda self, x: x.cumsum(-1),
    "flip": lambda self, x: x.flip(-1),
    "roll": lambda self, x: x.roll(1, -1),
    "sort": lambda self, x: x.sort(-1)[0],
    "slice with a step": lambda self, x: x[..., ::2],
    "scattered indices": lambda self, x: x[..., torch.tensor([3, 1])],
    "mean over tokens": lambda self, x: x.mean(1),
    "softmax over tokens": lambda self, x: x.softmax(1),
    "batch norm": lambda self, x: F.batch_norm(x[0], torch.zeros(WIDTH), torch.ones(WIDTH)),
    "two to the x": lambda self, x: 2.0**x,
    "functional dropout": lambda self, x: F.dropout(x, 0.1),
    "argmax": lambda self, x: x.argmax(-1),
}


@pytest.mark.parametrize("name", NO_RULE)
def test_an_operation_without_a_rule_is_unknown(name: str):
    """What no rule covers is no other term, dropout that is live among it."""
    assert isinstance(term_of(NO_RULE[name], X), Unknown)


def test_dropout_that_is_off_is_nothing():
    """In evaluation, and at rate 0, it is the term itself."""
    functions = [lambda self, x: F.dropout(x, 0.1, training=False), lambda self, x: self.drop(x)]
    functions.append(lambda self, x: F.dropout(x, 0.0))
    for function in functions:
        assert isinstance(term_of(function, X, drop=nn.Dropout(0.5)), Source)


def test_layouts_are_no_terms():
    """Reshapes and transposes there and back leave the input."""
    term = term_of(
        lambda self, x: x.view(1, 3, 4, -1).transpose(1, 2).contiguous().permute(0, 2, 1, 3), X
    )
    assert isinstance(term, Source)


def test_products_sums_and_embeddings():
    """Two matrices multiplied are a product; scores a contraction; words an embedding of them."""
    gate = term_of(lambda self, x: F.silu(self.w(x)) * self.g(x), X, w=linear(), g=linear())
    assert isinstance(gate, Times) and isinstance(gate.left, Pointwise)
    scores = term_of(lambda self, x: (x @ x.transpose(1, 2)).softmax(-1), X)
    assert isinstance(scores, Softmax) and isinstance(scores.of, Contract)
    words = torch.tensor([[1, 4, 1]])
    term = term_of(lambda self, w: self.e(w), words, e=nn.Embedding(9, WIDTH))
    assert isinstance(term, Embedding) and term.parameter == "e.weight"
    joined = term_of(lambda self, x: torch.cat([x, -x], dim=-2), X)
    assert isinstance(joined, Joined) and joined.axis == 1


def test_uses_count_operations_and_not_layouts():
    """A state that is read twice and reshaped once in between is used twice."""
    term = term_of(lambda self, x: self.w(x.view(3, -1)) + self.w(x.tanh().exp()), X, w=linear())
    matrix = term.left  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(matrix.of, Source) and matrix.of.uses == 2
