"""What a description holds, and what follows from it without asking whether it is a network
(``checks`` asks, ``Architecture`` validates)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sigprop.description.sub_block import Drawn, Head, Part, Readout, SubBlock, Weight
from sigprop.errors import InputError
from sigprop.language.expression import Normalise, Read, State, Stem, Vector
from sigprop.language.formula import Formula
from sigprop.language.nodes import Experts, Modulate, Truncate
from sigprop.language.scalar import Number, evaluate
from sigprop.language.traversal import tables_in, walk

READOUT = "readout"
"""The group of the vectors v."""


@dataclass(frozen=True, eq=False)
class Structure:
    """A network of D applications.

    name         how it is shown
    sub_blocks   the kinds of sub-block
    kinds        length D: which kind each application is (default: cycle through sub_blocks)
    slots        length D: which weight set each application uses, or {weight: length-D table};
                 equal = tied
    numbers      every named number: a float, a formula in N, L, S, l, a, n (text, or a ``Scalar``),
                 or a list for every block or application; kept as floats and length-D tables
    formulas     of every number (``sigprop.language.formula``): what exponents, prescriptions and
                 families read; those of numbers that are replaced are dropped
    token_tables  value of every named ``TokenTable``: of its token shape [T] or [T, T] (of H kinds
                  of heads [H, T, T]), or with one for each application in front
    input_gram   T x T: <w_0[t], w_0[s]>, the Gram of the stem's output; or {part: ``Part``} of
                 independent embeddings, which add
    stem_parts   these parts (one named 'stem' of a Gram alone); where both are given and the parts
                 do not add up to the Gram, the Gram counts
    initial      the lanes before application 0, in Stem()
    readout      a ``Readout``; head: a ``Head``, the logits' variance and vocabulary
    ensemble     of the matrices' entries, all of the same variance: 'gaussian', 'orthogonal'
                 (Haar), 'uniform'; the wide limit is the same
    bands        relative widths of the coordinate bands (one unless widths vary); they sum to 1
    sizes        N, L, S (and n, the parameter model_width), for formulas and for expressions in
                 them
    sgd_factors  {group: Lambda_G}, the factors of groups in the tangent kernel (1 where not named)
    parameters   what the user chose, for tables and JSON
    family       what it is at other depths and loop counts, which exponents are about
    """

    name: str
    sub_blocks: tuple[SubBlock, ...]
    slots: Sequence[int] | Mapping[str, Sequence[int]]
    numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kinds: Sequence[int] | None = None
    token_tables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    input_gram: Any = 1.0
    initial: tuple[Vector, ...] = (Stem(),)
    readout: Readout = Readout()
    head: Head = Head()
    ensemble: str = "gaussian"
    bands: tuple[float, ...] = (1.0,)
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    sgd_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    family: Any = None
    formulas: Mapping[str, Formula] = field(default_factory=dict[str, Formula])
    stem_parts: Mapping[str, Part] = field(default_factory=dict[str, Part])

    @cached_property
    def weights(self) -> dict[str, Weight]:
        """Every matrix, bias and gate by name; each name belongs to one kind of sub-block."""
        return {
            name: node
            for name, node in self.drawn.items()
            if not isinstance(node, (Modulate, Experts))
        }

    @cached_property
    def modulators(self) -> dict[str, Modulate]:
        """Every modulator by name."""
        return {name: node for name, node in self.drawn.items() if isinstance(node, Modulate)}

    @cached_property
    def scored(self) -> dict[str, Modulate | Experts]:
        """Every modulator and every router of experts by name."""
        return {name: node for block in self.sub_blocks for name, node in block.scored.items()}

    @cached_property
    def sampled(self) -> tuple[int, ...]:
        """The applications whose branch has a function without a rule."""
        return tuple(a for a, kind in enumerate(self.kind_table) if self.sub_blocks[kind].sampled)

    @cached_property
    def copies(self) -> dict[str, int]:
        """Weight -> how many of it one slot holds, of those that experts have."""
        return {name: count for block in self.sub_blocks for name, count in block.copies.items()}

    @cached_property
    def drawn(self) -> dict[str, Drawn]:
        """All that has slots by name; each name belongs to one kind of sub-block."""
        found: dict[str, Drawn] = {}
        for block in self.sub_blocks:
            if set(block.drawn) & set(found):
                raise InputError(
                    f"weight {sorted(set(block.drawn) & set(found))[0]!r} occurs in two kinds of "
                    f"sub-block; accepted: names of their own"
                )
            found |= block.drawn
        return found

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups of parameters: weights, the read-out, the stem's parts."""
        return (*self.weights, READOUT, *self.stem_parts)

    @property
    def slot_tables(self) -> Mapping[str, Sequence[int]]:
        """``slots`` as validated: a table for each weight."""
        return self.slots  # type: ignore[return-value]

    @property
    def kind_table(self) -> Sequence[int]:
        """``kinds`` as validated."""
        return self.kinds  # type: ignore[return-value]

    @property
    def depth(self) -> int:
        """D, the number of applications."""
        return len(self.kind_table)

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return len(self.input_gram)

    @property
    def lanes(self) -> int:
        """How many vectors the state holds."""
        return len(self.initial)

    @cached_property
    def gradients_known(self) -> bool:
        """Whether theory has gradients: not through routers, whose Jacobian meets a state that
        holds what they chose, nor through learned modulators whose Jacobian meets states that it
        depends on (tied, attention) or, for covariances, other tokens' (a read-out that they
        share), nor through functions without a rule."""
        if self.sampled:
            return False
        return not self.scored or not (
            len(self.scored) > len(self.modulators)
            or self.tied
            or self.readout.tokens != "each"
            or any(block.attention for block in self.sub_blocks)
        )

    def without_experts(self, what: str) -> None:
        """Raise ``InputError`` where sub-blocks have experts, whose routers' steps have no rule, or
        functions without a rule. what: is about to be done."""
        self.without_sampled(what)
        routers = [name for block in self.sub_blocks for name in block.experts]
        if routers:
            raise InputError(
                f"experts: {what} has no rule for steps of the router {routers[0]!r}; accepted: "
                f"networks without experts"
            )

    def without_sampled(self, what: str) -> None:
        """Raise ``InputError`` where sub-blocks have functions without a rule. what: is about to be
        done."""
        for block in self.sub_blocks:
            for node in block.sampled:
                raise InputError(
                    f"{node.name}: {what} needs more than what it does to Gaussian tokens; "
                    f"accepted: predict, of the forward pass"
                )

    @property
    def contact_known(self) -> bool:
        """Whether theory has a word's contact with its own embedding: where the read-out sees the
        last state, or that state normalised."""
        readout = self.readout
        read = readout.read.of if isinstance(readout.read, Normalise) else readout.read
        return read == State(0) and readout.branch == Read() and readout.at == (self.depth,)

    @property
    def norm_lane(self) -> bool:
        """Whether lane 0 is kept normalised from the stem on, its norm apart."""
        return all(
            isinstance(u, Normalise)
            for u in (self.initial[0], *(block.rule[0] for block in self.sub_blocks))
        )

    @property
    def band_names(self) -> tuple[str, ...]:
        """Of every band of coordinates, first coordinates first."""
        return tuple(f"band {k}" for k in range(1, len(self.bands) + 1))

    @cached_property
    def truncations(self) -> tuple[Truncate, ...]:
        """Every truncation, in reads, branches, rules, the first lanes and the read-out."""
        expressions = [
            e for block in self.sub_blocks for e in (*block.reads, block.branch, *block.rule)
        ]
        every = (node for e in (*self.initial, *expressions, self.readout.read) for node in walk(e))
        return tuple(dict.fromkeys(node for node in every if isinstance(node, Truncate)))

    @cached_property
    def owned(self) -> np.ndarray:
        """[D + 1]: which share of the coordinates each application reads (of the last state:
        what the last application does)."""
        found = np.ones(self.depth)
        for kind, block in enumerate(self.sub_blocks):
            for node in (node for read in block.reads for node in walk(read)):
                if isinstance(node, Truncate):
                    share = np.broadcast_to(
                        np.asarray(evaluate(node.fraction, self.number_tables), dtype=np.float64),
                        (self.depth,),
                    )
                    found = np.where(
                        np.array(self.kind_table) == kind, np.minimum(found, share), found
                    )
        return np.append(found, found[-1])

    @cached_property
    def number_tables(self) -> dict[str, np.ndarray]:
        """Every named number as a float64 array over applications, shape (D,)."""
        return {
            name: np.broadcast_to(np.asarray(value, dtype=np.float64), (self.depth,))
            for name, value in self.numbers.items()
        }

    @cached_property
    def tables_by_application(self) -> dict[str, np.ndarray]:
        """Every token table over applications, [D, T], [D, T, T] or [D, H, T, T], float64."""
        shapes = {
            table.name: table.shape(self.tokens)
            for block in self.sub_blocks
            for table in tables_in(block.branch)
        }
        return {
            name: np.broadcast_to(
                np.asarray(self.token_tables[name], dtype=np.float64), (self.depth, *shape)
            )
            for name, shape in shapes.items()
        }

    @cached_property
    def tied(self) -> bool:
        """Whether any weight is used by more than one application."""
        return any(len(set(slots)) < len(slots) for slots in self._used_slots().values())

    def _used_slots(self) -> dict[str, list[int]]:
        """Per weight, the slots of the applications whose kind holds it."""
        holds = [set(block.drawn) for block in self.sub_blocks]
        return {
            w: [
                s
                for s, k in zip(self.slot_tables[w], self.kind_table, strict=True)
                if w in holds[k]
            ]
            for w in self.drawn
        }

    def applications_of(self, weight: str) -> dict[int, list[int]]:
        """slot -> the applications that use that slot of ``weight``, in order."""
        if weight not in self._applications:
            holds = [weight in block.drawn for block in self.sub_blocks]
            found: dict[int, list[int]] = {}
            for a, (slot, kind) in enumerate(
                zip(self.slot_tables[weight], self.kind_table, strict=True)
            ):
                if holds[kind]:
                    found.setdefault(slot, []).append(a)
            self._applications[weight] = found
        return self._applications[weight]

    @cached_property
    def _applications(self) -> dict[str, dict[int, list[int]]]:
        """What ``applications_of`` found: seconds where there are a million applications."""
        return {}


NORM_EPSILON = Number("norm_eps", r"\epsilon")
