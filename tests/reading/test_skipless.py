"""Networks without skip connections: stacks of layers are read as sigprop's own mlp, and what has
no layers of one width is refused by its widths."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from descriptions import assert_alike
from refusals import refused
from torch_modules import WIDTH, F, nn, torch

import sigprop as sp

ROWS, FEATURES = 3, 20
STD, BIAS = 0.23, 0.35


def rows(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def drawn(*layers: Any) -> Any:
    """Layers in a row, every matrix and bias drawn with numbers that no library has."""
    module = nn.Sequential(*layers)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=STD)
            nn.init.normal_(part.bias, std=BIAS)
    return module


def stack(
    act: Callable[[], Any], hidden: int = 2, head: int = 7, ahead: tuple[Any, ...] = ()
) -> Any:
    inner = chain.from_iterable((act(), nn.Linear(WIDTH, WIDTH)) for _ in range(hidden))
    return drawn(*ahead, nn.Linear(FEATURES, WIDTH), *inner, act(), nn.Linear(WIDTH, head))


def hand(values: Any, activation: str, depth: int = 2) -> Any:
    """sigprop's mlp, begun with the first layer's outputs."""
    x = values.double().numpy().reshape(-1, FEATURES)
    gram = STD**2 * x @ x.T + BIAS**2
    return sp.architectures.mlp(
        depth=depth, activation=activation, c_w=STD**2 * WIDTH, c_b=BIAS**2, input_gram=gram
    )


@pytest.mark.parametrize(
    ("act", "name"), [(nn.ReLU, "relu"), (nn.Tanh, "tanh"), (lambda: nn.LeakyReLU(), "leaky-relu")]
)
def test_a_stack_of_layers_is_an_mlp(act: Callable[[], Any], name: str):
    """The first layer's outputs are the stem, the last layer is a head, all others applications."""
    found = sp.read(lambda: stack(act), rows(ROWS, FEATURES))
    assert found.paths == ("2", "4") and found.width == WIDTH
    assert_alike(found.architecture, hand(rows(ROWS, FEATURES), name))


def test_an_activation_that_differs_is_another_network():
    """The companion."""
    found = sp.read(lambda: stack(nn.ReLU), rows(ROWS, FEATURES)).architecture
    with pytest.raises(AssertionError):
        assert_alike(found, hand(rows(ROWS, FEATURES), "gelu"), ("residual_variance",))


@pytest.mark.parametrize("shape", [(ROWS, 1, 4, 5), (1, 1, 4, 5)])
def test_images_that_are_flattened_are_rows(shape: tuple[int, ...]):
    """An image is one input of all of its pixels."""
    image = rows(*shape)
    found = sp.read(lambda: stack(nn.ReLU, ahead=(nn.Flatten(),)), image)
    assert found.architecture.tokens == shape[0]
    assert_alike(
        found.architecture, hand(image, "relu"), ("residual_variance", "gradient_variance")
    )


def test_inputs_that_are_turned_around_are_what_the_layer_sees():
    """[features, rows] that the module transposes, where both have one size."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = stack(nn.ReLU)

        def forward(self, x: Any) -> Any:
            return self.layers(x.T)

    square = rows(FEATURES, FEATURES)
    found = sp.read(Turned, square).architecture
    assert_alike(found, hand(square.T, "relu"), ("residual_variance",))


def test_the_output_of_the_states_width_is_a_state():
    """A last layer as wide as the others is no head."""
    found = sp.read(lambda: stack(nn.ReLU, head=WIDTH), rows(ROWS, FEATURES))
    assert_alike(found.architecture, hand(rows(ROWS, FEATURES), "relu", 3))


def test_layers_that_are_shared_are_tied():
    """One layer that is applied twice is one slot."""

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            h = self.first(x)
            for _ in range(3):
                h = self.again(torch.tanh(h))
            return h

    found = sp.read(Loop, rows(ROWS, FEATURES)).architecture
    assert set(map(tuple, found.slots.values())) == {(0, 0, 0)}


class Attending(nn.Module):
    """Attention and a gated MLP, neither added to what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(FEATURES, WIDTH)
        self.q, self.k, self.v, self.u, self.g, self.w, self.x = (
            nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(7)
        )
        for layer in (self.q, self.k, self.v, self.u, self.g, self.w, self.x):
            nn.init.normal_(layer.weight, std=STD)

    def forward(self, given: Any) -> Any:
        r = self.stem(given)
        q, k, v = (m(r).view(1, ROWS, 4, -1).transpose(1, 2) for m in (self.q, self.k, self.v))
        heads = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(r.shape)
        h = self.u(heads)
        return self.x(F.silu(self.g(h)) * self.w(h))


def test_attention_and_gates_without_a_skip_are_applications():
    """Every matrix that all passes through is a state: the branch is what lies between two."""
    found = sp.read(Attending, rows(1, ROWS, FEATURES))
    assert found.paths == ("u", "x")
    first, second = found.architecture.sub_blocks
    assert str(first.branch) == "u attend(q r, k r, v r)" and first.rule == (sp.Write(),)
    assert str(second.branch) == "x (silu(g r) * w r)" and second.rule == (sp.Write(),)


def test_widths_that_differ_are_refused():
    """784-512-256-10 and its kind: the widths are said."""
    narrow = drawn(
        nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    refused(lambda: narrow, rows(ROWS, FEATURES), "no skip connections", "64, 32, 10 features")


def test_a_narrow_layer_between_two_wide_ones_is_inside_a_branch():
    """A bottleneck is no state: w1 phi(w2 phi(r)) is one application."""
    layers = [nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64)]
    found = sp.read(lambda: drawn(*layers), rows(ROWS, FEATURES))
    assert found.paths == ("4",)
    (block,) = found.architecture.sub_blocks
    assert str(block.branch) == "w4 relu(w2 relu(r) + w2_bias) + w4_bias"


def test_one_token_is_judged_without_cosines():
    """Nothing that needs a pair of tokens is asked for unasked."""
    table = sp.inspect(lambda: stack(nn.ReLU), rows(1, FEATURES), seeds=2)
    assert {row["quantity"] for row in table} == {
        "residual_variance",
        "write_variance",
        "gradient_variance",
    }
    assert np.isfinite([row["deviation"] for row in table]).all()


def test_a_stack_is_judged_as_what_it_is():
    """Sixty networks of 256 features agree within tolerances."""
    wide = 256

    def make() -> Any:
        layers = [nn.Linear(FEATURES, wide), nn.ReLU(), nn.Linear(wide, wide)]
        return nn.Sequential(*layers, nn.ReLU(), nn.Linear(wide, 10))

    table = sp.inspect(make, rows(ROWS, FEATURES), seeds=60)
    assert table.verdict == "confirmed", str(table)
