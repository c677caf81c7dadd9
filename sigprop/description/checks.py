"""What makes a description a network: every check names what came and what would be accepted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sigprop.description.structure import Structure
from sigprop.description.sub_block import WEIGHTS, SubBlock
from sigprop.errors import InputError, near_miss
from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    PositionBias,
    Product,
    Read,
    Scale,
    State,
    Stem,
    Sum,
    Vector,
    Write,
)
from sigprop.language.nodes import Centre, Gate, Modulate, Project, Truncate
from sigprop.language.scalar import evaluate
from sigprop.language.traversal import children, numbers_in, rows_of, tables_in, walk

EMBEDDING = "embedding"
BAND = 1e-9  # rounding of a band's end
READOUTS = ("each", "last", "mean")
ENSEMBLES = ("gaussian", "orthogonal", "uniform")
LINEAR = (Sum, Scale, Normalise, Centre, Project, Truncate)
"""Nodes of reads and rules."""
IN_EXPERTS = (Sum, Scale, Normalise, Linear, Bias, Activate, Product)
"""Nodes of what every expert has of its own."""


def _leaves(
    expression: Vector, allowed: tuple[type, ...], nodes: tuple[type, ...], where: str
) -> None:
    for node in walk(expression):
        if not isinstance(node, allowed + nodes):
            accepted = ", ".join(t.__name__ for t in allowed + nodes)
            raise InputError(
                f"{where}: {type(node).__name__} cannot stand here; accepted: {accepted}"
            )


def check(arch: Structure) -> None:
    """Raise ``InputError`` for the first thing that is wrong with a description."""
    _check_ends(arch)
    for block in arch.sub_blocks:
        _check_branch(block)
        _check_rule(arch, block)
    if not all(0 <= k < len(arch.sub_blocks) for k in arch.kind_table):
        raise InputError(
            f"kinds: {max(arch.kind_table)}; accepted: an index of sub_blocks, 0 to "
            f"{len(arch.sub_blocks) - 1}"
        )
    _check_groups(arch)
    _check_numbers(arch)
    _check_bands(arch)
    _check_tables(arch)
    _check_position_biases(arch)
    _check_gram(arch)


def _check_ends(arch: Structure) -> None:
    """The first lanes, the read-out, the ensemble."""
    for lane in arch.initial:
        _leaves(lane, (Stem,), LINEAR, "initial")
    _leaves(arch.readout.read, (State, Stem), LINEAR, "readout.read")
    for node in walk(arch.readout.branch):
        other = isinstance(node, Read) and node != Read()
        if other or isinstance(node, (Linear, Bias, State, Stem, Write)):
            raise InputError(
                f"readout.branch: {type(node).__name__} cannot stand here; accepted: activations "
                f"of Read()"
            )
    if arch.readout.tokens not in READOUTS:
        raise InputError(
            f"readout={arch.readout.tokens!r}{near_miss(str(arch.readout.tokens), READOUTS)}"
        )
    if arch.ensemble not in ENSEMBLES:
        raise InputError(f"ensemble={arch.ensemble!r}{near_miss(str(arch.ensemble), ENSEMBLES)}")


def _check_branch(block: SubBlock) -> None:
    """Leaves of the branch, names that stand once, its length."""
    dropouts: dict[str, Dropout] = {}
    for node in walk(block.branch):
        if isinstance(node, (State, Stem, Write)):
            raise InputError(
                f"branch: {type(node).__name__} cannot stand here; accepted: expressions in Read"
            )
        if isinstance(node, Read) and node.index >= len(block.reads):
            raise InputError(
                f"branch: Read({node.index}) of {len(block.reads)} reads; accepted: an index from "
                f"0 to {len(block.reads) - 1}"
            )
        if isinstance(node, Dropout) and node is not dropouts.setdefault(node.name, node):
            raise InputError(
                f"branch: dropout {node.name!r} occurs twice; accepted: each mask under a name of "
                f"its own"
            )
        inside = children(node) if not isinstance(node, Attend) else node.legs
        if any(isinstance(child, PositionBias) for child in (*inside, block.branch)):
            raise InputError("branch: PositionBias stands alone; accepted: in Attend.bias")
        if isinstance(node, WEIGHTS) and node is not block.weights[node.weight]:
            raise InputError(
                f"branch: weight {node.weight!r} occurs twice; accepted: each weight once in a "
                f"branch"
            )
    for experts in block.experts.values():
        _leaves(experts.of, (Read,), IN_EXPERTS, f"experts {experts.weight!r}")
    if len(block.scored) > 1:
        raise InputError(
            f"sub-block: {', '.join(block.scored)}: several of Experts and Modulate; accepted: one"
        )
    if any(node.kept_by not in ("", *block.modulators) for node in block.attention):
        raise InputError(
            f"branch: kept_by={block.attention[0].kept_by!r}; accepted: a modulator of the "
            f"sub-block's rule"
        )
    if rows_of(block.branch) != 1:
        raise InputError(
            f"branch: its output has {rows_of(block.branch)} times the width; accepted: 1"
        )


def _check_rule(arch: Structure, block: SubBlock) -> None:
    """Leaves of reads and rule, the lanes that they name, modulators."""
    for read in block.reads:
        _leaves(read, (State, Stem), LINEAR, "reads")
    for lane in block.rule:
        _leaves(lane, (State, Stem, Write), (*LINEAR, Modulate), "rule")
    if block.modulators and (
        not arch.norm_lane or block.reads != (State(0),) or len(block.modulators) > 1
    ):
        raise InputError(
            "rule: Modulate of a state that is not kept normalised; accepted: one, with read = "
            "State(0) and lane 0 a Normalise"
        )
    if len(block.rule) != arch.lanes:
        raise InputError(
            f"rule: {len(block.rule)} lanes where initial has {arch.lanes}; accepted: one "
            f"expression per lane"
        )
    nodes = (node for e in (*block.reads, *block.rule) for node in walk(e))
    lanes = [node.lane for node in nodes if isinstance(node, State)]
    if any(not 0 <= lane < arch.lanes for lane in lanes):
        raise InputError(f"State({max(lanes)}): accepted: a lane from 0 to {arch.lanes - 1}")


def _check_groups(arch: Structure) -> None:
    """What names groups of parameters: a tied head, factors of the tangent kernel."""
    if arch.head.tied and (
        EMBEDDING not in arch.stem_parts
        or arch.head.variance != arch.stem_parts[EMBEDDING].variance
    ):
        raise InputError(
            "head=tied without an embedding of that variance; accepted: words, whose embedding "
            "the head shares"
        )
    for group, factor in arch.sgd_factors.items():
        if group not in arch.groups or not 0 <= factor < math.inf:
            raise InputError(
                f"sgd_factors: {group}={factor}; accepted: a number >= 0 for a group of "
                f"{', '.join(arch.groups)}"
            )


def _used_numbers(arch: Structure) -> set[str]:
    """Names of the numbers that read-out and sub-blocks hold."""
    expressions = [arch.readout.branch, arch.readout.read]
    for block in arch.sub_blocks:
        expressions += [*block.reads, block.branch, *block.rule]
    return {number.name for expression in expressions for number in numbers_in(expression)}


def _check_numbers(arch: Structure) -> None:
    for name in sorted(_used_numbers(arch) - set(arch.numbers)):
        raise InputError(
            f"numbers: no value for {name!r}; accepted: a float or one per application"
        )
    for name, value in arch.numbers.items():
        table = np.asarray(value, dtype=np.float64)
        if table.shape not in ((), (arch.depth,)):
            raise InputError(
                f"{name}: {table.size} values; accepted: one, or one for each of the {arch.depth} "
                f"applications"
            )
        if not np.all(np.isfinite(table)):
            raise InputError(f"{name}={value}: not finite; accepted: a finite number")
    for weight, node in arch.drawn.items():
        gate = isinstance(node, Gate)
        what = node.factor if gate else node.variance
        everywhere = np.broadcast_to(
            np.asarray(evaluate(what, arch.number_tables), dtype=np.float64), (arch.depth,)
        ).tolist()
        for slot, applications in arch.applications_of(weight).items():
            values = {everywhere[a] for a in applications}
            if len(values) > 1 or (min(values) < 0 and not gate):
                about = "value of gate" if gate else "variance of weight"
                raise InputError(
                    f"{about} {weight!r}, slot {slot}: {sorted(values)}; accepted: one "
                    f"number{'' if gate else ' >= 0'}"
                )


def _check_tables(arch: Structure) -> None:
    for table in {table for block in arch.sub_blocks for table in tables_in(block.branch)}:
        shape = table.shape(arch.tokens)
        if table.name not in arch.token_tables:
            raise InputError(
                f"token_tables: no values for {table.name!r}; accepted: numbers of shape {shape}"
            )
        accepted = f"finite numbers of shape {shape}, or one such table for each application"
        try:
            value = np.asarray(arch.token_tables[table.name], dtype=np.float64)
        except ValueError:  # rows or tables of several lengths
            unequal = f"{table.name}: tables of unequal size; accepted: {accepted}"
            raise InputError(unequal) from None
        if value.shape not in (shape, (arch.depth, *shape)) or not np.all(np.isfinite(value)):
            raise InputError(f"{table.name} of shape {value.shape}; accepted: {accepted}")


def _check_position_biases(arch: Structure) -> None:
    """Drawn biases on scores: their buckets, and the heads that they are of."""
    for node in (node for block in arch.sub_blocks for node in block.attention):
        bias, scores = node.drawn_bias, node.scores
        if bias is None:
            continue
        if len(bias.buckets) != arch.tokens:
            raise InputError(
                f"{bias.weight}: buckets of {len(bias.buckets)} x {len(bias.buckets)} tokens; "
                f"accepted: tokens x tokens = ({arch.tokens}, {arch.tokens})"
            )
        if scores.scale == "linear":
            raise InputError(
                f"{bias.weight}: a drawn bias at score_scale=linear, whose fixed number of heads "
                f"does not self-average; accepted: a TokenTable, or score_scale=sqrt"
            )
        if (bias.size, bias.rows) != (scores.head_dim, rows_of(node.query)):
            raise InputError(
                f"{bias.weight}: size={bias.size:g}, rows={bias.rows}; accepted: those of the "
                f"queries, size = head_dim = {scores.head_dim:g}, rows = {rows_of(node.query)}"
            )


def _check_gram(arch: Structure) -> None:
    gram = arch.input_gram
    if (
        gram.ndim != 2
        or gram.shape[0] != gram.shape[1]
        or not np.all(np.isfinite(gram))
        or not np.allclose(gram, gram.T)
    ):
        raise InputError(
            f"input_gram of shape {gram.shape}: accepted: a finite symmetric T x T matrix"
        )
    if (
        np.linalg.eigvalsh(gram).min() < -1e-10 * max(1.0, abs(gram).max())
        or np.diag(gram).min() <= 0
    ):
        raise InputError(
            "input_gram: not positive semi-definite with a positive diagonal; accepted: a "
            "covariance matrix"
        )


def _check_bands(arch: Structure) -> None:
    if any(w <= 0 for w in arch.bands) or not math.isclose(sum(arch.bands), 1.0):
        raise InputError(f"bands={arch.bands}: accepted: positive relative widths that sum to 1")
    for expression in (
        (arch.readout.branch, *(block.branch for block in arch.sub_blocks))
        if len(arch.bands) > 1
        else ()
    ):
        for node in walk(expression):
            if isinstance(node, (Activate, Product, Truncate)) and _bare(node):
                raise InputError(
                    "bands: a branch acts on coordinates of different bands one by one; accepted: "
                    "one that begins with a matrix"
                )
    edges, tables = (
        np.cumsum(arch.bands),
        {name: np.asarray(value, dtype=np.float64) for name, value in arch.numbers.items()},
    )
    for node in arch.truncations:
        fractions: NDArray[np.float64] = (
            np.atleast_1d(evaluate(node.fraction, tables))
            if rows_of(node) == 1 and not any(isinstance(n, Linear) for n in walk(node))
            else np.zeros(0)
        )
        if any(abs(edges - fraction).min() > BAND for fraction in fractions):
            raise InputError(
                f"bands={arch.bands}: a truncation to {max(fractions)} of the coordinates ends "
                f"within one; accepted: bands that end there"
            )


def _bare(expression: Vector) -> bool:
    """Whether it takes the read's coordinates without a matrix in between."""
    return isinstance(expression, Read) or (
        not isinstance(expression, Linear) and any(_bare(child) for child in children(expression))
    )


MOST_APPLICATIONS = 10**6
