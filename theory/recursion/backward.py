"""Backward steps of the Gram scan: the same recursion run in reverse, with the transposed rule and
the transposed branch.

With S' = M S + B w and x = rho . S, the gradient by the states is g = M^T g' + rho y (a sum over
reads), where y = (df/dr)^T delta and delta = B . g': the read of the backward step has the forward
step's write coefficients and the other way round. All cotangents are by *mantissas* of the forward
states, so that neither pass overflows: sqrt(n) dz/dh = exp(-log_h) times them. One more lane holds
the read-out vector v, which the taps read.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.description.structure import READOUT
from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Vector
from sigprop.theory.calculus.algebra import over
from sigprop.theory.calculus.environment import Resolution
from sigprop.theory.calculus.log_scale import log_scale
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import Cotangent, transpose
from sigprop.theory.recursion.advance import Grams, Into, Log, Transition
from sigprop.theory.recursion.arrays import ArrayEnvironment
from sigprop.theory.recursion.forward import ForwardKind, by_read, environment
from sigprop.theory.recursion.gram_scan import Partners, Written
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.apart_behind import Returning
from sigprop.theory.recursion.sources.sources import Given, Sourcing
from sigprop.theory.recursion.summary import recall
from sigprop.theory.recursion.units.behind import Pulling
from sigprop.theory.recursion.units.drawing import Traced
from sigprop.theory.recursion.units.overlaps import asking, draw_back
from sigprop.theory.recursion.units.records import Record, of_all_steps
from sigprop.theory.recursion.units.sizes import inputs


class BackwardKind:
    """One kind of sub-block, transposed."""

    def __init__(self, index: int, structure: Structure, resolution: Resolution):
        self.index, self.structure, self.resolution = index, structure, resolution
        self.block: SubBlock = structure.blocks[index]
        self.gradient = transpose(self.block.branch)
        self.groups = tuple(w for names in structure.weights for w in names)
        self.reads, self.writes = 1, structure.reads

    def read(self, x: Any, gram: Grams, log: Log) -> tuple[Float[Array, "1 m K T"], Log]:
        """delta = B . g (an application) or v (a tap)."""
        return x["back_into"][None], log + x["back_unit"][None]

    def write(
        self, x: Any, own: Float[Array, "1 1 T T"], log: Log, partners: Partners | None
    ) -> Written:
        """Grams of y = (df/dr)^T delta of every read, and every weight's gradient products with
        the later steps."""
        env = self._environment(x, own, log, partners)
        turned = [self.gradient.by_read(k) for k in range(self.writes)]
        traced = self._traced(env, x, turned)
        logs = [
            None if y is None else log_scale(y, "a", env) + x["forward_log"][k][None]
            for k, y in enumerate(turned)
        ]
        # what the branch does not read has no scale of its own
        scale = next((one for one in logs if one is not None), log)
        log_y = jnp.concatenate([scale if one is None else one for one in logs])
        own_gram = self._grams(env, turned, "a")[0]
        if self.block.modulators:
            own_gram = own_gram.at[0, 0].add(
                self._modulated(x, own[0, 0], log + x["forward_log"][0][None] - log_y[:1])
            )
        return Written(
            own_gram,
            None if partners is None else self._grams(env, turned, "b"),
            log_y,
            (),
            {group: self._weight(env, group, partners is not None) for group in self.groups},
            traced=traced,
        )

    def shift(self, x: Any, gram: Grams, log: Log) -> Log:
        """Return 0: what comes back has no mean."""
        return jnp.zeros_like(log)

    def _traced(
        self, env: ArrayEnvironment, x: Any, turned: list[Vector | None]
    ) -> Traced | Given | None:
        """Draw what comes back to a unit at this step, where one is traced; put sources in, where
        any are."""
        pulling: Pulling | Sourcing | Returning | None = x.get("tracing")
        if pulling is None:
            return None
        cotangents = {group: d for group in self.groups for _, d in self._uses(group)}
        if isinstance(pulling, (Sourcing, Returning)):
            return pulling.behind(env, turned, cotangents)
        partner = x.get("partner", {})
        env.unit = pulling.pulled(partner.get("given", {}), partner.get("by_band"))
        asked = asking(x, inputs(self.block.branch, False), x.get("asked"))
        kind = ForwardKind(self.index, self.structure, self.resolution, x["widths"])
        return draw_back(env, turned, cotangents, pulling, kind, x, asked)

    def _environment(self, x: Any, own: Any, log: Any, partners: Partners | None) -> Any:
        """Reads and cotangents of the step, and of its later partners, with what the forward
        pass kept of them."""
        reads, cotangents = {("a", "a"): x["forward_read"][:, :, None]}, {("a", "a"): own[0]}
        logs = by_read(x["forward_log"][None], "a")
        logs[Cotangent(), "a"] = log - x["delta_log"][None]
        if partners is not None:
            forward = x["partner"]
            reads["a", "b"] = jnp.moveaxis(forward["reads"], 0, 2)
            cotangents["a", "b"] = partners.reads[:, 0, 0]
            logs |= by_read(forward["logs"], "b")
            logs[Cotangent(), "b"] = partners.logs[:, 0] - forward["delta_log"]
        gaps = {"a": x["forward_gap"][None]} if x.get("forward_gap") is not None else {}
        numbers = partners.numbers if partners is not None else None
        env = environment(
            x,
            self.resolution,
            reads,
            cotangents,
            logs=logs,
            ties="ties_later",
            numbers=numbers,
            gaps=gaps,
        )
        recall(env, self.block.branch, x["summary"][self.index], "a")
        if partners is not None:
            recall(env, self.block.branch, x["partner"]["summary"][self.index], "b")
        return env

    @staticmethod
    def _grams(
        env: ArrayEnvironment, turned: list[Vector | None], j: str
    ) -> Float[Array, "B W W T T"]:
        """<y_k, y_l> [B, W, W, T, T] of this step and place j; 0 where a read is not seen."""

        def gram(y: Vector | None, other: Vector | None) -> Any:
            return env.block(0.0 if None in (y, other) else inner(y, "a", other, j, env), "a", j)  # type: ignore[arg-type]

        return jnp.stack(
            [jnp.stack([gram(y, other) for other in turned], axis=1) for y in turned], axis=1
        )

    @staticmethod
    def _modulated(x: Any, own: Float[Array, "T T"], log: Log) -> Float[Array, "T T"]:
        """Return what comes back through the modulator, w_c dm/dz_c dz/dm: dz/dm = sqrt(n) <g',
        dh'/dm> is of order one at every width. [T, T]; own: <delta, delta> with delta = B g'."""
        return jnp.diag(
            over(jnp.diagonal(own) * x["sensitivity"], x["back_into"][0, 0] ** 2)
            * jnp.exp(2 * log[0])
        )

    def rule(
        self,
        x: Any,
        gram: Grams,
        log: Log,
        cross: Float[Array, "W m K T T"],
        own: Float[Array, "W W T T"],
        write_log: Float[Array, "W T"],
    ) -> tuple[Transition, Into, Log, dict[str, Any]]:
        """M^T and rho, with the lane of v kept while a tap is to come; on the write's scale
        where nothing else is left."""
        largest = jnp.max(write_log, axis=0, keepdims=True)
        common = jnp.where(x["only_tap"], largest, jnp.maximum(log, largest))
        keep, add = (
            jnp.exp(jnp.minimum(log - common, 0.0))[None, None],
            jnp.exp(write_log - common)[None, :, None],
        )
        into = jnp.swapaxes(x["back_reads"], 0, 1)  # [m, W, K, T]
        facts = {}
        if "beside" in x:
            of_rule, of_reads = x["beside"]
            both = jnp.einsum("nikt,t->nikt", of_rule, keep[0, 0, 0]) + jnp.einsum(
                "rnikt,rt->nikt", of_reads, jnp.exp(write_log - common)
            )
            facts["shift"] = jnp.pad(both, ((0, 0), (0, 1), (0, 0), (0, 0)))[None]
        return x["back_transition"] * keep, into * add, common, facts

    def _weight(
        self, env: ArrayEnvironment, group: str, paired: bool
    ) -> tuple[Float[Array, "T T"], Float[Array, " T"]]:
        """([T, T] sum over this step and its later partners of <x, x'> <d, d'>, log [T]) of one
        weight."""
        zero = jnp.zeros_like(env.cotangent("a", "a")[0])
        uses = self._uses(group)
        if not uses:
            return zero, zero[0]
        logs = [self._use_log(env, use, "a") for use in uses]
        log = env.maximum(logs)
        amount = self._products(env, group, "a", log)[0]
        if paired:
            amounts = self._products(env, group, "b", log) * env.tied(group, "a", "b")
            amount = amount + jnp.sum(amounts + jnp.swapaxes(amounts, -1, -2), axis=0)
        return amount, log[0]

    def _uses(self, group: str) -> list[tuple[Vector | None, Vector]]:
        """Return a weight's (input or None for a bias, output cotangent) pairs."""
        if group == READOUT and self.structure.taps(self.index):
            return [(self.block.branch, Cotangent())]
        return self.gradient.uses.get(group, [])

    def _products(self, env: ArrayEnvironment, group: str, j: str, log: Any) -> Any:
        result, uses = jnp.zeros_like(env.cotangent("a", j)), self._uses(group)
        for x, d in uses:
            for x2, d2 in uses:
                cotangents = inner(d, "a", d2, j, env)
                if isinstance(cotangents, int):
                    continue  # proved zero
                if group != READOUT:  # which is a vector v a token, whose gradient is h itself
                    cotangents = env.averaged(group, d, "a", j, cotangents)
                inputs = env.ones("a", j)
                if x is not None and x2 is not None:
                    inputs = env.averaged(group, x, "a", j, inner(x, "a", x2, j, env))
                left = env.left(jnp.exp(self._use_log(env, (x, d), "a") - log))
                right = env.right(
                    jnp.exp(jnp.minimum(self._use_log(env, (x2, d2), j) - log, 600.0))
                )
                result = result + inputs * cotangents * left * right
        return result

    @staticmethod
    def _use_log(env: ArrayEnvironment, use: tuple[Vector | None, Vector], i: str) -> Any:
        x, d = use
        return log_scale(d, i, env) + (
            0 * log_scale(d, i, env) if x is None else log_scale(x, i, env)
        )


