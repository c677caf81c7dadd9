"""What has no rule, as a node that is tried on Gaussian tokens (``Sampled``)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from sigprop.errors import InputError
from sigprop.language.expression import Activate, Attend, Linear, Product, Vector
from sigprop.language.nodes import Sampled
from sigprop.language.traversal import children
from sigprop.modules.terms import Fixed, Matrix, Part, Plus, Source, Term, Unknown, Weight
from sigprop.reading.converter import Converter, Trial
from sigprop.reading.stem import where

AMONG_COORDINATES = (Activate, Product, Attend)
"""Nodes whose rules ask for Gaussian coordinates, or ones that are all alike."""


def swallows(vector: Vector) -> bool:
    """Tell whether a node's rule does not take what a function without a rule returns, which is
    then part of that function."""
    return isinstance(vector, AMONG_COORDINATES) and any(map(_sampled, children(vector)))


def _sampled(vector: Vector) -> bool:
    """Tell whether a vector's own coordinates are such a function's, no matrix between."""
    if isinstance(vector, Linear):
        return False
    return isinstance(vector, Sampled) or any(map(_sampled, children(vector)))


def sampled(converter: Converter, term: Term) -> Vector:
    """Write a term without a rule as what it does to Gaussian tokens of what flows into it: reads
    of the state, and outputs of matrices.

    Raises ``InputError`` for what depends on further parameters, on nothing, or for modules of jax.
    """
    if converter.stem.graph.library != "torch":
        raise InputError(
            f"{where(term)}: has no rule, and is tried on Gaussian tokens in modules of torch only"
        )
    from sigprop.modules.compounds.region import Region

    inputs = list(dict.fromkeys(_inputs(converter, term)))
    if not inputs:
        raise InputError(f"{where(term)}: depends on no state; accepted: what the state flows into")
    graph: Any = converter.stem.graph
    region = Region(graph, [of.node for of in inputs], term.node, converter.stem.tokens)
    name = _unknown(term) or type(term).__name__.lower()
    rows = Fraction(region.features, converter.width)
    converter.tried.append(where(term))
    of = tuple(converter.vector(each) for each in inputs)
    return Sampled(re.sub(r"\W", "_", name), region, of, converter.width, rows)


def _unknown(term: Term) -> str:
    """Return the operation without a rule that a term is, or is computed from; "" for none."""
    if isinstance(term, Unknown) and term.operation != "getitem":
        return term.operation
    return "" if isinstance(term, Matrix) else next(filter(None, map(_unknown, term.inside)), "")


def _inputs(converter: Converter, term: Term) -> Iterator[Term]:
    """Walk down to what is Gaussian."""
    for inside in term.inside:
        if _gaussian(converter, inside):
            yield from _wholes(inside)
        elif isinstance(inside, (Weight, Source)):
            raise InputError(
                f"{where(term)}: has no rule, and depends on a parameter or an input; accepted to "
                f"be tried on Gaussian tokens: operations on the state and on matrices' outputs"
            )
        elif not isinstance(inside, Fixed):
            yield from _inputs(converter, inside)


def _wholes(term: Term) -> Iterator[Term]:
    """A term; of some of a matrix's outputs, all of them."""
    below = term
    while isinstance(below, Part):
        below = below.of
    yield below if isinstance(below, Matrix) else term


def _gaussian(converter: Converter, term: Term) -> bool:
    """Tell whether a term is read from the state, or written by matrices alone."""
    if isinstance(term, Part):
        return _gaussian(converter, term.of)
    if isinstance(term, Plus):
        return _gaussian(converter, term.left) and _gaussian(converter, term.right)
    return isinstance(term, Matrix) or converter.reads(term)


TRIAL = Trial(sampled, swallows)
