"""Forward steps of the Gram scan: reads, branches and rules of the description, with numbers
from the calculus."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.description.checks import BAND
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Read
from sigprop.language.nodes import Experts, Modulate
from sigprop.language.scalar import evaluate
from sigprop.theory.calculus.environment import Resolution
from sigprop.theory.calculus.linear import ONES, WRITE, Coefficients, Form, overlap
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner
from sigprop.theory.gaussian.gap_rules import gap as gap_of
from sigprop.theory.recursion.advance import Grams, Into, Log, Transition
from sigprop.theory.recursion.arrays import ArrayEnvironment
from sigprop.theory.recursion.gram_scan import Partners, Written
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.sources import Given, Sourcing
from sigprop.theory.recursion.summary import recall, summarise
from sigprop.theory.recursion.units.drawing import Traced, Tracing


def modulator(node: Modulate, x: Any) -> tuple[Log, Log]:
    """(m, <dm/dr, dm/dr> n) [1, T] of a step, from its scores: 0 where it skips."""
    variance, power, least = (
        evaluate(scalar, x["numbers"]) for scalar in (node.variance, node.power, node.skip_below)
    )

    def of(scores: Any) -> Any:
        m = jnp.mean(jax.nn.sigmoid(jnp.sqrt(variance) * scores), axis=0) ** power
        return jnp.where(m < least, 0.0, m)

    m, pull = jax.vjp(of, x["scores"][: node.directions])
    (slopes,) = pull(jnp.ones_like(m))  # a token's m depends on its own scores only
    return m[None], jnp.sum(slopes**2, axis=0, keepdims=True)


def shares(node: Experts, x: Any) -> Float[Array, "1 T E"]:
    """What a router gives each token's experts at a step, from its scores."""
    scores = jnp.sqrt(evaluate(node.variance, x["numbers"])) * x["scores"][: node.count]
    return node.shares(scores.T)[None]


def numeric_form(
    x: Any, gram: Callable[[int, int], Any], log: Callable[[int], Any], stem: int | None, bands: Any
) -> Form:
    """A ``Form`` on arrays: Gram entries [K, T], logs [1, T]."""
    return Form(
        gram,
        log,
        number=lambda scalar: evaluate(scalar, x["numbers"]),
        stem=stem,
        over_bands=lambda value: jnp.einsum("k,kt->t", bands, value)[None],
        maximum=jnp.maximum,
        modulate=lambda node: x[node.weight] if node.weight in x else modulator(node, x)[0],
        within=lambda fraction: within(bands, evaluate(fraction, x["numbers"])),
        mean=functools.partial(_mean, x) if "means" in x else None,
    )


def _mean(x: Any, leaf: int) -> Float[Array, "K T"]:
    """Return a leaf's mean over coordinates, where a unit is traced."""
    if leaf == ONES:
        return jnp.ones_like(x["means"][0])
    return x["mean_write"] if leaf == WRITE else x["means"][leaf]


def within(bands: Float[Array, " K"], fraction: Any) -> Float[Array, "K 1"]:
    """[K, 1]: 1 for the bands within the first ``fraction`` of the coordinates, else 0."""
    return (jnp.cumsum(bands) <= fraction + BAND).astype(jnp.float64)[:, None]


def dense(
    form: Coefficients, leaves: list[int], shape: tuple[int, int]
) -> Float[Array, "leaves K T"]:
    """Coefficients as an array [len(leaves), K, T]."""
    return jnp.stack(
        [
            jnp.broadcast_to(jnp.asarray(form.get(leaf, 0.0), dtype=jnp.float64), shape)
            for leaf in leaves
        ]
    )


