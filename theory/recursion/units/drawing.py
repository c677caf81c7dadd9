"""What a unit is random through: its outputs of matrices and biases, drawn step by step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from sigprop.description.sub_block import SubBlock
from sigprop.language.expression import Bias, Linear, Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.by_band import Bands
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import Transposed
from sigprop.theory.gaussian import field
from sigprop.theory.recursion.units.sizes import inputs
from sigprop.theory.recursion.units.unit import Given, Reads, Unit

Drawn = Linear | Bias | Transposed


class Tracing(NamedTuple):
    """What a step is given of the unit that is traced. t: its weight; bands, with Grams of what
    they read; reads; normals {matrix or bias: [P, K C, T]}; step; partners [U] and earlier {matrix:
    [U, K C, T]} of steps that share a weight; factors {matrix or bias: L [P, T, P, T]}, empty where
    none does; grams {matrix or bias: [T, T]}, of outputs drawn at the step; exact: of orthogonal
    matrices the unit's outputs at partners {matrix: [U, C, T]} (None where no weight is shared)."""

    t: Any
    bands: Bands
    reads: Reads
    normals: dict[str, Any]
    step: Any
    partners: Any
    earlier: dict[str, Given]
    factors: dict[str, Any]
    grams: dict[str, Any]
    exact: dict[str, Any] = {}

    def draw(self, node: Drawn, env: Any) -> Float[Array, "KC T"]:
        """Draw the unit's output of a matrix, its transpose or a bias."""
        own = env.block(inner(node, "a", node, "a", env), "a", "a")[0]
        row, factor = None, self.factors.get(node.weight)
        if factor is not None:
            blocks = env.block(inner(node, "a", node, "b", env), "a", "b")
            row = jnp.zeros((factor.shape[0], *own.shape), dtype=own.dtype)
            row = row.at[self.partners].set(blocks, mode="drop")
        output, factor = field.scores(self.step, self.normals[node.weight], own, row, factor)
        if factor is not None:
            self.factors[node.weight] = factor
        self.grams[node.weight] = own
        return output

    def beside(self, env: Any, block: SubBlock, readout: bool) -> Traced:
        """Put the unit into an environment; what a step leaves of it."""
        env.unit = Unit(self.t, self.bands, self.reads, self.earlier, exact=self.exact)
        return draw(env, block.branch, self, readout)

    def blank(self) -> dict[str, Given]:
        """Return zeros of what the unit gives to every weight."""
        return {
            name: Given(*(jnp.zeros_like(part[0]) for part in earlier))
            for name, earlier in self.earlier.items()
        }


class Traced(NamedTuple):
    """What a step leaves of the unit. write [W, K, T]: the branch's output; given {weight: its
    input [K C, T]}; factors: with this step's rows; mean [W, K, T]: of the other units' writes;
    seen: what the reversed pass is given of it."""

    write: Any
    given: dict[str, Given]
    factors: dict[str, Any]
    mean: Any
    seen: Any = ()

    def remembered(self, tables: dict[str, Any], p: Any) -> dict[str, Any]:
        """Return what later steps look up, with this step's entries."""
        given = {
            name: Given(*(t.at[p].set(v) for t, v in zip(parts, self.given[name], strict=True)))
            for name, parts in tables["given"].items()
        }
        found = {"given": given, "factors": self.factors}
        if "outputs" in tables:  # of orthogonal matrices, forward
            kept = tables["outputs"].items()
            found["outputs"] = {name: t.at[p].set(self.seen[1][name]) for name, t in kept}
        return found


def draw(env: Any, branch: Vector, tracing: Tracing, readout: bool) -> Traced:
    """Draw the outputs of a branch's matrices at the unit of ``env``."""
    unit, like = env.unit, tracing.reads.unit[0]
    given, tracing = tracing.blank(), tracing._replace(factors=dict(tracing.factors))
    like_gram = jnp.zeros((like.shape[1], like.shape[1]), dtype=like.dtype)
    tracing = tracing._replace(grams=dict.fromkeys(tracing.normals, like_gram))
    outputs = {name: jnp.zeros_like(z[0]) for name, z in tracing.normals.items()}
    nodes = [node for node in walk(branch) if isinstance(node, (Linear, Bias))]
    for node in dict.fromkeys(reversed(nodes)):  # those inside others first
        unit.outputs[node.weight] = outputs[node.weight] = tracing.draw(node, env)
        if isinstance(node, Linear) and node.weight in tracing.exact:
            unit.variances[node.weight] = env.number(node.variance, "a")
            env.memo.clear()  # its Gram is another from here on (``isometric``)
    for name, of in inputs(branch, readout).items():
        if name in given:
            given[name] = Given(unit.value(of, env), unit.mean(of, env))
    write = jnp.broadcast_to(unit.value(branch, env), like.shape)[None]
    mean = jnp.broadcast_to(unit.mean(branch, env), like.shape)[None]
    seen = tracing.reads, outputs, write[0], tracing.grams
    return Traced(write, given, tracing.factors, mean, seen)
