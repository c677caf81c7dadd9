"""Initialisations that people train with, as variances: ``init=gpt2`` and the like (``--set
init=gpt2 --set model_width=768``).

A weight of standard deviation sigma with fan-in m has c = sigma^2 m. So a fixed std 0.02 is a
variance that grows with the width, and Xavier's and torch's are numbers; what divides output
matrices by sqrt(2 L) divides their c by 2 L. All are formulas (``sigprop.language.formula``), so
that a network of another depth has what it would be initialised with there. Checked against the
classes themselves where they are installed (tests/architectures/test_real_models.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.blocks.parameters import Numbers, Parameters, Sizes
from sigprop.errors import InputError
from sigprop.language.activation import Activation, second_moment
from sigprop.language.formula import formula

STD = 0.02
FIXED = "0.02**2*n"
OUTPUT_OF_L = "/(2*L)"
MATRICES = ("c_q", "c_k", "c_v", "c_u", "c_w", "c_g", "c_x", "c_r")


class Initialisation(NamedTuple):
    """fits: the class whose initialisation it is; about: in a line; variances: MLP ratio ->
    {number: formula in n and L}; width: the model width that a fixed standard deviation is meant
    for, where ``model_width`` does not say (None: no standard deviation is fixed)."""

    fits: str
    about: str
    variances: Callable[[float], Numbers]
    width: int | None = None


def _fixed(ratio: float, last: str) -> Numbers:
    """Every matrix N(0, 0.02^2), the two output matrices' variances divided by ``last``."""
    every: Numbers = dict.fromkeys(("c_q", "c_k", "c_v", "c_w", "c_g", "c_r"), FIXED)
    return every | {"c_u": FIXED + last, "c_x": f"{ratio!r}*{FIXED}{last}"}


def of_std(std: float, ratio: float) -> Numbers:
    """Every matrix, and the embedding of words, N(0, std^2); positions in the stem are c_pe's."""
    every: Numbers = dict.fromkeys(MATRICES, f"{std!r}**2*n")
    return every | {"c_x": f"{ratio!r}*{std!r}**2*n", "c_we": std**2}


def gpt2(ratio: float) -> Numbers:
    """std 0.02, output matrices divided by sqrt(2 L), word and position embeddings of std 0.02;
    LayerNorm eps 1e-5."""
    return _fixed(ratio, OUTPUT_OF_L) | {"c_we": STD**2, "c_pe": STD**2, "norm_eps": 1e-5}


def llama(ratio: float) -> Numbers:
    """std 0.02 throughout, word embeddings too, no positions in the stem; RMSNorm eps 1e-6."""
    return _fixed(ratio, "") | {"c_we": STD**2, "norm_eps": 1e-6}


def xavier_packed(ratio: float) -> Numbers:
    """2/(fan_in + fan_out), Q, K, V as one 3n x n matrix: c = 1/2 for them, 1 for U, 2/(1 +
    ratio) and its ratio-fold in the MLP."""
    mlp = 2 / (1 + ratio)
    return {
        "c_q": 0.5,
        "c_k": 0.5,
        "c_v": 0.5,
        "c_u": 1.0,
        "c_w": mlp,
        "c_g": mlp,
        "c_x": ratio * mlp,
    }


def vit(ratio: float) -> Numbers:
    """Xavier for packed Q, K, V and for the MLP, torch's default for U; patches of variance 1,
    positions 0.02^2; eps 1e-6."""
    return xavier_packed(ratio) | {"c_u": 1 / 3, "c_we": 1.0, "c_pe": STD**2, "norm_eps": 1e-6}


def torch_linear(ratio: float) -> Numbers:
    """uniform within 1/sqrt(fan_in): variance 1/(3 fan_in), c = 1/3 for every matrix (biases
    vanish as 1/n)."""
    return dict.fromkeys(MATRICES, 1 / 3)


def torch_encoder_layer(ratio: float) -> Numbers:
    """Xavier for packed Q, K, V (c = 1/2), nn.Linear's default for U and the MLP (c = 1/3); eps
    1e-5."""
    return torch_linear(ratio) | {"c_q": 0.5, "c_k": 0.5, "c_v": 0.5, "norm_eps": 1e-5}


