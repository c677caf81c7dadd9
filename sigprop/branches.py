"""Branches: what a sub-block applies to its read. Expressions in ``Read()``; a new branch is one more function."""

from __future__ import annotations

from sigprop.activation import Activation
from sigprop.expression import Activate, Bias, Linear, Read, Vector
from sigprop.scalar import Number

C_W = Number("c_w", "C_W")
C_X = Number("c_x", "C_X")
C_B = Number("c_b", "C_b")


def mlp(activation: Activation, matrices: int = 2, bias: bool = False) -> Vector:
    """W phi(r) for one matrix, X phi(W r) for two; with ``bias``, b of variance c_b on each matrix's output."""
    if matrices == 1:
        out: Vector = Linear("w", Activate(activation, Read()), C_W)
        return out + Bias("b", C_B) if bias else out
    hidden: Vector = Linear("w", Read(), C_W)
    hidden = hidden + Bias("b_w", C_B) if bias else hidden
    out = Linear("x", Activate(activation, hidden), C_X)
    return out + Bias("b", C_B) if bias else out
