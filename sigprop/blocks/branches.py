"""Branches: what a sub-block applies to its read. Expressions in ``Read()``; a new branch is one
more function."""

from __future__ import annotations

from fractions import Fraction

from sigprop.language.activation import Activation
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Product,
    Read,
    Rescale,
    TokenTable,
    Vector,
)
from sigprop.language.nodes import Experts, Gate, Mix
from sigprop.language.scalar import Number
from sigprop.language.scores import Scores

C_W = Number("c_w", "C_W")
C_X = Number("c_x", "C_X")
C_G = Number("c_g", "C_G")
C_B = Number("c_b", "C_b")
C_R = Number("c_r", "C_r")
C_Q, C_K, C_V, C_U = (Number(f"c_{name.lower()}", f"C_{name}") for name in "QKVU")
SOFTCAP, ROPE_BASE, DROPOUT = (
    Number("softcap", "c"),
    Number("rope_base", "b"),
    Number("dropout", "p"),
)


BIAS, RESCALE, CENTRE = (
    TokenTable("attention_bias", 2),
    TokenTable("attention_rescale"),
    TokenTable("attention_centre", 2),
)
SHAPE = (
    Number("shape_alpha", r"\alpha"),
    Number("shape_beta", r"\beta"),
    Number("shape_gamma", r"\gamma"),
)


def dropped(name: str, branch: Vector, drop: bool) -> Vector:
    """The branch, with dropout on its output if asked."""
    return Dropout(name, branch, DROPOUT) if drop else branch


def mlp(
    activation: Activation,
    matrices: int = 2,
    bias: bool = False,
    ratio: Fraction = Fraction(1),
    gated: bool = False,
    experts: tuple[int, int] | None = None,
) -> Vector:
    """W phi(r) for one matrix, X phi(W r) for two, X (phi(W r) * G r) gated; the hidden layer has
    ratio n units.

    ``bias``: b of variance c_b on each matrix's output; ``experts``: how many such branches there
    are, and how many of them a token is sent to.
    """
    if matrices == 1:
        out: Vector = Linear("w", Activate(activation, Read()), C_W)
        return out + Bias("b", C_B) if bias else out
    hidden: Vector = Linear("w", Read(), C_W, ratio)
    hidden = hidden + Bias("b_w", C_B, ratio) if bias else hidden
    units: Vector = Activate(activation, hidden)
    units = Product(units, Linear("g", Read(), C_G, ratio)) if gated else units
    out = Linear("x", units, C_X)
    out = out + Bias("b", C_B) if bias else out
    return out if experts is None else Experts("router", out, C_R, *experts)


def attention(
    scores: Scores,
    group: int = 1,
    cap: bool = False,
    drop: bool = False,
    bias: bool = False,
    rescale: bool = False,
    shape: str | None = None,
    kept_by: str = "",
) -> Vector:
    """U o, o_t = d_t sum_s Omega_ts V r_s head by head, Omega the softmax of the scores of Q r and
    K r.

    ``group``: query heads that share one head of keys and values; ``cap``: soft-capped scores;
    ``drop``: dropout on Omega and on the output; ``bias``: the table attention_bias added to the
    scores; ``rescale``: d, the table attention_rescale, else 1; ``shape``: 'skip' or 'centred' for
    ``shaped``; ``kept_by``: of ``Attend``.
    """
    shared = Fraction(1, group)
    query, key, value = (
        Linear("q", Read(), C_Q),
        Linear("k", Read(), C_K, shared),
        Linear("v", Read(), C_V, shared),
    )
    options = (
        SOFTCAP if cap else None,
        ROPE_BASE if scores.rotary else None,
        DROPOUT if drop else None,
        BIAS if bias else None,
    )
    softmax = Attend(query, key, value, scores, *options, kept_by)
    attend = shaped(softmax, shape == "centred") if shape else softmax
    attend = Rescale(RESCALE, attend) if rescale else attend
    return dropped("attention", Linear("u", attend, C_U), drop)


def shaped(attend: Attend, centred: bool) -> Vector:
    """alpha v + beta o - gamma C v (without C unless ``centred``), o attention's output; alpha,
    beta, gamma are trained, one of each a head.

    C, the table attention_centre: what Omega is at scores of zero. Source: He et al. 2302.10322
    (gamma = 0); Noci et al. 2306.17759.
    """
    size, (alpha, beta, gamma) = attend.scores.head_dim, SHAPE
    both = Gate(alpha, attend.value, "gate_identity", size) + Gate(beta, attend, "gate", size)
    return both - Gate(gamma, Mix(CENTRE, attend.value), "gate_centre", size) if centred else both
