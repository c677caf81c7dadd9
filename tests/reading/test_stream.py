"""The stream of a module: which sums are applications, what their states and writes are, which norm
belongs to what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch_modules import TOKENS, WIDTH, inputs, nn, torch

import sigprop as sp
from sigprop.modules.building import build
from sigprop.modules.exporting import Example, export
from sigprop.modules.reader import Reader
from sigprop.modules.terms import Gain, Matrix, Norm, Part, Pointwise, Shift, Source
from sigprop.reading.stream import Stream, stream


class Net(nn.Module):
    """A forward of two branches, a norm and a head."""

    def __init__(self, forward: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.a, self.b = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.norm, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 7)
        self.run = forward

    def forward(self, x: Any) -> Any:
        return self.run(self, x)


def stream_of(
    forward: Callable[[Any, Any], Any], shape: tuple[int, ...] = (1, TOKENS, WIDTH)
) -> Stream:
    example = Example((inputs().reshape(shape),), {})
    graph = export(build(lambda: Net(forward)), example)
    return stream(Reader(graph).term(graph.outputs[0]))


def two(self: Any, x: Any) -> Any:
    x = x + self.a(self.norm(x))
    return x + self.b(self.norm(x))


def test_every_sum_is_an_application():
    """The first state is the input, each next one the sum before it."""
    found = stream_of(two)
    first, second = found.steps
    assert isinstance(found.stem, Source) and first.state is found.stem
    assert second.state is first.total is first.after
    assert [len(step.writes) for step in found.steps] == [1, 1]
    assert found.readout == () and not first.norms and not second.norms


def test_a_last_norm_and_a_head_are_the_readouts():
    """A norm above branches that read norms is no part of the last application."""
    found = stream_of(lambda self, x: self.head(self.last(two(self, x)))[:, -1])
    assert [type(term) for term in found.head] == [Part, Matrix]
    assert [type(term) for term in found.readout] == [Shift, Gain, Norm]
    assert found.steps[-1].norms == ()


def post(self: Any, x: Any) -> Any:
    x = self.norm(x + self.a(x))
    return self.last(x + self.b(x))


def test_norms_after_every_sum_are_the_applications():
    """Post-norm: each belongs to the sum below it, the last one too."""
    found = stream_of(post)
    assert [[type(term) for term in step.norms] for step in found.steps] == [
        [Shift, Gain, Norm]
    ] * 2
    assert found.readout == () and found.steps[0].after is found.steps[1].state


def test_a_norm_on_the_stem_is_the_stems():
    """What stands below the first application is none of it."""
    found = stream_of(lambda self, x: two(self, self.last(x)))
    assert isinstance(found.stem, Shift) and len(found.steps) == 2


@pytest.mark.parametrize(
    ("forward", "factor"),
    [
        (lambda self, x: 0.8 * x + self.a(x), 0.8),
        (lambda self, x: self.a(x) - x, -1.0),
        (lambda self, x: (x + self.a(x)) * 0.5, 0.5),
        (lambda self, x: x / 2 + self.a(x) / 3, 0.5),
    ],
)
def test_the_states_factor(forward: Callable[[Any, Any], Any], factor: float):
    """lambda of lambda h + f(h), a factor of the whole sum included."""

    def again(self: Any, x: Any) -> Any:
        x = forward(self, x)
        return x + self.b(x)

    found = stream_of(again)
    assert found.steps[0].factor == pytest.approx(factor, rel=1e-12)


def test_a_multiple_of_a_sum_multiplies_the_write_as_well():
    """(h + f(h)) / 2: the write is half of f, whatever is read above it."""
    halved = stream_of(lambda self, x: two(self, (x + self.b(x)) / 2))
    assert len(halved.steps) == 3 and isinstance(halved.steps[0].writes[0], Pointwise)
    assert halved.steps[0].writes[0].function.factor == 0.5


def test_branches_side_by_side_are_writes_of_one_application():
    """x + a(x) + b(x), in either nesting."""
    for forward in (
        lambda self, x: x + self.a(x) + self.b(x),
        lambda self, x: x + (self.a(x) + self.b(x)),
        lambda self, x: self.a(x) + (x + self.b(x)),
    ):
        (step,) = stream_of(forward).steps
        assert len(step.writes) == 2 and isinstance(step.state, Source)


def test_a_residual_inside_a_branch_is_no_application():
    """x + g(x) with g(x) = f(x) + tanh(f(x)): one application."""

    def inner(self: Any, x: Any) -> Any:
        y = self.a(x)
        return x + self.head(y + self.b(torch.tanh(y)))[..., :1] * torch.ones(WIDTH)

    assert len(stream_of(inner).steps) == 1


def test_a_head_may_hold_norms_and_sums_of_its_own():
    """The stream is what everything goes by; the head of a masked language model normalises."""
    for head in (
        lambda self, h: self.head(self.norm(torch.tanh(self.b(h)))),
        lambda self, h: self.head(h) + self.head(torch.tanh(h)),
    ):
        found = stream_of(lambda self, x, head=head: head(self, self.last(two(self, x))))
        assert len(found.steps) == 2 and found.steps[-1].norms == ()
        assert [type(term) for term in found.readout] == [Shift, Gain, Norm]
        assert len(found.head) >= 1


def test_layers_in_a_row_are_applications_without_a_skip():
    """a phi(b x): b's outputs are the stem, a's the state after it, and no sum holds them."""
    found = stream_of(lambda self, x: self.a(torch.tanh(self.b(x))))
    (step,) = found.steps
    assert isinstance(step.state, Matrix) and step.state is found.stem and step.factor == 0
    assert step.writes == (step.after,) and isinstance(step.after, Matrix)


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: torch.tanh(self.b(x)),
        lambda self, x: self.last(x),
        lambda self, x: self.a(x) + self.b(x),
    ],
)
def test_no_stream_is_refused(forward: Callable[[Any, Any], Any]):
    """One layer, a norm alone, and sums none of whose sides is the state."""
    with pytest.raises(sp.InputError, match="no residual stream"):
        stream_of(forward)
