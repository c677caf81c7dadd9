"""Copies of a network's tokens, one for each output whose gradient is looked at by itself.

Where attention mixes tokens, the gradient of output t comes back to all of them. Over as many
copies of the tokens as there are outputs, none of which sees another, one pass back from one vector
v, at token t of copy t alone, has every output's gradient: the kernel between t and s is what
copies t and s have together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from sigprop.description.architecture import Architecture
from sigprop.description.sub_block import Part, SubBlock
from sigprop.language.expression import Attend, Vector
from sigprop.language.traversal import mapped, tables_in, walk
from sigprop.theory.recursion.tangent import highest, on_scale


def output_by_output(arch: Architecture) -> tuple[Architecture, Float[np.ndarray, "R R"]]:
    """Return a network in which every output's gradient stands by itself, and the Gram over its
    tokens of one read-out vector: copies where outputs depend on several tokens."""
    nodes = [node for block in arch.sub_blocks for node in walk(block.branch)]
    if arch.tokens == 1 or not any(isinstance(node, Attend) for node in nodes):
        return arch, np.ones((arch.tokens, arch.tokens))
    own = np.eye(arch.tokens).ravel()
    return copied(arch), np.outer(own, own)


def copied(arch: Architecture) -> Architecture:
    """Return the network with T copies of its T tokens, of which none attends to another."""
    alone, equal = np.eye(arch.tokens), np.ones((arch.tokens, arch.tokens))
    parts = {
        name: Part(part.variance, np.kron(equal, part.gram))
        for name, part in arch.stem_parts.items()
    }
    axes = {
        table.name: table.axes
        for block in arch.sub_blocks
        for top in (block.branch, *block.reads, *block.rule)
        for table in tables_in(top)
    }
    tables = {
        name: np.kron(alone, value) if axes.get(name) == 2 else np.tile(value, arch.tokens)
        for name, value in ((name, np.asarray(value)) for name, value in arch.token_tables.items())
    }

    def masked(node: Vector) -> Vector:
        node = mapped(node, masked)
        if not isinstance(node, Attend):
            return node
        seen = np.kron(alone, node.scores.allowed(arch.tokens)) > 0
        mask = tuple(tuple(map(bool, row)) for row in seen)
        return replace(node, scores=replace(node.scores, mask=mask))

    blocks = tuple(
        SubBlock(block.reads, masked(block.branch), block.rule) for block in arch.sub_blocks
    )
    gram: Any = np.kron(equal, arch.input_gram)
    return replace(arch, sub_blocks=blocks, stem_parts=parts, input_gram=gram, token_tables=tables)


def between_outputs(
    found: Mapping[str, tuple[Any, Any]], outputs: int
) -> dict[str, tuple[Float[Array, "N T T"], Float[Array, "N T T"]]]:
    """Return {group: (sums, log) [N, T, T]} between outputs, of (products, log) [N, R, R] between
    the tokens of ``output_by_output``."""

    def total(amount: Any, log: Any) -> tuple[Any, Any]:
        shape = (len(amount), outputs, -1, outputs, amount.shape[-1] // outputs)
        amount, log = amount.reshape(shape), log.reshape(shape)
        top = highest(log, amount, (2, 4))
        return on_scale(top[:, :, None, :, None], amount, log).sum(axis=(2, 4)), top

    return {name: total(*value) for name, value in found.items()}
