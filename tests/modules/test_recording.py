"""Laws that are recorded while initialisers run, against the moments of what they really draw.

Every case is drawn once with a fixed seed; mean and variance within 4.5 standard errors, taken
from the draws themselves: a correct law fails with probability 1e-5 a number, 1e-3 over all here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_modules import nn, torch

from sigprop.modules.building import build
from sigprop.modules.laws import Law

init = nn.init
ROWS, COLUMNS = 96, 64


class Holder(nn.Module):
    """One matrix, filled by a function of it."""

    def __init__(self, fill: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))
        with torch.no_grad():
            fill(self.weight)


def law_of(fill: Callable[[Any], Any], shape: tuple[int, ...] = (ROWS, COLUMNS)) -> Law:
    return build(lambda: Holder(fill, shape)).parameters["weight"].law


def drawn(fill: Callable[[Any], Any], shape: tuple[int, ...] = (ROWS, COLUMNS)) -> np.ndarray:
    torch.manual_seed(11)
    return Holder(fill, shape).weight.detach().double().numpy()


def assert_law(law: Law, values: np.ndarray) -> None:
    """Mean and variance within 4.5 standard errors of the draws, entries within the law's ends."""
    assert law.known, law
    values = values.ravel()
    count = math.sqrt(values.size)
    assert abs(values.mean() - law.mean) <= 4.5 * values.std() / count + 1e-7 * abs(law.mean)
    squares = (values - law.mean) ** 2
    assert abs(squares.mean() - law.variance) <= 4.5 * squares.std() / count + 1e-9
    slack = 1e-6 * max(abs(values).max(), 1e-3)
    assert law.low - slack <= values.min() and values.max() <= law.high + slack


def by_hand(w: Any) -> None:
    w.copy_(torch.randn(ROWS, COLUMNS) * 0.02 + 0.01)


def in_steps(w: Any) -> None:
    w.normal_().mul_(0.3).div_(2).add_(1.0).sub_(0.5).neg_()


def through_data(w: Any) -> None:
    w.data = torch.randn_like(w) / 8


def rescaled(w: Any) -> None:
    init.xavier_uniform_(w)
    w *= 1 / math.sqrt(6)


def shifted_with_alpha(w: Any) -> None:
    w.normal_(std=0.1).add_(1.0, alpha=0.5).sub_(2.0, alpha=0.125)


KNOWN: dict[str, Callable[[Any], Any]] = {
    "normal_": lambda w: init.normal_(w, 0.1, 0.3),
    "uniform_": lambda w: init.uniform_(w, -0.2, 0.5),
    "constant_": lambda w: init.constant_(w, 0.7),
    "ones_": init.ones_,
    "zeros_": init.zeros_,
    "trunc_normal_": lambda w: init.trunc_normal_(w, 0.1, 0.5, -0.6, 0.4),
    "trunc_normal_ wide": lambda w: init.trunc_normal_(w, std=0.02),
    "xavier_uniform_": lambda w: init.xavier_uniform_(w, gain=1.3),
    "xavier_normal_": init.xavier_normal_,
    "kaiming_uniform_": lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)),
    "kaiming_normal_": lambda w: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "orthogonal_": lambda w: init.orthogonal_(w, gain=1.5),
    "Tensor.normal_": lambda w: w.normal_(std=0.4),
    "Tensor.uniform_": lambda w: w.uniform_(-0.3, 0.3),
    "Tensor.fill_": lambda w: w.fill_(0.25),
    "data.normal_": lambda w: w.data.normal_(0.0, 0.05),
    "copy of randn * s + b": by_hand,
    "copy of torch.normal": lambda w: w.copy_(torch.normal(0.1, 0.2, (ROWS, COLUMNS))),
    "copy of rand": lambda w: w.copy_(2 * torch.rand(ROWS, COLUMNS) - 1),
    "steps in place": in_steps,
    "alpha": shifted_with_alpha,
    "data replaced": through_data,
    "rescaled": rescaled,
    "all of it assigned": lambda w: w.__setitem__(slice(None), torch.randn(ROWS, COLUMNS) * 3),
    "a view of all": lambda w: w.view(-1).normal_(std=0.6),
    "transposed": lambda w: init.uniform_(w.t(), -0.1, 0.3),
    "filled twice": lambda w: (w.uniform_(-9, 9), w.normal_(std=0.5)),
    "erfinv": lambda w: w.uniform_(-0.9, 0.9).erfinv_().mul_(0.5),
    "double": lambda w: w.copy_(torch.randn(ROWS, COLUMNS, dtype=torch.float64) * 0.1),
    "randn out": lambda w: torch.randn(ROWS, COLUMNS, out=w.data),
    "clamped where nothing lies": lambda w: w.uniform_(-0.5, 0.5).clamp_(-0.7, 0.7),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_recorded_law_is_that_of_the_draws(name: str):
    """Moments and ends of each initialiser's own draws."""
    assert_law(law_of(KNOWN[name]), drawn(KNOWN[name]))


