"""Looped (weight-tied) residual MLP stacks, 2606.18524: L distinct blocks, looped N times, loops outermost."""

from __future__ import annotations

from typing import Any

from sigprop import branches, rules
from sigprop.architecture import NORM_EPSILON, Architecture, Readout, SubBlock
from sigprop.building import branch_numbers, looped_slots, sizes, stem_gram
from sigprop.expression import Normalise, State
from sigprop.grammar import resolve
from sigprop.registry import register

_RULES = {"post": rules.post_norm, "sandwich": rules.sandwich}


def residual(name: str, loops: int | None = None, **p: Any) -> Architecture:
    """A residual MLP stack; untied is looped with N = 1 (a law, tested)."""
    size = sizes(p["depth"], loops or 1)
    plain = p["skip_scale"] == 1 and p["norm"] in ("none", "pre")
    rule = _RULES[p["norm"]](p["norm_kind"]) if p["norm"] in _RULES else rules.additive() if plain else rules.weighted()
    normed = Normalise(State(0), p["norm_kind"], NORM_EPSILON)
    numbers = branch_numbers(p["activation"], p["matrices"], p, size)
    numbers["residual_scale"] = resolve(p["residual_scale"], "residual_scale", size)
    numbers["skip_scale"] = resolve(p["skip_scale"], "skip_scale", size)
    return Architecture(
        name=name,
        sub_blocks=(
            SubBlock(
                read=normed if p["norm"] in ("pre", "sandwich") else State(0),
                branch=branches.mlp(p["activation"], p["matrices"], bias=p["c_b"] is not None),
                rule=rule,
            ),
        ),
        slots=looped_slots(size),
        numbers=numbers | {"norm_eps": p["norm_eps"]},
        input_gram=stem_gram(p["tokens"], p["token_cosine"], p["input_gram"]),
        readout=Readout(p["readout"]),
        sizes=size,
        parameters=({"loops": loops} if loops else {}) | p | {"activation": p["activation"].name},
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
    readout: Any = "each",
) -> Architecture:
    """Looped residual stack: L distinct blocks applied N times, h_{a+1} = lambda h_a + eps f_{a mod L}(h_a)."""
    return residual("looped-mlp", **locals())
