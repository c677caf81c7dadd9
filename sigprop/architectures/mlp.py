"""Plain feed-forward networks: no skip, weight and bias variances (Poole 2016, Schoenholz
1611.01232)."""

from __future__ import annotations

from typing import Any

from sigprop.blocks import branches, rules
from sigprop.blocks.stems import stem_gram
from sigprop.blocks.variances import branch_numbers
from sigprop.description.architecture import Architecture
from sigprop.description.family import looped_slots, sizes
from sigprop.description.sub_block import Readout, SubBlock
from sigprop.language.expression import State
from sigprop.registry.entries import register


@register("mlp", reference="1611.01232")
def mlp(
    *,
    depth: Any = 4,
    activation: Any = "relu",
    c_w: Any = None,
    c_b: Any = 0.0,
    tokens: Any = 1,
    token_cosine: Any = 0.0,
    input_gram: Any = None,
    weights: Any = "gaussian",
    readout: Any = "each",
    sgd_factors: Any = None,
) -> Architecture:
    """Feed-forward stack h_{a+1} = W_a phi(h_a) + b_a, untied; h_0 are the first
    pre-activations."""
    size = sizes(depth)
    chosen = {"c_w": c_w, "c_b": c_b}
    return Architecture(
        name="mlp",
        sub_blocks=(
            SubBlock(State(0), branches.mlp(activation, 1, bias=c_b is not None), rules.skipless()),
        ),
        slots=looped_slots(size),
        numbers=branch_numbers(activation, 1, chosen, size),
        input_gram=stem_gram(tokens, token_cosine, input_gram),
        readout=Readout(readout),
        ensemble=weights,
        sizes=size,
        sgd_factors=sgd_factors or {},
    )