@pytest.mark.parametrize("name", ["normal_", "kaiming_uniform_", "orthogonal_", "erfinv"])
def test_a_law_that_is_ten_percent_off_is_told_apart(name: str):
    """The companion: the check above fails for a variance that is 10 % too large."""
    law = law_of(KNOWN[name])
    with pytest.raises(AssertionError):
        assert_law(law.affine(math.sqrt(1.1)), drawn(KNOWN[name]) + law.mean * (1.1**0.5 - 1))


def test_initialisers_of_convolutions():
    """Fan-in and fan-out of a kernel count its window."""
    shape = (48, 12, 4, 4)
    for fill in (init.kaiming_normal_, init.xavier_uniform_, init.orthogonal_):
        assert_law(law_of(fill, shape), drawn(fill, shape))


def eye_after_a_draw(w: Any) -> None:
    w.normal_()
    init.eye_(w)


def tiled(w: Any) -> None:
    w.copy_(torch.randn(1, COLUMNS))


def half_zeroed(w: Any) -> None:
    w.normal_()
    w[:, : COLUMNS // 2] = 0


UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "bernoulli_": lambda w: w.bernoulli_(0.5),
    "exponential_": lambda w: w.exponential_(),
    "sparse_": lambda w: init.sparse_(w, 0.3),
    "eye_": eye_after_a_draw,
    "copy of eye": lambda w: w.copy_(torch.eye(ROWS, COLUMNS)),
    "clamped": lambda w: w.normal_().clamp_(-0.5, 0.5),
    "clamped from below": lambda w: w.normal_().clamp_(min=0.0),
    "triangle": lambda w: w.normal_().tril_(),
    "square": lambda w: w.normal_().pow_(2),
    "absolute": lambda w: w.copy_(torch.randn(ROWS, COLUMNS).abs()),
    "sum of two draws": lambda w: w.copy_(torch.randn(ROWS, COLUMNS) + torch.rand(ROWS, COLUMNS)),
    "a row for all": tiled,
    "numpy": lambda w: w.copy_(torch.from_numpy(np.ones((ROWS, COLUMNS)))),
    "cosine out": lambda w: torch.cos(w.normal_(), out=w.data),
    "nothing": lambda w: w,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_no_rule_covers_is_unknown(name: str):
    """Fills without a law of independent entries leave none behind, not the one before them."""
    parameter = build(lambda: Holder(UNKNOWN[name], (ROWS, COLUMNS))).parameters["weight"]
    assert not parameter.law_of(0, ROWS, 0).known and not parameter.law_of(0, COLUMNS, 1).known


THIRD = ROWS // 3
PACKED: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "normal_ of rows": (0, lambda w: [init.normal_(p, std=s) for p, s in parts(w, 0)]),
    "assigned rows": (0, lambda w: [p.copy_(torch.randn_like(p) * s) for p, s in parts(w, 0)]),
    "columns": (1, lambda w: [p.normal_(std=s) for p, s in parts(w, 1)]),
    "xavier of rows": (0, lambda w: [init.xavier_normal_(p, gain=s) for p, s in parts(w, 0)]),
    "one after all": (0, lambda w: (w.normal_(), parts(w, 0)[1][0].uniform_(-0.1, 0.1))),
}


def parts(w: Any, axis: int) -> list[tuple[Any, float]]:
    size = w.shape[axis] // 3
    return [(w.narrow(axis, k * size, size), 0.1 * (k + 1)) for k in range(3)]


