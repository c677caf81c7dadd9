"""Transformers without norms and, but for a part of the state, without skips (He et al.
2302.10322): how they are built from ``stack``."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sigprop.blocks.parameters import Parameters, Sizes
from sigprop.blocks.residual import Join, every
from sigprop.blocks.rules import weighted
from sigprop.blocks.shaping import shaped_leaky_relu
from sigprop.blocks.spa import attention, realised
from sigprop.blocks.transformer import stack
from sigprop.blocks.variances import resolved
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.language.activation import second_moment
from sigprop.language.expression import State, Stem, Write
from sigprop.language.formula import Formula, formula
from sigprop.language.scalar import Constant

NORMED = (
    "norm",
    "norm_kind",
    "norm_eps",
    "residual_scale",
    "final_norm",
    "gated",
    "c_g",
    "c_b",
    "attention_bias",
    "attention_rescale",
    "init",
    "model_width",
    "dropout",
)
QUERIES = ("score_scale", "softcap", "qk_norm", "positions", "rope_base", "rotary_dim", "c_q")
HEADS = ("heads", "kv_heads")
"""Parameters of the transformer that these networks do not have; of these, where queries are
zero; of these, where every head has numbers of its own."""
FIXED: Parameters = {
    "gated": False,
    "attention_bias": None,
    "attention_rescale": None,
    "init": None,
    "dropout": 0.0,
    "score_scale": "zero_query",
    "softcap": None,
    "qk_norm": False,
    "positions": "none",
    "rope_base": 1e4,
    "rotary_dim": None,
    "c_q": None,
    "c_b": None,
    "heads": None,
    "kv_heads": None,
}


def skipless(name: str, p: Parameters, tables: Parameters | None = None) -> Architecture:
    """h <- alpha h + sqrt(1 - alpha^2) f(h), alpha = skip_scale (0: no skip), f attention and MLP
    in turn; no norm, inputs' variance kept.

    ``shaping_eta``: leaky-relu's slope is set by it (``sigprop.blocks.shaping``), for as many
    nonlinearities as there are MLPs. Raises ``InputError``.
    """
    eta = p["shaping_eta"]
    if p["block"] == "parallel":
        raise InputError(
            "block=parallel; accepted here: attention, mlp or transformer (one after the other)"
        )
    if p["block"] != "attention" and p["activation"].name == "leaky-relu" and eta is not None:
        shaped = shaped_leaky_relu(p["depth"], eta)
        # unit gain, of a slope that depends on depth
        gain = Formula("c_x", (Constant(1 / second_moment(shaped)),), order=Constant(1))
        p = p | {"activation": shaped} | ({"c_x": gain} if p["c_x"] is None else {})
    fixed = {key: value for key, value in FIXED.items() if key not in p}
    return stack(name, join=_partial, **fixed | p | (tables or {}))


def _partial(p: Parameters, size: Sizes) -> Join:
    given = formula("skip_scale", p["skip_scale"])
    skip = np.atleast_1d(resolved("skip_scale", given, size))
    if not (skip.min() >= 0 and skip.max() < 1):
        accepted = "accepted: from 0 to below 1, beside a branch of sqrt(1 - skip_scale^2)"
        raise InputError(
            f"skip_scale={p['skip_scale']!r}: {float(skip.max())} at these sizes; {accepted}"
        )
    if not skip.any():
        return Join(State(0), every(Write()), Stem(), {})
    branch = tuple((1 - entry**2) ** Fraction(1, 2) for entry in given.entries)
    return Join(
        State(0),
        every(weighted()[0]),
        Stem(),
        {"skip_scale": given, "residual_scale": branch},
    )


def designed(name: str, kind: str, numbers: NDArray[np.float64], p: Parameters) -> Architecture:
    """Attention that carries the kernels of these numbers (l = 0..L) into each other."""
    if not isinstance(p["mask"], str):
        raise InputError(
            "mask: a table; accepted: none or causal (the kernels are carried by triangular or by "
            "symmetric factors)"
        )
    tokens = p["tokens"] or (
        len(p["words"])
        if p["words"] is not None
        else len(p["input_gram"])
        if p["input_gram"] is not None
        else 3
    )
    bias, rescale = realised(attention(kind, numbers, tokens, p["mask"] == "causal"))
    # a table for every application; those of MLPs are not read
    kinds = 2 if p["block"] == "transformer" else 1
    return skipless(
        name,
        p,
        {
            "attention_bias": bias.repeat(kinds, axis=0),
            "attention_rescale": rescale.repeat(kinds, axis=0),
        },
    )
