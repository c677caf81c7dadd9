"""What cannot be read is refused in one line that names the module's path or the parameter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from refusals import refused
from torch_modules import HEADS, TOKENS, WIDTH, F, ids, inputs, nn, torch

import sigprop as sp


class Branch(nn.Module):
    """A branch with an operation of its own, at a path of its own."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        return self.w(self.function(x))


class Stack(nn.Module):
    """x + branch(x), the second one as given."""

    def __init__(self, branch: Any, depth: int = 2) -> None:
        super().__init__()
        first = [modules.initialised(modules.Mlp()) for _ in range(depth - 1)]
        self.blocks = nn.ModuleList([*first, branch])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + block(x)
        return x


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "cumsum": lambda x: x.cumsum(-1),
    "roll": lambda x: x.roll(1, -1),
    "sort": lambda x: x.sort(-1)[0],
    "conv1d": lambda x: F.conv1d(x.T[None], torch.ones(WIDTH, 1, 3), padding=1, groups=WIDTH)[0].T,
    "topk": lambda x: x * (x >= x.topk(3, -1)[0][..., -1:]),
    "dropout": lambda x: F.dropout(x, 0.1),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_without_a_rule(name: str):
    """It is named, with the module that it stands in."""
    refused(lambda: Stack(Branch(OPERATIONS[name])), inputs(), "blocks.1")


class Multiple(nn.Module):
    """A branch whose matrix and bias are added by an operation with factors, or is batched."""

    def __init__(self, function: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.function = function
        self.w = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        return self.function(x, self.w.weight.T, self.w.bias)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b: torch.addmm(b, x[0], w, alpha=0.5)[None],
        lambda x, w, b: torch.addmm(b, x[0], w, beta=2)[None],
        lambda x, w, b: torch.bmm(x, w[None]),
    ],
    ids=["alpha", "beta", "batch"],
)
def test_a_product_with_factors_or_batches(function: Callable[[Any, Any, Any], Any]):
    """alpha and beta were passed over (a factor of 4 in what is written); a batch of one matrix
    was a traceback."""
    refused(lambda: Stack(Multiple(function)), inputs()[None], "blocks.1")


def test_an_operation_without_a_rule_says_its_name():
    """The message names cumsum itself."""
    refused(lambda: Stack(Branch(OPERATIONS["cumsum"])), inputs(), "blocks.1: operation cumsum")


@pytest.mark.parametrize("pool", ["mean", "sum", "softmax"])
def test_a_head_is_passed_over(pool: str):
    """Pooled tokens, probabilities: what stands above the last state is no part of the stream."""
    function = {
        "mean": lambda x: x.mean(1),
        "sum": lambda x: x.sum(1),
        "softmax": lambda x: x[:, -1].softmax(-1),
    }[pool]

    def model() -> Any:
        return nn.Sequential(modules.initialised(modules.Residual(2)), Applied(function))

    assert len(sp.read(model, inputs()[None]).paths) == 2


def test_an_operation_above_no_stream_is_named():
    """Where nothing is added to a state, the operation is what the message is about."""
    model = lambda: nn.Sequential(nn.Linear(WIDTH, WIDTH), Applied(lambda x: x.cumsum(1)))  # noqa: E731
    refused(model, inputs()[None], "operation cumsum")


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(WIDTH, WIDTH), lambda: nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU())]
)
def test_no_residual_stream(make: Callable[[], Any]):
    """A chain of layers has none."""
    refused(make, inputs(), "no residual stream")


class Choosing(modules.Residual):
    def forward(self, x: Any) -> Any:
        return super().forward(x) if x.sum() > 0 else x


def test_a_branch_that_depends_on_values():
    """torch's own first line, and what is accepted."""
    refused(lambda: Choosing(1), inputs(), "torch.export", "no branch that depends on values")


