"""Gains of branches: of every feature, or one number, in any layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch_modules as modules
from descriptions import assert_alike
from torch_modules import WIDTH, F, inputs, nn, torch

import sigprop as sp


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (WIDTH,), (1, 1, WIDTH)])
def test_gains_of_any_layout(shape: tuple[int, ...]):
    """One number (ReZero, SkipInit) or one a feature, with leading axes of one: c of the branch."""

    class Gained(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp, self.gain = (
                modules.initialised(modules.Mlp()),
                nn.Parameter(torch.ones(shape)),
            )
            nn.init.constant_(self.gain, 0.3)

        def forward(self, x: Any) -> Any:
            return x + self.gain * self.mlp(x)

    found = sp.read(Gained, lambda: inputs()).architecture
    plain = sp.read(lambda: Rescaled(0.3), inputs()).architecture
    assert_alike(found, plain, ("residual_variance", "gradient_variance"))


class Rescaled(nn.Module):
    """x + c mlp(x), c in the code."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.mlp, self.factor = modules.initialised(modules.Mlp()), factor

    def forward(self, x: Any) -> Any:
        return x + self.factor * self.mlp(x)


@pytest.mark.parametrize("place", ["a branch's gain", "the stem's gain", "a shift"])
def test_one_number_that_is_drawn_is_refused(place: str):
    """No width averages it, wherever it stands."""

    class Drawn(Rescaled):
        def __init__(self) -> None:
            super().__init__(1.0)
            self.one = nn.Parameter(torch.empty(()))
            nn.init.normal_(self.one)

        def forward(self, x: Any) -> Any:
            if place == "the stem's gain":
                x = self.one * F.rms_norm(x, (WIDTH,))
            inner = self.mlp(x)
            inner = self.one * inner if place == "a branch's gain" else inner
            return x + (inner + self.one if place == "a shift" else inner)

    with pytest.raises(sp.InputError, match="one: one number that is drawn"):
        sp.read(Drawn, inputs())
