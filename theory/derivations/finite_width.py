"""Which closed form the fluctuations of a description have, asked of its sub-block, its slots and
its numbers (never of its name)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.language.expression import (
    Activate,
    Bias,
    Linear,
    Normalise,
    Read,
    Scale,
    State,
    Stem,
    Sum,
    Vector,
    Write,
)
from sigprop.language.traversal import rows_of, walk
from sigprop.theory.derivations import finite_forms as forms
from sigprop.theory.derivations.finite_forms import Layers
from sigprop.theory.derivations.reading import A, Deriver, Named

ACCEPTED = (
    "one token, Gaussian matrices, h <- lambda h + eps f of one kind, and f untied: W2 phi(W1 "
    "rms_norm(h)), W h, W relu(h), without a skip W phi(h) + b; or tied: W h"
)


def finite_width(arch: Architecture) -> tuple[str, list[Named]]:
    """Return the case that a description is, and its equations: ``residual_variance`` q(D),
    ``n_variance`` and ``n_shift`` after D applications to first order in 1/n, and what they are
    written in. Raises ``InputError`` where it is none of ``finite_forms``."""
    for what in _lacking(arch):
        raise refused(arch, what)
    layers = _layers(arch)
    linear, relu = (layers.activation == find(name) for name in ("linear", "relu"))
    if layers.matrices == 2:
        return _two_matrices(arch, layers)
    if layers.normed:
        raise refused(arch, "one matrix behind a norm")
    if arch.tied:
        if not linear or layers.bias != 0:
            raise refused(arch, "tied matrices with an activation or a bias")
        return "tied, linear", list(forms.tied_linear(layers))
    if linear and layers.bias == 0:
        return "untied, linear", list(forms.untied_linear(layers))
    if layers.kept == 0:
        if relu and layers.bias == 0:
            return "feed-forward, relu", list(forms.feed_forward_relu(layers))
        return "feed-forward, one input", list(forms.feed_forward(layers))
    if not relu or layers.bias != 0:
        raise refused(arch, "a skip with another activation than relu, or a bias")
    if not _value(arch, layers.kept) > 0:
        raise refused(arch, "relu under a skip that turns the sign")
    return "untied, relu", list(forms.untied_relu(layers))


def _two_matrices(arch: Architecture, layers: Layers) -> tuple[str, list[Named]]:
    """Return the case of an untied branch of two matrices behind RMSNorm."""
    lacks = {
        "two matrices without a norm": not layers.normed,
        "two tied matrices": arch.tied,
        "two matrices with biases": layers.bias != 0,
        "two matrices without a skip": layers.kept == 0,
    }
    for what in (what for what, lacking in lacks.items() if lacking):
        raise refused(arch, what)
    return "untied, two matrices behind RMSNorm", list(forms.untied_behind_a_norm(layers))


def refused(arch: Architecture, what: str) -> InputError:
    """Return what is said of a description whose fluctuations have no closed form."""
    return InputError(
        f"finite_width: no closed form for {what} ({arch.name}); accepted: {ACCEPTED} (all others: "
        f"sp.fluctuations, predict --width)"
    )


def _lacking(arch: Architecture) -> Iterator[str]:
    """Name what no closed form has, whatever the branch is."""
    if arch.tokens > 1:
        yield f"tokens={arch.tokens}"
    block, *others = arch.sub_blocks
    if others:
        yield "several kinds of sub-blocks"
    if arch.initial != (Stem(),) or len(block.reads) > 1:
        yield "several lanes or reads"
    if arch.ensemble != "gaussian":
        yield f"{arch.ensemble} matrices"
    if len(arch.bands) > 1:
        yield "several widths"
    if any(not (table == table[0]).all() for table in arch.number_tables.values()):
        yield "numbers that differ between applications"
    shared = (set(map(len, arch.applications_of(weight).values())) for weight in arch.weights)
    if any(uses not in ({1}, {arch.depth}) for uses in shared):
        yield "matrices that some applications share"
    linear = (State, Write, Scale, Sum)
    if not all(isinstance(node, linear) for lane in block.rule for node in walk(lane)):
        yield "a rule with a norm"


def _layers(arch: Architecture) -> Layers:
    """Read the sub-block; raise ``InputError`` where it is not one or two matrices."""
    deriver, block = Deriver(arch), arch.sub_blocks[0]
    transition, into = deriver.rule(0, A, 0)
    read = block.reads[0]
    normed = isinstance(read, Normalise)
    if normed and (read.kind != "rms" or deriver.number(A)(read.epsilon) != 0):
        raise refused(arch, "LayerNorm, or a norm with an epsilon")
    if (read.of if normed else read) != State(0):
        raise refused(arch, f"the read {read}")
    outer, outer_bias = _matrix(deriver, block.branch)
    activation, within = _function(outer.of)
    inner, inner_bias = (None, 0) if within == Read() else _matrix(deriver, within)
    if inner is not None and inner.of != Read():
        raise refused(arch, f"the branch {block.branch}")
    number = deriver.number(A)
    layers = Layers(
        activation=activation,
        matrices=1 if inner is None else 2,
        normed=normed,
        kept=sympy.Integer(0) + transition.get((0, 0), 0),
        added=sympy.Integer(0) + into.get((0, 0), 0),
        variance=number(outer.variance),
        inner=number(inner.variance) if inner is not None else sympy.Integer(1),
        ratio=sympy.Rational(str(rows_of(inner))) if inner is not None else sympy.Integer(1),
        bias=outer_bias + inner_bias,
    )
    if layers.added * layers.variance == 0 or layers.inner == 0:
        raise refused(arch, "a branch that writes nothing")
    return layers


def _matrix(deriver: Deriver, u: Vector) -> tuple[Linear, Any]:
    """Return a matrix and the variance of the bias on its output; raise ``InputError``."""
    terms = u.terms if isinstance(u, Sum) else (u,)
    matrices = [term for term in terms if isinstance(term, Linear)]
    biases = [term for term in terms if isinstance(term, Bias)]
    if len(matrices) != 1 or len(matrices) + len(biases) != len(terms):
        raise refused(deriver.arch, f"the branch {deriver.arch.sub_blocks[0].branch}")
    number = deriver.number(A)
    return matrices[0], sum((number(bias.variance) for bias in biases), sympy.Integer(0))


def _function(u: Vector) -> tuple[Activation, Vector]:
    """Return the activation of what a matrix is applied to, and what stands in it."""
    if isinstance(u, Activate) and u.order == 0:
        return u.activation, u.of
    return find("linear"), u


def _value(arch: Architecture, expression: Any) -> float:
    """Return a constant of the description as a number."""
    numbers = {
        sympy.Symbol(name, positive=True): float(table[0])
        for name, table in arch.number_tables.items()
    }
    return float(expression.subs(numbers))