class ForwardKind:
    """One kind of sub-block (or the read-out tap, whose rule leaves the state alone). averaged:
    whether a unit is a part of averages, so that others may have means."""

    def __init__(
        self,
        index: int,
        structure: Structure,
        resolution: Resolution,
        bands: Any,
        blank: list[Any] | None = None,
        averaged: bool = False,
    ):
        self.index, self.structure, self.resolution = index, structure, resolution
        self.bands, self.blank = bands, blank
        self.shifted = averaged and structure.shifted(index)
        self.block: SubBlock = structure.blocks[index]
        self.reads, self.writes = structure.reads, 1

    def read(
        self, x: Any, gram: Grams, log: Log
    ) -> tuple[Float[Array, "R m K T"], Float[Array, "R T"]]:
        """rho and log of r_a = reads(states); of reads that other kinds have, 0."""
        form, lanes = self._form(x, gram, log), list(range(gram.shape[0]))
        reads = [form(read) for read in self.block.reads]
        reads += [({}, reads[0][1])] * (self.reads - len(reads))
        logs = [jnp.broadcast_to(jnp.asarray(r, dtype=jnp.float64), log.shape) for _, r in reads]
        shape = gram.shape[2], gram.shape[3]
        return jnp.stack([dense(c, lanes, shape) for c, _ in reads]), jnp.concatenate(logs)

    def shift(self, x: Any, gram: Grams, log: Log) -> Float[Array, "R T"]:
        """Coefficients of r_a on 1, where a unit is traced: what LayerNorm takes away of a mean."""
        form = self._form(x, gram, log)
        shifts = [form(read)[0].get(ONES, 0.0) for read in self.block.reads]
        shifts += [0.0] * (self.reads - len(shifts))
        return jnp.concatenate([jnp.broadcast_to(shift, log.shape) for shift in shifts])

    def write(
        self,
        x: Any,
        own: Float[Array, "R R T T"],
        log: Float[Array, "R T"],
        partners: Partners | None,
    ) -> Written:
        """Gamma_aa and Gamma_ab of f = branch(r)."""
        branch, env = self.block.branch, self._environment(x, own, log, partners)
        self._note(env, x)
        if partners is not None:
            recall(env, branch, partners.summary[self.index], "b")
        traced = self._traced(env, x)
        gram = env.block(inner(branch, "a", branch, "a", env), "a", "a")
        pairs = None
        if partners is not None:
            crossed = env.block(inner(branch, "a", branch, "b", env), "a", "b")
            pairs = crossed[:, None, None]
        summary = self._among_blanks(summarise(env, branch, "a"))
        participation = jnp.zeros(gram.shape[1:2], dtype=jnp.float64)
        if env.participation is not None and self.block.attention:
            participation = env.participation[0]
        gap = jnp.broadcast_to(gap_of(branch, "a", env), own[0].shape) if env.gaps else None
        return Written(
            gram[None],
            pairs,
            log_scale(branch, "a", env),
            summary,
            {"participation": participation},
            gap,
            traced,
        )

    def _traced(self, env: ArrayEnvironment, x: Any) -> Traced | Given | None:
        """Draw what a unit does at this step, where one is traced; put sources in, where any
        are."""
        tracing: Tracing | Sourcing | None = x.get("tracing")
        if tracing is None:
            return None
        return tracing.beside(env, self.block, self.structure.taps(self.index))

    def _environment(
        self, x: Any, own: Any, log: Any, partners: Partners | None
    ) -> ArrayEnvironment:
        """The environment of a step ('a') and of its partners ('b')."""
        reads, logs = {("a", "a"): own[:, :, None]}, by_read(log[None], "a")
        if partners is not None:
            reads["a", "b"] = jnp.moveaxis(partners.reads, 0, 2)
            logs |= by_read(partners.logs, "b")
        numbers = None if partners is None else partners.numbers
        gaps = {"a": x["gap"][None]} if x.get("gap") is not None else {}
        env = environment(
            x,
            self.resolution,
            reads,
            {},
            logs=logs,
            ties="ties",
            numbers=numbers,
            gaps=gaps,
        )
        env.shifted = self.shifted
        return env

    def _note(self, env: ArrayEnvironment, x: Any) -> None:
        """Note which tokens are kept as keys and values, by their modulators, and what routers
        chose."""
        for node in self.block.experts.values():
            env.values["routed", node, "a"] = shares(node, x)
        for node in self.block.attention:
            if node.kept_by and x.get("scores") is not None:
                m = modulator(self.block.modulators[node.kept_by], x)[0]
                env.values["kept", node, "a"] = (m > 0).astype(jnp.float64)

    def _among_blanks(self, summary: Any) -> Any:
        """Put the summary in its place among those of the other kinds, which are blank."""
        if self.blank is None:
            return summary
        return tuple(summary if k == self.index else blank for k, blank in enumerate(self.blank))

    def rule(
        self,
        x: Any,
        gram: Grams,
        log: Log,
        cross: Float[Array, "1 m K T T"],
        own: Float[Array, "1 1 *K T T"],
        write_log: Log,
    ) -> tuple[Transition, Into, Log, dict[str, Any]]:
        """M, B and the common log of the next lanes (the stem's lane, if there is one, stays),
        lane 0's gain, and of modulators; of <w, w> in every band where a unit is traced."""
        cross, own = cross[0], own[0, 0]
        transition, into, shift, common, gain = self._rule(x, gram, log, cross, own, write_log)
        facts = {"gain": gain, "modulator": jnp.ones_like(log), "sensitivity": jnp.zeros_like(log)}
        if "means" in x:
            facts["shift"] = shift[None]
        for node in self.block.modulators.values():
            m, slope = modulator(node, x)

            def rule(m: Any, name: str = node.weight) -> Any:
                return self._rule(x | {name: m}, gram, log, cross, own, write_log)[:2]

            by_m, by_m_into = jax.jvp(rule, (m,), (jnp.ones_like(m),))[1]
            facts |= {
                "modulator": m,
                "sensitivity": slope * self._square(by_m, by_m_into, gram, cross, own),
            }
        return transition, into[:, None], common, facts

    def _square(self, transition: Any, into: Any, gram: Any, cross: Any, own: Any) -> Any:
        """Return <u, u> [1, T] of lane 0's u = M S + B w."""
        lane = dict(zip([*range(gram.shape[0]), WRITE], [*transition[0], into[0]], strict=True))
        return jnp.einsum(
            "k,kt->t", self.bands, overlap(lane, lane, self._entry({}, gram, cross, own))
        )[None]

    def _rule(
        self, x: Any, gram: Any, log: Any, cross: Any, own: Any, write_log: Any
    ) -> tuple[Any, Any, Any, Any, Any]:
        """M, B, coefficients on 1, the common log and lane 0's gain."""
        lanes, shape = list(range(gram.shape[0])), (gram.shape[2], gram.shape[3])
        form = self._form(x, gram, log, cross, own, write_log)
        results = [form(expression) for expression in self.block.rule]
        if self.structure.stem_lane is not None:
            results.append(({self.structure.stem_lane: 1}, log))
        common = results[0][1]
        for _, own_log in results[1:]:
            common = jnp.maximum(common, own_log)
        common = jnp.broadcast_to(jnp.asarray(common, dtype=jnp.float64), log.shape)
        scaled = [
            {leaf: c * jnp.exp(own_log - common) for leaf, c in coefficients.items()}
            for coefficients, own_log in results
        ]
        gain = jnp.broadcast_to(form.gain(self.block.rule[0]), log.shape)
        return (
            jnp.stack([dense(c, lanes, shape) for c in scaled]),
            jnp.concatenate([dense(c, [WRITE], shape) for c in scaled]),
            jnp.concatenate([dense(c, [ONES], shape) for c in scaled]),
            common,
            gain,
        )

    @staticmethod
    def _entry(x: Any, gram: Any, cross: Any, own: Any) -> Callable[[int, int], Any]:
        """(i, j) -> <leaf_i, leaf_j> [K, T]."""

        def entry(i: int, j: int) -> Any:
            if ONES in (i, j):
                return _mean(x, max(i, j))
            if i == WRITE and j == WRITE:
                diagonal = jnp.diagonal(own, axis1=-2, axis2=-1)
                return jnp.broadcast_to(jnp.atleast_2d(diagonal), (gram.shape[2], gram.shape[3]))
            block = cross[max(i, j)] if WRITE in (i, j) else gram[i, j]
            return jnp.diagonal(block, axis1=-2, axis2=-1)

        return entry

    def _form(
        self, x: Any, gram: Any, log: Any, cross: Any = None, own: Any = None, write_log: Any = None
    ) -> Form:
        """Return the form of a state's lanes, and of its write where one is given."""
        return numeric_form(
            x,
            self._entry(x, gram, cross, own),
            lambda leaf: write_log if leaf == WRITE else log,
            self.structure.stem_lane,
            self.bands,
        )


def by_read(log: Float[Array, "B R T"], place: str) -> dict[Any, Float[Array, "B T"]]:
    """Logs [B, R, T] of a place, by the leaf whose they are."""
    return {(Read(k), place): log[:, k] for k in range(log.shape[1])}


def environment(
    x: Any,
    resolution: Resolution,
    reads: Any,
    cotangents: Any,
    *,
    logs: Any,
    ties: str,
    numbers: Any,
    gaps: Mapping[str, Any],
) -> ArrayEnvironment:
    """Return the array environment of one step ('a') and, where ``numbers`` of its partners are
    given, of those ('b')."""
    at = {"a": {name: value[None] for name, value in x["numbers"].items()}}
    if numbers is not None:
        at["b"] = numbers
    return ArrayEnvironment(
        reads, cotangents, at, lambda weight: x[ties][weight], logs, resolution, gaps
    )