@pytest.mark.parametrize("name", PACKED)
def test_every_third_of_a_packed_matrix_has_its_own_law(name: str):
    """Views that are filled on their own: each law is that of its draws; of all three together
    there is none."""
    axis, fill = PACKED[name]
    shape = (ROWS, 3 * COLUMNS)
    parameter = build(lambda: Holder(fill, shape)).parameters["weight"]
    values, size = drawn(fill, shape), shape[axis] // 3
    for k in range(3):
        law = parameter.law_of(k * size, (k + 1) * size, axis)
        assert_law(law, values.take(range(k * size, (k + 1) * size), axis))
    assert not parameter.law_of(size // 2, 2 * size, axis).known
    assert not parameter.law_of(0, shape[1 - axis], 1 - axis).known


def test_single_rows_that_are_filled_in_turn_leave_no_law():
    """Only one row is passed over: a matrix that is filled row by row is refused."""

    def fill(w: Any) -> None:
        w.zero_()
        for row in w:
            row.normal_()

    parameter = build(lambda: Holder(fill, (ROWS, COLUMNS))).parameters["weight"]
    assert not parameter.law_of(0, ROWS, 0).known and not parameter.law_of(0, COLUMNS, 1).known


def test_a_view_that_runs_axes_together_is_the_rows_it_covers():
    """Rows filled through a flat view, or one of heads, are a piece like any other."""

    def fill(w: Any) -> None:
        w[:THIRD].view(-1).normal_(std=0.2)
        w[THIRD:].view(4, -1, COLUMNS).normal_(std=0.3)

    parameter = build(lambda: Holder(fill, (ROWS, COLUMNS))).parameters["weight"]
    laws = [parameter.law_of(*ends, 0).variance for ends in ((0, THIRD), (THIRD, ROWS))]
    assert laws == pytest.approx([0.04, 0.09])


def test_every_other_row_is_no_piece_of_neighbours():
    """A fill with a stride leaves no law for any run of rows."""
    fill = lambda w: (w.normal_(), w[::2].mul_(0), w)  # noqa: E731
    parameter = build(lambda: Holder(fill, (ROWS, COLUMNS))).parameters["weight"]
    assert not parameter.law_of(0, ROWS, 0).known


def test_a_padding_row_is_passed_over():
    """One row of zeros among many (an embedding's padding) leaves the law of the others."""
    embedding = lambda: nn.Embedding(ROWS, COLUMNS, padding_idx=2)  # noqa: E731
    law = build(embedding).parameters["weight"].law_of(0, ROWS, 0)
    assert (law.kind, law.mean, law.variance) == ("normal", 0.0, 1.0)


class Pair(nn.Module):
    """Two layers, made by a function."""

    def __init__(self, make: Callable[[], tuple[Any, Any]]) -> None:
        super().__init__()
        self.a, self.b = make()


def layer() -> Any:
    return nn.Linear(COLUMNS, ROWS)


def deep_copies() -> tuple[Any, Any]:
    one = layer()
    return one, copy.deepcopy(one)


def loaded() -> tuple[Any, Any]:
    one, other = layer(), layer()
    other.load_state_dict(one.state_dict())
    return one, other


def cloned() -> tuple[Any, Any]:
    one, other = layer(), layer()
    other.weight = nn.Parameter(one.weight.detach().clone())
    return one, other


def shared() -> tuple[Any, Any]:
    one = layer()
    return one, one


def both_scaled() -> tuple[Any, Any]:
    one, other = deep_copies()
    for each in (one, other):
        each.weight.data.mul_(0.5)
    return one, other


def redrawn() -> tuple[Any, Any]:
    one, other = deep_copies()
    init.normal_(other.weight)
    return one, other


@pytest.mark.parametrize("make", [deep_copies, loaded, cloned, shared, both_scaled])
def test_copies_have_one_origin(make: Callable[[], tuple[Any, Any]]):
    """Weights that start equal go by one name, in the graph of laws and in the draws."""
    built = build(lambda: Pair(make))
    assert built.copies["b.weight"] == "a.weight"
    one, other = make()
    assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("make", [redrawn, lambda: (layer(), layer())])
def test_what_is_drawn_anew_has_an_origin_of_its_own(make: Callable[[], tuple[Any, Any]]):
    """Copies that are filled again, and layers of their own, are not tied."""
    assert build(lambda: Pair(make)).copies["b.weight"] == "b.weight"


def test_a_factor_of_its_own_keeps_a_copy_tied():
    """c W and W are the same draw: one origin, laws c^2 apart."""

    def make() -> tuple[Any, Any]:
        one, other = deep_copies()
        other.weight.data.mul_(0.5)
        return one, other

    built = build(lambda: Pair(make))
    assert built.copies["b.weight"] == "a.weight"
    laws = [built.parameters[f"{name}.weight"].law.variance for name in "ab"]
    assert laws[1] == pytest.approx(laws[0] / 4, rel=1e-12)


def test_module_apply_counts_last():
    """What ``apply`` does after the constructors is what parameters start from."""

    def fill(part: Any) -> None:
        if isinstance(part, nn.Linear):
            init.normal_(part.weight, std=0.02)
            init.zeros_(part.bias)

    built = build(lambda: nn.Sequential(layer(), nn.LayerNorm(ROWS)).apply(fill))
    laws = {name: parameter.law for name, parameter in built.parameters.items()}
    assert (laws["0.weight"].kind, laws["0.weight"].variance) == ("normal", 0.02**2)
    assert (laws["0.bias"].second, laws["1.weight"].mean, laws["1.bias"].mean) == (0.0, 1.0, 0.0)


def test_building_takes_no_memory_for_parameters_and_keeps_buffers():
    """Parameters are on the meta device, buffers hold their values."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Linear(COLUMNS, ROWS)
            self.register_buffer("mask", torch.arange(4))

    module = build(Masked).module
    assert all(p.is_meta for p in module.parameters()) and module.mask.tolist() == [0, 1, 2, 3]
    assert not module.training


def test_what_cannot_run_without_memory_runs_with_it():
    """An initialiser that looks at values is recorded all the same."""

    def fill(w: Any) -> None:
        w.normal_(std=0.3)
        assert float(w[0, 0]) != 0.0

    law = law_of(fill)
    assert (law.kind, law.variance) == ("normal", pytest.approx(0.09, rel=1e-12))


def test_nothing_is_left_behind():
    """torch's own functions are theirs again after a build, and after one that fails."""

    def state() -> tuple[Any, ...]:
        patched = (init.orthogonal_.__code__, init._no_grad_trunc_normal_, set(vars(init)))
        return nn.Module.register_parameter, *patched

    before = state()
    law_of(init.orthogonal_)
    with pytest.raises(ValueError, match="build: ZeroDivisionError"):
        build(lambda: 1 / 0)
    assert state() == before