class Mixer(nn.Module):
    """A matrix over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(TOKENS, TOKENS)

    def forward(self, x: Any) -> Any:
        return self.mix(x.T).T


def test_a_matrix_over_tokens():
    """It is named by its path."""
    refused(lambda: Stack(Mixer()), inputs(), "blocks.1.mix", "a matrix over tokens")


def test_a_batch_of_two():
    """A Gram of one input is what a description has."""
    message = refused(modules.gpt, ids().expand(2, -1), "2 inputs in one batch")
    assert message.startswith("example: ")


def filled(fill: Callable[[Any], Any], part: str = "x.weight") -> Callable[[], Any]:
    def make() -> Any:
        module = modules.initialised(modules.Residual(2))
        with torch.no_grad():
            fill(module.get_parameter(f"blocks.1.{part}"))
        return module

    return make


FILLS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "bernoulli_": (lambda w: w.bernoulli_(0.5), "bernoulli_"),
    "eye": (lambda w: nn.init.eye_(w), "eye"),
    "exponential": (lambda w: w.exponential_(), "exponential_"),
    "a mean": (lambda w: w.normal_(0.1, 0.2), "mean 0.1"),
    "half of it zero": (lambda w: w[:, :WIDTH].zero_(), "filled in pieces"),
    "ones": (lambda w: w.fill_(1.0), "1"),
}


@pytest.mark.parametrize("name", FILLS)
def test_a_matrix_without_a_law_of_independent_entries_around_zero(name: str):
    """The parameter is named, with what filled it."""
    fill, word = FILLS[name]
    refused(filled(fill), inputs(), "blocks.1.x.weight: ", word)


def test_a_bias_around_another_number_than_zero():
    """Its mean is said."""
    refused(filled(lambda b: b.fill_(0.5), "x.bias"), inputs(), "blocks.1.x.bias", "mean 0.5")


def test_a_bias_of_no_law():
    """The parameter is named."""
    refused(filled(lambda b: b.bernoulli_(), "w.bias"), inputs(), "blocks.1.w.bias: its law")


class Gained(nn.Module):
    """A branch that reads a norm whose gain goes through a function."""

    def __init__(self, function: Callable[[Any], Any], sd: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(WIDTH) * sd)
        self.w, self.function = nn.Linear(WIDTH, WIDTH), function

    def forward(self, x: Any) -> Any:
        return self.w(F.rms_norm(x, (WIDTH,), eps=1e-5) * self.function(self.gain))


def test_random_gains_through_a_curve():
    """E exp(g)^2 is no function of mean and variance alone: refused by name."""
    refused(
        lambda: Stack(Gained(torch.exp, 0.3)),
        inputs(),
        "blocks.1.gain",
        "a curve of a gain that is drawn",
    )


def test_random_gains_themselves_count_by_their_second_moment():
    """W (g * r): E g^2 times the variance, which the description's number is the root of."""
    found = sp.read(lambda: Stack(Gained(lambda g: 1 + g, 0.3)), inputs()).architecture
    assert any(
        value == pytest.approx(math.sqrt(1 + 0.09)) for value in map(_last, found.numbers.values())
    )


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])


def test_training_mode_with_dropout():
    """A given module that would drop units is refused, without dropout or in evaluation read."""
    block = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, dropout=0.1, batch_first=True)
    refused(block, inputs()[None], "training mode", "module.eval()")
    assert sp.read(block.eval(), inputs()[None]).width == WIDTH


def given(change: Callable[[Any], Any]) -> Any:
    module = modules.initialised(modules.Residual(1)).eval()
    with torch.no_grad():
        change(module.blocks[0])
    return module


def poisoned(block: Any) -> None:
    block.w.weight[3, 1] = float("nan")


def infinite(block: Any) -> None:
    block.x.bias[0] = float("inf")


@pytest.mark.parametrize(("change", "name"), [(poisoned, "w.weight"), (infinite, "x.bias")])
def test_entries_that_are_not_finite(change: Callable[[Any], Any], name: str):
    """The parameter is named."""
    refused(given(change), inputs(), f"blocks.0.{name}", "finite entries")


def test_integer_weights():
    """Quantised parameters are refused with their type."""

    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            entries = torch.ones(WIDTH, WIDTH, dtype=torch.int8)
            self.w = nn.Parameter(entries, requires_grad=False)

        def forward(self, x: Any) -> Any:
            return x + x @ (self.w.float() * 0.01)

    refused(Quantised().eval(), inputs(), "w: torch.int8", "floating-point")


