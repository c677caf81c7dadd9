"""What comes back to a unit through matrices that were asked before, and through coefficients that
are functions of averages: overlaps of gradients with what the forward pass left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.language.expression import Vector
from sigprop.language.traversal import walk
from sigprop.theory.calculus.by_band import over_bands
from sigprop.theory.calculus.transpose import Cotangent, Transposed
from sigprop.theory.gaussian import field
from sigprop.theory.recursion.units.behind import Pulling
from sigprop.theory.recursion.units.coefficients import Kind, through_reads, through_rule
from sigprop.theory.recursion.units.drawing import Traced
from sigprop.theory.recursion.units.pulled import Cotangents, Pulled, together
from sigprop.theory.recursion.units.records import Tables
from sigprop.theory.recursion.units.unit import Given


class Questions(NamedTuple):
    """What a matrix was asked forward, by every step that shares it with this one (Q of them, some
    blank): its inputs and outputs of the unit and of members [1 + M, Q, K C, T]; root [Q, T, Q, T]:
    the Cholesky factor of C <phi, phi'>, rows of 0 where blank."""

    inputs: Any
    outputs: Any
    root: Any


Asked = Callable[[Transposed, Pulled, Any], Questions]


def draw_back(
    env: Any,
    turned: list[Vector | None],
    cotangents: dict[str, Vector],
    pulling: Pulling,
    kind: Kind,
    x: Any,
    asked: Asked,
) -> Traced:
    """Draw what comes back through a branch's matrices at the unit of ``env``. turned: the branch's
    transposed Jacobian, by read; cotangents {weight: d of its output}; kind, x: the forward step,
    and the step's slice; asked: a matrix's questions."""
    unit, tracing = env.unit, pulling.tracing
    given, tracing = tracing.blank(), tracing._replace(factors=dict(tracing.factors))
    to_lanes, to_write = through_rule(kind, x, pulling)
    unit.cotangent = pulling.delta.main[0]
    added = to_write / x["back_scale"][None, None] * (1 - x["tap"])
    unit.rests[Cotangent()] = pulling.delta.rest[:, 0] + added
    tops = [y for y in (*turned, *cotangents.values()) if y is not None]
    nodes = [u for y in tops for u in reversed(list(walk(y))) if isinstance(u, Transposed)]
    for node in dict.fromkeys(nodes):  # those inside others first
        unit.values[node] = tracing.draw(node, env)
        unit.rests[node] = _rest(node, unit, asked(node, unit, env), env)
    for name, d in cotangents.items():
        if name in given:
            both = unit.both(d, env)
            given[name] = Given(both.own, both.members)
    like = unit.both(Cotangent(), env)
    parts = [like if y is None else unit.both(y, env) for y in turned]
    zeros = [y is None for y in turned]
    main = jnp.stack([0 * p.main if no else p.main for p, no in zip(parts, zeros, strict=True)])
    rest = jnp.stack(
        [0 * p.rest if no else p.rest for p, no in zip(parts, zeros, strict=True)], axis=1
    )
    y = Cotangents(main, rest)
    beside = to_lanes, through_reads(kind, x, pulling, y)
    return Traced(y, given, tracing.factors, None, beside)


def asking(x: Any, inputs: dict[str, Vector], tables: Tables | None) -> Asked:
    """Return what gives a matrix's questions at a step. inputs {weight: what it is given}; tables:
    None where no step shares a weight."""

    def alone(node: Transposed, unit: Pulled, env: Any) -> Questions:
        phi = unit.forward(inputs[node.weight], env)
        w = together(unit.outputs[node.weight], unit.members.outputs[node.weight])
        root = field.cholesky(x["grams"][node.weight])[None, :, None, :]
        return Questions(phi[:, None], w[:, None], root)

    def of_all(node: Transposed, unit: Pulled, env: Any) -> Questions:
        assert tables is not None
        name, own, others = node.weight, tables.unit, tables.members
        phi = together(own.given[name], jnp.moveaxis(others.given[name], 1, 0))
        w = together(own.outputs[name], jnp.moveaxis(others.outputs[name], 1, 0))
        tied = _sharing(x, name, own.write.shape[0])
        return Questions(phi, w, jnp.einsum("qtps,q->qtps", tables.factors[name], tied))

    return alone if tables is None else of_all


def _sharing(x: Any, weight: str, steps: int) -> Float[Array, " Q"]:
    """Return 1 for the steps that share a weight with this one, itself among them, else 0."""
    tied = (jnp.arange(steps) == x["forward_step"]).astype(jnp.float64)
    for at, ties in (("earlier", "ties_earlier"), ("later", "ties_later")):
        tied = tied.at[x[at]].max(x[ties][weight], mode="drop")
    return tied


def _rest(node: Transposed, unit: Pulled, questions: Questions, env: Any) -> Float[Array, "B KC T"]:
    """Return sum_l phi_l A_l of a matrix's transpose (``pulled``)."""
    d, z = unit.both(node.of, env), unit.values[node]
    phi, (_, asked, _, tokens) = questions.inputs, questions.inputs.shape
    out, into, units = unit.weight(node.of, env), unit.weight(node, env), unit.bands.units
    widths, bands = unit.bands.widths, unit.bands.count
    o = d.by_band(unit.bands).overlap("nkcs,nqkct->kqts", units(questions.outputs), out)
    o = over_bands(widths, o, 0) / (len(d.main) // bands)
    n = jnp.einsum("qkct,kcs->kqts", units(phi[0]), units(z)) / (len(z) // bands)
    n = over_bands(widths, into[:, None, None, None] * n, 0)
    size = asked * tokens
    right = (float(node.ratio.value) * o - n).reshape(size, tokens)
    a = solved(questions.root.reshape(size, size), right).reshape(-1, tokens, tokens)
    a = a * jnp.reshape(jnp.asarray(env.number(node.variance, "a")), (1, 1, 1))
    return jnp.einsum("nqct,qts->ncs", phi, a)


def solved(root: Float[Array, "S S"], right: Float[Array, "S T"]) -> Float[Array, "S T"]:
    """Return x with root root^T x = right, of a lower root, in the span of rows that do not depend
    on those before (others have 0 on its diagonal)."""
    empty = jnp.diagonal(root) == 0
    lower = root + jnp.diag(jnp.where(empty, 1.0, 0.0))
    kept = jnp.where(empty, 0.0, 1.0)[:, None]
    half = kept * jax.scipy.linalg.solve_triangular(lower, kept * right, lower=True)
    return kept * jax.scipy.linalg.solve_triangular(lower.T, half, lower=False)
