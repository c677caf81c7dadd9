"""The equations of weight gradients and of the NTK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from sigprop.description.structure import READOUT
from sigprop.theory.calculus.algebra import exact
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.derivations.reading import A, B, D, Deriver, Named, S, T


def gradients(d: Deriver) -> Iterator[Named]:
    """Weight gradients of a slot, and the NTK (its Delta and H are those of one read-out vector
    shared by all tokens).

    Where attention mixes tokens the NTK is given by sum_ts P(t, s) Theta(t, s) for every read-out
    Gram P.
    """
    total: Any = 0
    for parts in (_weights(d), _stem(d), _readout(d)):
        for name, equation, share in parts:
            yield name, equation
            total += share
    shared = d.readout_gram() if _mixes(d) else sympy.Integer(1)
    yield "ntk", sympy.Eq(_mixed_tokens(d, shared * d.function("Theta", D, D)), total)


Part = tuple[str, Any, Any]
"""(name, equation of a weight gradient, what it adds to the NTK)."""


def _weights(d: Deriver) -> Iterator[Part]:
    """The gradients of the branches' weights."""
    slot = sympy.Symbol("sigma", integer=True)
    for kind, block in enumerate(d.arch.sub_blocks):
        environment = d.environment(kind, tied=False)
        for weight, uses in transpose(block.branch).uses.items():
            amount = _of_uses(uses, environment)
            both = sympy.KroneckerDelta(d.slot(weight)(A), slot) * sympy.KroneckerDelta(
                d.slot(weight)(B), slot
            )
            square = summed(d, both * amount, tokens=True)
            yield (
                f"weight_gradient[{weight}]",
                sympy.Eq(sympy.Function("W_" + weight)(slot), square),
                d.sgd_factor(weight)
                * exact(block.weights[weight].rows)
                * summed(d, d.tie(weight) * amount, tokens=_mixes(d)),
            )


def _of_uses(uses: Any, environment: Any) -> Any:
    """Add <x, x'> <d, d'> over all pairs of a weight's uses (x None: a bias, whose input is 1)."""
    amount: Any = 0
    for x, cotangent in uses:
        for x2, cotangent2 in uses:
            cotangents = inner(cotangent, "a", cotangent2, "b", environment)
            if cotangents != 0:
                inputs = 1 if x is None or x2 is None else inner(x, "a", x2, "b", environment)
                amount += cotangents * inputs
    return amount


def _stem(d: Deriver) -> Iterator[Part]:
    """The gradients of the stem's parts."""
    left, right = d.first(T), d.first(S)
    gram = d.over_bands(
        sum(
            left[i] * right[j] * d.function(d.lane("H", i, j), 0, 0)
            for i in d.lanes
            for j in d.lanes
        )
    )
    for part in d.arch.stem_parts:
        amount = d.stem_inputs(part) * gram
        yield (
            f"weight_gradient[{part}]",
            sympy.Eq(sympy.Symbol(f"W_{part}"), _over_tokens(d, amount)),
            d.sgd_factor(part) * _mixed_tokens(d, amount),
        )


def _readout(d: Deriver) -> Iterator[Part]:
    """The gradient of the read-out's vectors."""
    output = d.function("O", A, B)
    square = _over_outputs(d, _over_tokens(d, d.readout_gram() * output))
    shared = d.readout_gram() if _mixes(d) else sympy.Integer(1)
    yield (
        f"weight_gradient[{READOUT}]",
        sympy.Eq(sympy.Symbol(f"W_{READOUT}"), square),
        d.sgd_factor(READOUT) * _over_outputs(d, _mixed_tokens(d, shared * output)),
    )


def summed(d: Deriver, amount: Any, tokens: bool) -> Any:
    """Sum over all applications (and tokens)."""
    amount = sympy.Sum(amount, (A, 0, D - 1), (B, 0, D - 1))
    return _over_tokens(d, amount) if tokens else amount


def _over_outputs(d: Deriver, amount: Any) -> Any:
    """Sum over the states that the read-out sees, or take the last."""
    return sympy.Sum(amount, (A, 0, D), (B, 0, D)) if d.pooled else amount.subs({A: D, B: D})


def _mixes(d: Deriver) -> bool:
    """Tell if attention mixes tokens."""
    return bool(d.structure.heads) and d.arch.tokens > 1


def _mixed_tokens(d: Deriver, amount: Any) -> Any:
    """Sum over pairs of tokens where attention mixes them."""
    return d.over_tokens(amount) if _mixes(d) else amount


def _over_tokens(d: Deriver, amount: Any) -> Any:
    """Sum over pairs of tokens where there are several."""
    return d.over_tokens(amount) if d.arch.tokens > 1 else amount
