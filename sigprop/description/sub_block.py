"""What an architecture is made of: sub-blocks, the read-out, the head, parts of the stem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeGuard, cast

import numpy as np

from sigprop.errors import InputError, short
from sigprop.language.expression import (
    Attend,
    Bias,
    Linear,
    PositionBias,
    Read,
    State,
    Vector,
)
from sigprop.language.nodes import Experts, Gate, Modulate, Sampled
from sigprop.language.traversal import walk
from sigprop.language.vectors import vectors_in

WEIGHTS = (Linear, Bias, Gate, PositionBias)
Weight = Linear | Bias | Gate | PositionBias
"""What holds parameters in a branch."""
Drawn = Weight | Modulate | Experts
"""What has slots."""


@dataclass(frozen=True, init=False)
class SubBlock:
    """One kind of sub-block: r_a = reads(states), f_a = branch(r_a), next states = rule(states,
    f_a).

    reads: expressions in State(j), Stem(), one for each Read(j); branch: expression in Read(j);
    rule: one expression per lane in State(j), Stem(), Write(). One read, one lane: the expression
    itself. reads and rule hold no activation: they are linear, with numbers that may depend on
    norms.
    """

    reads: tuple[Vector, ...]
    branch: Vector
    rule: tuple[Vector, ...]

    def __init__(
        self,
        reads: Vector | Sequence[Vector],
        branch: Vector,
        rule: Vector | Sequence[Vector],
    ):
        found = {
            "reads": _expressions("reads", reads, "one for each Read(j)"),
            "branch": _expressions("branch", branch, "one")[0],
            "rule": _expressions("rule", rule, "one for each lane"),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    @cached_property
    def weights(self) -> dict[str, Weight]:
        """The branch's matrices, biases (of scores, too) and gates by name."""
        return {node.weight: node for node in walk(self.branch) if isinstance(node, WEIGHTS)}

    @cached_property
    def modulators(self) -> dict[str, Modulate]:
        """The rule's modulators by name."""
        return {
            node.weight: node
            for lane in self.rule
            for node in walk(lane)
            if isinstance(node, Modulate)
        }

    @cached_property
    def experts(self) -> dict[str, Experts]:
        """The branch's mixtures of experts by the name of their router."""
        return {node.weight: node for node in walk(self.branch) if isinstance(node, Experts)}

    @cached_property
    def scored(self) -> dict[str, Modulate | Experts]:
        """What acts by scores of tokens, which do not average out: modulators and routers."""
        return self.modulators | self.experts

    @cached_property
    def drawn(self) -> dict[str, Drawn]:
        """All that has slots, by name."""
        return self.weights | self.scored

    @cached_property
    def copies(self) -> dict[str, int]:
        """How many of a weight one slot holds: one for each expert, of weights that several experts
        have."""
        return {
            inside.weight: node.count
            for node in self.experts.values()
            for inside in walk(node.of)
            if isinstance(inside, WEIGHTS) and node.count > 1
        }

    @cached_property
    def sampled(self) -> tuple[Sampled, ...]:
        """The branch's functions without a rule."""
        return tuple(node for node in walk(self.branch) if isinstance(node, Sampled))

    @cached_property
    def attention(self) -> tuple[Attend, ...]:
        """The branch's attention nodes."""
        return tuple(node for node in walk(self.branch) if isinstance(node, Attend))


@dataclass(frozen=True)
class Readout:
    """z = n^-1/2 sum_t sum_a weight v_t . branch(read(states before application a)), v ~ N(0, 1)
    independent.

    tokens: 'each' (independent v_t per token), 'last', 'mean' (one v, weight 1/T); at:
    applications, 0 the stem's output and D (or -1) the last state; branch may hold activations, not
    matrices.
    """

    tokens: str = "each"
    read: Vector = State(0)
    branch: Vector = Read()
    at: tuple[int, ...] = (-1,)

    def gram(self, tokens: int) -> np.ndarray:
        """<g_t, g_s> [T, T] that the read-out hands to the states: v_t for each token, the last
        one, or the mean."""
        if self.tokens == "each":
            return np.eye(tokens)
        weight = np.eye(tokens)[-1] if self.tokens == "last" else np.full(tokens, 1 / tokens)
        return np.outer(weight, weight)


