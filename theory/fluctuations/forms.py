"""What has a form for its fluctuations: quantities and architectures, others refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.description.checks import BAND
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import askable, select
from sigprop.description.rows import check_quantities as check_names
from sigprop.description.sub_block import SubBlock
from sigprop.errors import InputError
from sigprop.language.expression import (
    Activate,
    Attend,
    Dropout,
    Linear,
    Product,
)
from sigprop.language.nodes import Gate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import children, group_of, rows_of, walk
from sigprop.theory.calculus.means import acting, expressions, has_mean, takes_means
from sigprop.theory.calculus.transpose import transpose
from sigprop.theory.fluctuations.parity import has_parity, is_kinked

FORMS = (
    "residual_variance",
    "rms",
    "token_covariance",
    "token_cosine",
    "state_cosine",
    "write_variance",
    "band_variance",
    "band_covariance",
    "gradient_variance",
    "gradient_covariance",
    "band_gradient",
    "weight_gradient",
)
"""Quantities that are read off Grams which a traced unit is a part of."""
GATED, TANGENT = "weight_gradient", "ntk"
"""Gradients by groups; the tangent kernel is asked for by name alone: of read-out vectors that
tokens share, a run of its own."""


def having_forms(arch: Architecture, applications: Sequence[int] | None = None) -> tuple[str, ...]:
    """Return the quantities of an architecture that have a form, and rows at the applications."""
    check(arch, False)
    backward = not any(_lacking_back(arch)) if arch.gradients_known else False
    without = {GATED} if gated(arch) else set[str]()
    names = [n for n in FORMS if n not in without and (backward or not is_backward([n]))]
    return tuple(
        name for name in names if name in askable(arch) and select(arch, (name,), applications)
    )


def is_backward(quantities: Iterable[str]) -> bool:
    """Tell if any of the quantities needs the backward pass."""
    return any(QUANTITIES[name].backward for name in quantities)


def check_quantities(quantities: Sequence[str], accepted: Sequence[str] = FORMS) -> tuple[str, ...]:
    """Return quantities as they are; raises ``InputError`` for one without a form."""
    for name in check_names(quantities):
        if name not in accepted:
            raise InputError(
                f"quantity={name}: its fluctuations have no form here; accepted: "
                f"{', '.join(accepted)}"
            )
    return tuple(quantities)


def check_products(arch: Architecture, quantities: Sequence[str]) -> None:
    """Raise ``InputError`` for gradients without a form: those by gates, which are averages of
    products of four coordinates, and tangent kernels of attention that is used several times."""
    if gated(arch):
        for name in {GATED, TANGENT}.intersection(quantities):
            raise InputError(
                f"{arch.name}: {name}: fluctuations of gradients by gates have no form yet; "
                f"accepted: other quantities"
            )
    if TANGENT in quantities and _attends_again(arch):
        raise InputError(
            f"{arch.name}: {TANGENT}: fluctuations of tangent kernels of attention that is used "
            f"several times have no form yet; accepted: other quantities"
        )


def gated(arch: Architecture) -> bool:
    """Tell whether gates are trained."""
    return any(isinstance(node, Gate) for node in arch.weights.values())


def _attends_again(arch: Architecture) -> bool:
    """Tell whether attention between tokens has a weight that is used more than once."""
    if arch.tokens == 1:
        return False
    nodes = [node for block in arch.sub_blocks for node in walk(block.branch)]
    attends = any(isinstance(node, Attend) and not node.scores.uniform for node in nodes)
    uses = [len(at) for name in arch.weights for at in arch.applications_of(name).values()]
    return attends and max(uses, default=0) > 1


def check(arch: Architecture, backward: bool) -> None:
    """Raise ``InputError`` for what has no form yet, or none for gradients."""
    for what in _lacking(arch):
        raise InputError(f"{arch.name}: fluctuations of {what} have no form yet; accepted: without")
    for what in _lacking_back(arch) if backward else ():
        raise InputError(
            f"{arch.name}: fluctuations of gradients through {what} have no form yet; accepted: "
            f"quantities of the forward pass"
        )


def _lacking_back(arch: Architecture) -> Iterator[str]:
    if arch.ensemble != "gaussian":
        yield f"{arch.ensemble} matrices"
    if vanishing(arch):
        yield "scores that vanish with the width"
    for node in shifted(arch):
        if is_kinked(node.activation):
            yield f"{node.activation.name}, whose derivative jumps, of what LayerNorm returns"
    for block in arch.sub_blocks:
        if any(len(uses) > 1 for uses in transpose(block.branch).uses.values()):
            yield "a weight that a branch uses twice"


def _lacking(arch: Architecture) -> Iterator[str]:
    if ends_within(arch):
        yield "a truncation that ends within a band"
    if arch.scored:
        yield "modulators and experts"
    if arch.sampled:
        yield "functions without a rule"
    if arch.ensemble != "gaussian" and not isometric(arch):
        yield f"{arch.ensemble} matrices but square ones outside of attention"
    blocks = any(takes_means(expressions(block)) for block in arch.sub_blocks)
    if (blocks or shifted(arch)) and len(arch.bands) > 1:
        yield "LayerNorm in networks of several widths"
    for block in arch.sub_blocks:
        yield from _lacking_in(block, blocks or takes_means(arch.initial))


def ends_within(arch: Architecture) -> bool:
    """Tell whether some truncation, of states or in branches, ends within a band."""
    ends = np.cumsum(arch.bands)
    return any(
        abs(ends - fraction).min() > BAND
        for node in arch.truncations
        for fraction in np.atleast_1d(evaluate(node.fraction, arch.number_tables))
    )


def vanishing(arch: Architecture) -> bool:
    """Tell whether attention has scores that vanish with the width."""
    every = (node for block in arch.sub_blocks for node in walk(block.branch))
    return any(isinstance(node, Attend) and node.scores.scale == "linear" for node in every)


def isometric(arch: Architecture) -> bool:
    """Tell whether matrices are orthogonal and square, and none is attention's."""
    every = [node for block in arch.sub_blocks for node in walk(block.branch)]
    square = all(node.rows == rows_of(node.of) == 1 for node in every if isinstance(node, Linear))
    attends = any(isinstance(node, Attend) for node in every)
    return arch.ensemble == "orthogonal" and square and not attends and len(arch.bands) == 1


