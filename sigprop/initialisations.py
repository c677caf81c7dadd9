"""Initialisations that people train with, as variances: ``init=gpt2`` and the like (``--set init=gpt2 --set model_width=768``).

A weight of standard deviation sigma with fan-in m has c = sigma^2 m. So a fixed std 0.02 is a variance that grows with
the width, and Xavier's and torch's are numbers; what divides output matrices by sqrt(2 L) divides their c by 2 L.
"""

from __future__ import annotations

from typing import Any

STD = 0.02


def _fixed(width: int, ratio: float, last: float) -> dict[str, float]:
    """Every matrix N(0, 0.02^2), the two output matrices' variances divided by ``last``."""
    c = STD**2 * width
    return {**dict.fromkeys(("c_q", "c_k", "c_v", "c_w", "c_g"), c), "c_u": c / last, "c_x": ratio * c / last}


def gpt2(width: int, depth: int, ratio: float) -> dict[str, float]:
    """GPT-2: std 0.02, output matrices divided by sqrt(2 L), word and position embeddings of std 0.02; LayerNorm eps 1e-5."""
    return _fixed(width, ratio, 2.0 * depth) | {"c_we": STD**2, "c_pe": STD**2, "norm_eps": 1e-5}


def llama(width: int, depth: int, ratio: float) -> dict[str, float]:
    """Llama: std 0.02 throughout, word embeddings too, no positions in the stem; RMSNorm eps 1e-6."""
    return _fixed(width, ratio, 1.0) | {"c_we": STD**2, "norm_eps": 1e-6}


def vit(width: int, depth: int, ratio: float) -> dict[str, float]:
    """ViT of 2304.02034: Xavier for packed Q, K, V (3n x n) and for the MLP, torch's default for U; patches 1, positions 0.02^2; eps 1e-6."""
    return xavier(width, depth, ratio) | {"c_u": 1 / 3, "c_we": 1.0, "c_pe": STD**2, "norm_eps": 1e-6}


def xavier(width: int, depth: int, ratio: float) -> dict[str, float]:
    """2/(fan_in + fan_out): c = 2 fan_in/(fan_in + fan_out); Q, K, V as one 3n x n matrix, as torch's attention packs them."""
    mlp = 2 / (1 + ratio)
    return {"c_q": 0.5, "c_k": 0.5, "c_v": 0.5, "c_u": 1.0, "c_w": mlp, "c_g": mlp, "c_x": ratio * mlp}


def torch(width: int, depth: int, ratio: float) -> dict[str, float]:
    """nn.Linear's default, uniform within 1/sqrt(fan_in): variance 1/(3 fan_in), c = 1/3 (its biases vanish as 1/n)."""
    return dict.fromkeys(("c_q", "c_k", "c_v", "c_u", "c_w", "c_g", "c_x"), 1 / 3)


INITIALISATIONS = {"gpt2": gpt2, "llama": llama, "vit": vit, "xavier": xavier, "torch": torch}
WIDTHS = {"gpt2": 768, "llama": 4096, "vit": 768}
"""The width n of the model that a fixed standard deviation is meant for, where ``model_width`` does not say."""


def initialised(p: dict[str, Any], depth: int) -> dict[str, Any]:
    """The parameters, with every variance that was not chosen (None) as the initialisation ``p['init']`` has it."""
    if p["init"] is None:
        return p
    width = p["model_width"] or WIDTHS.get(p["init"], 1)
    given = INITIALISATIONS[p["init"]](width, depth, float(p["mlp_ratio"]))
    return p | {name: value for name, value in given.items() if p.get(name) is None and name in p}
