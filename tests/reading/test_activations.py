"""Activations with numbers of their own: read as the functions that torch computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from refusals import refused
from torch_modules import WIDTH, inputs, nn, torch

import sigprop as sp
from sigprop.language.expression import Activate
from sigprop.language.traversal import walk

POINTS = np.array([-4.0, -0.7, -0.2, 0.05, 0.4, 2.5])
MODULES: dict[str, Any] = {
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(0.7),
    "elu": lambda: nn.ELU(0.5),
    "log sigmoid": nn.LogSigmoid,
    "threshold": lambda: nn.Threshold(0.1, 0.2),
    "softshrink": lambda: nn.Softshrink(0.3),
    "hardshrink": lambda: nn.Hardshrink(0.3),
    "rrelu": nn.RReLU,
    "prelu": nn.PReLU,
    "prelu of every feature": lambda: nn.PReLU(WIDTH, init=0.1),
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "softplus": lambda: nn.Softplus(2.0),
    "hard swish": nn.Hardswish,
    "mish": nn.Mish,
    "soft sign": nn.Softsign,
    "tanh shrink": nn.Tanhshrink,
}


class Block(nn.Module):
    """x + W phi(V x)."""

    def __init__(self, phi: Any) -> None:
        super().__init__()
        self.v, self.phi, self.w = nn.Linear(WIDTH, WIDTH), phi(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        return x + self.w(self.phi(self.v(x)))


@pytest.mark.parametrize("name", MODULES)
def test_values_are_those_of_the_module(name: str):
    """The description's function at points on both sides of its kinks: float32's 1e-6."""
    reading = sp.read(lambda: Block(MODULES[name]), inputs())
    (node,) = (
        n for n in walk(reading.architecture.sub_blocks[0].branch) if isinstance(n, Activate)
    )
    given = torch.tensor(POINTS, dtype=torch.float32)
    module = MODULES[name]().eval()
    rows = given[:, None].expand(-1, WIDTH)
    expected = module(rows)[:, 0].detach().numpy()
    np.testing.assert_allclose(node.activation.function(POINTS), expected, rtol=2e-6, atol=2e-6)


def test_slopes_that_differ_are_refused():
    class Drawn(nn.PReLU):
        def __init__(self) -> None:
            super().__init__(WIDTH)
            nn.init.normal_(self.weight)

    refused(lambda: Block(Drawn), inputs(), "phi.weight: slopes that are normal, sd 1")