@dataclass(frozen=True)
class Head:
    """Logits zeta_w = n^-1/2 e_w . o_t of words w = 1..V, o_t what the read-out sees of token t.

    variance: C_head, of e's entries (2304.02034, (1.80)); tied: e_w is the word's embedding, so
    that C_head is its variance and a token's own word has, beside that variance, the mean sqrt(n)
    <e_w, o_t> (``logit_contact``; the paper's contact term of order n in the second moment);
    vocabulary: V, which the initial cross-entropy needs; inverse_temperature: whether token t's
    logits are multiplied by e^(s_t), s_t the log of all that norms have divided its state by
    (2606.16112, eq. 18). Raises ``InputError``.
    """

    variance: float = 1.0
    tied: bool = False
    vocabulary: int | None = None
    inverse_temperature: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.variance < math.inf:
            raise InputError(f"c_head={self.variance}; accepted: a number >= 0")
        if self.tied and self.vocabulary is not None:
            raise InputError(
                f"vocabulary={self.vocabulary} at head=tied: the loss has no wide limit, "
                f"logit_contact is the term that grows; accepted: none"
            )
        if self.vocabulary is not None and self.vocabulary < 2:
            raise InputError(f"vocabulary={self.vocabulary}; accepted: at least 2 words")


class Part(NamedTuple):
    """An embedding: a matrix of this variance times its inputs (over their number), whose T x T
    Gram is given (words: one-hot)."""

    variance: float
    gram: Any


def _expressions(name: str, given: object, accepted: str) -> tuple[Vector, ...]:
    """One expression or several as a tuple; raises ``InputError``."""
    several = tuple(cast("list[object]", given)) if isinstance(given, list) else given
    found = (given,) if isinstance(given, Vector) else vectors_in(several)
    if not found:
        raise InputError(
            f"{name}={short(repr(several), 60)}; accepted: vector expressions, {accepted}"
        )
    return found


STEM = "stem"
"""The stem where it has no named parts."""


def _named(gram: object) -> TypeGuard[Mapping[str, tuple[float, object]]]:
    return isinstance(gram, Mapping)


def stem_parts(gram: object, known: Mapping[str, Part]) -> dict[str, Part]:
    """The stem's independent parts: those of a mapping; else the known ones where the Gram is
    their sum; else one, of the Gram. Raises ``InputError``."""
    if not _named(gram):
        given = real("input_gram", gram)
        same = bool(known) and np.array_equal(total(known), given)
        return dict(known) if same else {STEM: Part(1.0, given)}
    return {
        name: Part(
            float(real(f"variance of {name}", c).item()), real(f"input_gram of {name}", inputs)
        )
        for name, (c, inputs) in gram.items()
    }


def total(parts: Mapping[str, Part]) -> Any:
    """The sum of the parts' Grams, each times its variance. Raises ``InputError`` for parts of
    several sizes."""
    shapes = {np.shape(part.gram) for part in parts.values()}
    if len(shapes) > 1:
        raise InputError(
            f"input_gram: parts of shapes {sorted(shapes)}; accepted: one T x T Gram for each, of "
            f"the same tokens"
        )
    return sum(variance * gram for variance, gram in parts.values())


def real(name: str, value: object) -> np.ndarray:
    """The value as a float64 matrix; raises ``InputError`` for what is not real numbers."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} of {array.dtype} entries; accepted: real numbers")
    return np.atleast_2d(np.asarray(array, dtype=np.float64))


def inputs(gram: np.ndarray) -> np.ndarray:
    """A [T, V] with A A^T = gram: one-hot where the Gram is of words, that is of zeros and ones;
    else its symmetric root."""
    words, which = np.unique(gram, axis=0, return_inverse=True)
    one_hot = np.eye(len(words))[which.ravel()]
    if np.array_equal(one_hot @ one_hot.T, gram):
        return one_hot
    values, vectors = np.linalg.eigh(gram)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