INITIALISATIONS: dict[str, Initialisation] = {
    name: Initialisation(fits, " ".join((read.__doc__ or "").split()).rstrip("."), read, width)
    for name, fits, read, width in (
        ("gpt2", "transformers.GPT2Model", gpt2, 768),
        ("llama", "transformers.LlamaModel", llama, 4096),
        ("vit-2304.02034", "the ViT of 2304.02034, section 3", vit, 768),
        (
            "xavier-packed",
            "torch.nn.MultiheadAttention's packed Q, K, V; Xavier elsewhere",
            xavier_packed,
            None,
        ),
        ("torch-linear", "torch.nn.Linear", torch_linear, None),
        ("torch-encoder-layer", "torch.nn.TransformerEncoderLayer", torch_encoder_layer, None),
    )
}
ALIASES = {"vit": "vit-2304.02034", "xavier": "xavier-packed", "torch": "torch-encoder-layer"}
"""Names of before; torch meant torch-linear."""


def named(name: str) -> str:
    """The initialisation's present name; a name of before with a remark. Raises ``InputError``."""
    if name in ALIASES:
        logging.getLogger("sigprop").warning("init=%s is called %s now", name, ALIASES[name])
        return ALIASES[name]
    if name not in INITIALISATIONS:
        raise InputError(f"init={name!r}; accepted: {', '.join(INITIALISATIONS)}")
    return str(name)


def initialised(p: Parameters) -> Parameters:
    """The parameters, with every variance that was not chosen (None) as the initialisation
    ``p['init']`` has it, and its model width, or as entries of standard deviation ``p['std']`` have
    it; raises ``InputError`` for both, and for a std without the width that it is meant for."""
    if p.get("std") is not None:
        if p["init"] is not None or p["model_width"] is None:
            beside = "without model_width" if p["init"] is None else f"beside init={p['init']}"
            raise InputError(f"std={p['std']!r} {beside}; accepted: std and model_width, no init")
        given = of_std(p["std"], float(p["mlp_ratio"]))
        return p | {name: value for name, value in given.items() if p.get(name) is None}
    if p["init"] is None:
        return p
    found = INITIALISATIONS[p["init"]]
    given = found.variances(float(p["mlp_ratio"])) | {"model_width": found.width}
    return p | {name: value for name, value in given.items() if p.get(name) is None and name in p}


def variances_at(name: str, width: int, depth: int, ratio: float) -> Mapping[str, float]:
    """{number: its value} of a named initialisation in a model of this width and depth."""
    sizes = {"N": 1, "L": depth, "S": depth, "n": width}
    return {
        c: float(formula(c, given).at(sizes, depth))
        for c, given in INITIALISATIONS[name].variances(ratio).items()
    }


def branch_numbers(
    activation: Activation,
    matrices: int,
    chosen: Parameters,
    sizes: Sizes,
    gated: bool = False,
) -> Numbers:
    """Formulas of c_w, c_x, c_g, c_b: what was chosen, else unit gain, K(1, 1, 1) = 1
    (docs/theory.md)."""
    gain = 1 / second_moment(activation)
    defaults = (
        {"c_w": gain}
        if matrices == 1
        else {"c_w": 1.0, "c_x": gain} | ({"c_g": 1.0} if gated else {})
    )
    return variances(
        defaults | ({"c_b": 0.0} if chosen.get("c_b") is not None else {}), chosen, sizes
    )


def variances(defaults: Mapping[str, float], chosen: Parameters, sizes: Sizes) -> Numbers:
    """Formulas of the named variances, as chosen or else by default; raises ``InputError`` for a
    negative one."""
    numbers: Numbers = {
        name: default if chosen.get(name) is None else chosen[name]
        for name, default in defaults.items()
    }
    for name, given in numbers.items():
        if (least := float(np.min(resolved(name, given, sizes)))) < 0:
            raise InputError(f"{name}={given!r}: {least} at these sizes; accepted: a variance >= 0")
    return numbers


def resolved(name: str, given: object, sizes: Sizes) -> float | NDArray[np.float64]:
    """The value of a formula at these sizes: a float, or one for each of the N S applications.
    Raises ``InputError``."""
    return formula(name, given).at(sizes, sizes["N"] * sizes["S"])