def shifted(arch: Architecture) -> list[Activate]:
    """Return the activations that act on what LayerNorm may have left a mean in."""
    every = [expression for block in arch.sub_blocks for expression in expressions(block)]
    layered = takes_means((*arch.initial, *every))
    found = [node for block in arch.sub_blocks for node in acting(block.branch) if layered]
    if layered or takes_means((arch.readout.branch, arch.readout.read)):
        found += acting(arch.readout.branch)
    return found


def moved_by_means(arch: Architecture) -> bool:
    """Tell whether averages move with means over coordinates to first order: by activations that
    are neither odd nor even."""
    return not all(has_parity(node.activation) for node in shifted(arch))


def _lacking_in(block: SubBlock, layered: bool) -> Iterator[str]:
    for node in walk(block.branch):
        if isinstance(node, Dropout):
            yield "dropout"
        if isinstance(node, Attend):
            yield from _lacking_of(node)
        if layered and isinstance(node, Product) and any(map(has_mean, children(node))):
            yield "a product of what has the mean that LayerNorm takes away"


def _lacking_of(node: Attend) -> Iterator[str]:
    if node.rate is not None:
        yield "dropout"
    if node.scores.scale == "linear" and (node.scores.qk_norm or node.scores.rotary):
        yield "normalised or rotated queries whose scores vanish with the width"
    if math.isinf(node.scores.head_dim) and not node.scores.uniform:
        yield "heads of infinitely many coordinates"
    if group_of(node) > 1 and (node.scores.uniform or node.scores.scale == "linear"):
        yield "grouped queries whose scores vanish or are alike"
    if node.drawn_bias is not None or node.kinds > 1:
        yield "biases on scores head by head"
