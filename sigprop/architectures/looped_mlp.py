"""Looped (weight-tied) residual MLP stacks, 2606.18524: L distinct blocks, looped N times, loops
outermost."""

from __future__ import annotations

from typing import Any

from sigprop.blocks import branches
from sigprop.blocks.residual import residual_stack
from sigprop.blocks.variances import branch_numbers
from sigprop.description.architecture import Architecture
from sigprop.description.family import sizes
from sigprop.registry.entries import register


def residual(name: str, loops: int | None = None, **p: Any) -> Architecture:
    """A residual MLP stack; untied is looped with N = 1 (a law, tested)."""
    size = sizes(p["depth"], loops or 1)
    branch = branches.mlp(p["activation"], p["matrices"], bias=p["c_b"] is not None)
    return residual_stack(
        name, [branch], branch_numbers(p["activation"], p["matrices"], p, size), size, p
    )


@register("looped-mlp", reference="2606.18524")
def looped_mlp(
    *,
    depth: Any = 1,
    loops: Any = 8,
    activation: Any = "relu",
    matrices: Any = 2,
    norm: Any = "pre",
    norm_kind: Any = "rms",
    norm_eps: Any = 0.0,
    residual_scale: Any = "1/(N*sqrt(L))",
    skip_scale: Any = 1.0,
    c_w: Any = None,
    c_x: Any = None,
    c_b: Any = None,
    tokens: Any = 1,
    token_cosine: Any = 0.0,
    input_gram: Any = None,
    weights: Any = "gaussian",
    readout: Any = "each",
    sgd_factors: Any = None,
) -> Architecture:
    """Looped residual stack: L distinct blocks applied N times, h_{a+1} = lambda h_a + eps f_{a
    mod L}(h_a)."""
    return residual("looped-mlp", **locals())