def test_a_module_without_memory_or_initialisers():
    """A given module on the meta device has no law: the first parameter is named."""
    refused(modules.Residual(1).to("meta"), inputs(), "blocks.0", "no memory")


@pytest.mark.parametrize(
    "example", [3, "words", None, np.zeros((4, WIDTH)), {1, 2}], ids=lambda e: type(e).__name__
)
def test_examples_of_a_wrong_kind(example: Any):
    """A tensor, a tuple or a dict: anything else is shown."""
    refused(modules.gpt, example, "example=", "a tensor, a tuple of arguments, or a dict")


WRONG_CALLS: dict[str, Any] = {
    "float words": inputs()[None],
    "no arguments": (),
    "an unknown argument": {"sentences": ids()},
    "too many": (ids(), ids()),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_examples_that_the_module_cannot_be_called_with(name: str):
    """torch's own first line in ours."""
    refused(modules.gpt, WRONG_CALLS[name], "model: torch.export")


@pytest.mark.parametrize("model", [3, None, "gpt2", [], object()], ids=lambda m: type(m).__name__)
def test_models_of_a_wrong_kind(model: Any):
    """A module, or a function of one."""
    refused(model, inputs(), "a torch.nn.Module, or a function of one")


BUILDERS: dict[str, tuple[Callable[..., Any], str]] = {
    "no module": (lambda: 5, "model=5"),
    "an error": (lambda: 1 / 0, "build: ZeroDivisionError"),
    "arguments": (lambda width: nn.Linear(width, width), "build: TypeError"),
    "a lazy layer": (lambda: nn.LazyLinear(WIDTH), "a lazy parameter"),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_that_build_no_module(name: str):
    """What they did is said."""
    build, word = BUILDERS[name]
    refused(build, inputs(), word)


class Nothing(nn.Module):
    def forward(self, x: Any) -> Any:
        return None


def test_a_module_that_returns_nothing():
    """There is no output to read."""
    refused(Nothing, inputs(), "model: ")


class Unturned(modules.Attention):
    """Queries turned, keys not."""

    def forward(self, x: Any) -> Any:
        shape = (*x.shape[:2], HEADS, -1)
        q, k, v = (leg.view(shape).transpose(1, 2) for leg in self.legs(x))
        mixed = F.scaled_dot_product_attention(modules.rotated(q, 100.0), k, v)
        return self.u(mixed.transpose(1, 2).reshape(x.shape))


def attention(**kind: Any) -> Callable[[], Any]:
    return lambda: modules.gpt(1, **kind)


def partly_normed() -> Any:
    module = modules.gpt(1, norm=modules.WrittenRms)
    module.blocks[0].attention.norms[1] = nn.Identity()
    return module


def gained() -> Any:
    module = modules.gpt(1, norm=modules.WrittenRms)
    nn.init.constant_(module.blocks[0].attention.norms[0].weight, 1.3)
    return module


def with_attention(kind: Any) -> Callable[[], Any]:
    def make() -> Any:
        block = modules.Block(kind(), modules.Mlp(), modules.layer_norm)
        return modules.initialised(modules.Network(modules.Words(), [block]))

    return make


HEADS_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "queries turned alone": (with_attention(Unturned), "treated differently"),
    "queries normed alone": (partly_normed, "treated differently"),
    "gains of QK-norm": (gained, "normalised queries and keys at a scale"),
}


@pytest.mark.parametrize("name", HEADS_REFUSED)
def test_attention_that_the_description_has_no_word_for(name: str):
    """The path of the block's attention, and what is accepted."""
    make, word = HEADS_REFUSED[name]
    refused(make, ids(), "blocks.0.attention", word)


class Twice(nn.Module):
    """One matrix used twice in one branch."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.w, self.turned = nn.Linear(WIDTH, WIDTH, bias=False), turned

    def forward(self, x: Any) -> Any:
        units = torch.tanh(self.w(x))
        return units @ self.w.weight if self.turned else self.w(units)


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_used_twice_in_one_branch(turned: bool):
    """W phi(W x) and W^T phi(W x) are no two matrices: refused by name."""
    refused(lambda: Stack(Twice(turned)), inputs(), "blocks.1.w.weight", "twice")


class Positions(nn.Module):
    """Words and positions out of one table."""

    def __init__(self) -> None:
        super().__init__()
        self.wte = nn.Embedding(50, WIDTH)

    def forward(self, words: Any) -> Any:
        return self.wte(words) + self.wte(torch.arange(words.shape[1]))


def test_a_stem_that_adds_one_table_twice():
    """A sum of what is not independent: refused by name."""
    network = lambda: modules.Network(Positions(), [modules.initialised(modules.Mlp())])  # noqa: E731

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, words: Any) -> Any:
            x = self.network.stem(words)
            return x + self.network.blocks[0](x)

    refused(Added, ids(), "wte.weight: on both sides of a sum")


def test_words_that_are_padding():
    """The row of zeros of an embedding is no draw of its law."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = nn.Embedding(50, WIDTH, padding_idx=3)
            self.block = modules.initialised(modules.Mlp())

        def forward(self, words: Any) -> Any:
            x = self.wte(words)
            return x + self.block(x)

    refused(Padded, ids(), "wte.weight: row 3")
    assert sp.read(Padded, ids() + 5).width == WIDTH


def test_a_multiple_of_a_copy():
    """W and c W in one slot have two variances: refused by name."""
    import copy

    def make() -> Any:
        module = modules.initialised(modules.Residual(1))
        module.blocks.append(copy.deepcopy(module.blocks[0]))
        with torch.no_grad():
            module.blocks[1].x.weight.mul_(0.5)
        return module

    refused(make, inputs(), "blocks.1.x.weight: starts as a multiple of blocks.0.x.weight")


class Several(nn.Module):
    """A residual stream and something else: two streams, or what is on the way."""

    def __init__(self, second: str) -> None:
        super().__init__()
        self.one, self.two = (modules.initialised(modules.Residual(1)) for _ in range(2))
        self.second = second

    def forward(self, x: Any) -> Any:
        h = self.one(x)
        return h, {"stream": self.two(x), "head": torch.tanh(h), "input": x}[self.second]


def test_two_streams_are_refused():
    """An output of its own; what is computed from the first, or is on the way to it, is passed
    over."""
    words = "0 (at one)", "1 (at two)", "output, one of 0, 1"
    refused(lambda: Several("stream"), inputs(), *words)
    for second in ("head", "input"):
        assert len(sp.read(lambda second=second: Several(second), inputs()).paths) == 1


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_is_read_as_float32_and_said(kind: str):
    """The same description as of float32, built and given; the remark is a finding."""

    def make() -> Any:
        return modules.initialised(modules.Residual(1)).to(getattr(torch, kind))

    found = sp.read(make, inputs().to(getattr(torch, kind)))
    assert found.findings[0] == f"{kind} parameters: read, and run, as float32"
    plain = sp.read(lambda: modules.initialised(modules.Residual(1)), inputs())
    assert found.architecture.numbers == plain.architecture.numbers
    assert not plain.findings or "float32" not in plain.findings[0]
    module = make().eval()
    assert sp.read(module, inputs()).findings[0].startswith(kind)
    assert next(module.parameters()).dtype == getattr(torch, kind)


def test_quantised_parameters_are_refused():
    """Integers are no draws."""
    module = modules.initialised(modules.Residual(1))
    module.extra = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    refused(module, inputs(), "extra: torch.int8")


@pytest.mark.parametrize("name", ["predict", "exponents", "critical", "measure", "costs"])
def test_a_reading_is_no_architecture(name: str):
    """One line that says what it holds; what it has not is an attribute error as ever."""
    reading = sp.read(lambda: Stack(modules.initialised(modules.Mlp())), inputs())
    with pytest.raises(sp.InputError, match="accepted: reading.architecture"):
        getattr(sp, name)(reading)
    assert not hasattr(reading, "no_such_thing")
