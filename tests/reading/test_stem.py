"""The stem's Gram against that of a drawn stem: every entry within 5 standard errors of one wide
draw (fixed seed; a correct Gram fails with probability 6e-7 an entry, 2e-4 over all here)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_modules import F, nn, torch

import sigprop as sp

WIDTH = 2048
WORDS = torch.tensor([[3, 7, 3, 9]])
IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
ROWS = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))


class Network(nn.Module):
    """A stem, and one small application above it."""

    def __init__(self, stem: Any) -> None:
        super().__init__()
        self.stem = stem
        self.w = nn.Linear(WIDTH, 4, bias=False)
        self.x = nn.Linear(4, WIDTH, bias=False)

    def forward(self, given: Any) -> Any:
        x = self.stem(given)
        return x + self.x(torch.tanh(self.w(x)))


class Words(nn.Module):
    def __init__(self, mean: float = 0.0, scale: float = 1.0, norm: Any = None) -> None:
        super().__init__()
        self.wte, self.scale = nn.Embedding(20, WIDTH), scale
        self.wpe = nn.Parameter(0.4 * torch.randn(1, 4, WIDTH))
        self.types = nn.Embedding(2, WIDTH)
        self.norm = norm if norm is not None else nn.Identity()
        nn.init.normal_(self.wte.weight, mean, 0.7)
        nn.init.normal_(self.types.weight, std=0.3)

    def forward(self, words: Any) -> Any:
        x = self.wte(words) * self.scale + self.wpe + self.types(torch.zeros_like(words))
        return self.norm(x)


class Factored(nn.Module):
    """Words of few features, projected."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.up = nn.Embedding(20, 512), nn.Linear(512, WIDTH)

    def forward(self, words: Any) -> Any:
        return self.up(self.wte(words))


class Patches(nn.Module):
    """Patches of an image, a class token before them, positions."""

    def __init__(self, token: bool = True) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, WIDTH, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH)) if token else None
        self.positions = nn.Parameter(0.2 * torch.randn(1, 5 if token else 4, WIDTH))

    def forward(self, image: Any) -> Any:
        x = self.cut(image).flatten(2).transpose(1, 2)
        x = x if self.token is None else torch.cat([self.token, x], dim=1)
        return x + self.positions


class Rms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = Words(mean=0.5)
        self.gain = nn.Parameter(torch.full((WIDTH,), 1.5))

    def forward(self, words: Any) -> Any:
        return F.rms_norm(self.words(words), (WIDTH,), eps=1e-3) * self.gain


def sinusoids() -> Any:
    """[1, 4, n] positions as "Attention is all you need" has them."""
    angles = torch.arange(4.0)[:, None] * 1e4 ** -(torch.arange(0, WIDTH, 2.0) / WIDTH)
    return torch.stack([angles.sin(), angles.cos()], -1).reshape(1, 4, WIDTH)


class Fixed(nn.Module):
    """Words times a number, positions that are a buffer, or a parameter that is not trained."""

    def __init__(self, scale: float = 1.0, norm: Any = None, held: str = "buffer") -> None:
        super().__init__()
        self.wte, self.scale = nn.Embedding(20, WIDTH), scale
        nn.init.uniform_(self.wte.weight, -0.3, 0.5)
        if held == "buffer":
            self.register_buffer("positions", sinusoids())
        else:
            self.positions = nn.Parameter(sinusoids(), requires_grad=False)
        self.norm = norm if norm is not None else nn.Identity()
        self.drop = nn.Dropout(0.1)

    def forward(self, words: Any) -> Any:
        x = self.drop(self.wte(words) * self.scale + self.positions)
        return self.norm(x)


class Masked(nn.Module):
    """Words of which one is padding and left out, then normed."""

    def __init__(self) -> None:
        super().__init__()
        self.words = Words(mean=0.4)

    def forward(self, words: Any) -> Any:
        kept = (words != 9)[..., None].float()
        return F.layer_norm(self.words(words) * kept + 0.5 * sinusoids(), (WIDTH,), eps=1e-3)


