"""Gains of branches: of every feature, or one number, in any layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch_modules as modules
from descriptions import assert_alike
from torch_modules import WIDTH, inputs, nn, torch

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


def test_one_gain_that_is_drawn_is_refused():
    """No width averages it."""

    class Drawn(Rescaled):
        def __init__(self) -> None:
            super().__init__(1.0)
            self.gain = nn.Parameter(torch.empty(()))
            nn.init.normal_(self.gain)

        def forward(self, x: Any) -> Any:
            return x + self.gain * self.mlp(x)

    with pytest.raises(sp.InputError, match="gain: one number that is drawn"):
        sp.read(Drawn, inputs())