class Looking:
    """A backward kind that first looks up its later partners' forward data (the forward pair
    table, transposed)."""

    def __init__(
        self,
        kind: BackwardKind,
        forward: dict[str, Any],
        delta_log: Any,
        coupled: bool,
        members: Record | None,
    ):
        self.kind, self.forward, self.delta_log, self.coupled = kind, forward, delta_log, coupled
        self.members = members
        self.read, self.rule, self.shift = kind.read, kind.rule, kind.shift
        self.reads, self.writes = kind.reads, kind.writes

    def write(self, x: Any, own: Any, log: Any, partners: Any) -> Any:
        if self.coupled:
            x = x | of_all_steps(self.forward, self.members)
            q = jnp.minimum(x["later"], self.delta_log.shape[0] - 1)
            # <x_q, x_p> is kept; its transpose, of reads and of tokens
            reads = jnp.moveaxis(self.forward["pairs"][x["row"], x["column"]], (1, 3), (2, 4))
            by_band = self.forward["by_band"]
            if by_band is not None:
                by_band = jnp.moveaxis(by_band[1][x["row"], x["column"]], (1, 4), (2, 5))
            summary = jax.tree.map(lambda table: table[q], self.forward["summary"])
            x = x | {
                "partner": {
                    "reads": reads,
                    "logs": self.forward["read_log"][q],
                    "delta_log": self.delta_log[q],
                    "summary": summary,
                    "by_band": by_band,
                    "given": jax.tree.map(lambda t: t[q], self.forward["last"].tables.get("given")),
                }
            }
        return self.kind.write(x, own, log, partners)