class Given(nn.Module):
    """What the example alone says, and a matrix of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, WIDTH)

    def forward(self, rows: Any) -> Any:
        return self.up(torch.tanh((rows - 0.1) / 1.5).flip(-1)) + sinusoids()[0]


STEMS: dict[str, tuple[Callable[[], Any], Any]] = {
    "words, positions, types": (Words, WORDS),
    "scaled words": (lambda: Words(scale=3.0), WORDS),
    "normed": (lambda: Words(norm=nn.LayerNorm(WIDTH, eps=0.1)), WORDS),
    "an RMS norm of words with a mean, and gains": (Rms, WORDS),
    "factored words": (Factored, WORDS),
    "a projection of rows": (lambda: nn.Linear(6, WIDTH), ROWS),
    "fixed positions": (Fixed, WORDS),
    "fixed positions and scaled words": (lambda: Fixed(scale=3.0), WORDS),
    "fixed positions, a LayerNorm": (lambda: Fixed(norm=nn.LayerNorm(WIDTH)), WORDS),
    "fixed positions, an RMSNorm": (lambda: Fixed(norm=nn.RMSNorm(WIDTH, eps=0.1)), WORDS),
    "positions that are not trained": (lambda: Fixed(held="parameter"), WORDS),
    "words with a mean, one left out": (Masked, WORDS),
    "functions of the rows": (Given, ROWS),
    "patches": (lambda: Patches(False), IMAGE),
    "patches and a class token": (Patches, IMAGE),
}


@pytest.mark.parametrize("name", STEMS)
def test_the_gram_of_a_stem_is_that_of_a_wide_draw(name: str):
    """<x_t, x_s>/n of one draw, against the limit that is read."""
    make, example = STEMS[name]
    expected = sp.read(lambda: Network(make()), example).architecture.input_gram
    torch.manual_seed(7)
    with torch.no_grad():
        x = make().eval()(example).double().numpy().reshape(-1, WIDTH)
    assert expected.shape == (len(x), len(x))
    products = x[:, None, :] * x[None, :, :]
    error = products.std(axis=-1) / WIDTH**0.5
    # words of 512 features scatter on their own: 1/512 beside 1/n
    error *= (1 + WIDTH / 512) ** 0.5 if name == "factored words" else 1
    assert (abs(products.mean(axis=-1) - expected) <= 5 * error + 1e-6).all()


def test_a_gram_that_is_off_is_told_apart():
    """The companion: variances that are 30 % larger would fail."""
    expected = sp.read(lambda: Network(Words()), WORDS).architecture.input_gram
    torch.manual_seed(7)
    with torch.no_grad():
        x = Words()(WORDS).double().numpy().reshape(-1, WIDTH)
    products = x[:, None, :] * x[None, :, :]
    error = products.std(axis=-1) / WIDTH**0.5
    wrong = expected + 0.3 * np.diag(np.diag(expected))
    assert (abs(products.mean(axis=-1) - wrong) > 5 * error).any()


NO_RULE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an activation": (torch.tanh, "an activation at stem"),
    "a product": (lambda x: x * torch.roll(x, 1, -1), "stem"),
    "numbers by feature": (
        lambda x: x * torch.linspace(0.5, 2, WIDTH),
        "fixed numbers that multiply features at stem",
    ),
}


class Changed(nn.Module):
    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.words, self.change = Words(), change

    def forward(self, words: Any) -> Any:
        return self.change(self.words(words))


@pytest.mark.parametrize("name", NO_RULE)
def test_a_stem_without_a_rule_is_refused(name: str):
    """One line that names where it stands."""
    change, word = NO_RULE[name]
    with pytest.raises(sp.InputError, match="accepted: embeddings") as caught:
        sp.read(lambda: Network(Changed(change)), WORDS)
    assert word in str(caught.value) and "\n" not in str(caught.value)
