"""The value of every node on vectors [T, n]: a function each, found by the node's type.

What has no function here cannot be measured; theory's rules stand in ``theory.calculus.rules``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    TokenTable,
    Vector,
)
from sigprop.language.nodes import Centre, Experts, Gate, Mix, Modulate, Ones, Project, Truncate
from sigprop.language.scalar import Scalar, evaluate
from sigprop.language.scores import DROPPED
from sigprop.language.traversal import group_of
from sigprop.simulations.network.attention import Legs, attend, heads_of
from sigprop.simulations.network.trace import listen

Vectors = Float[Array, "*E T n"]
"""Of every token; within experts, of every expert and token."""
Node = TypeVar("Node", bound=Vector)


class Evaluation:
    """Vector expressions on arrays [T, n]; collects each weight's input, and attention's
    participation, as it goes.

    leaves: the values of leaves; numbers: of this application; matrices, local, place: where
    weights come from (``matrices.Matrices``); probes: (zeros added to weights' outputs, those that
    listen to Grams); masks: keys of dropout.
    """

    def __init__(
        self,
        leaves: dict[Vector, Vectors],
        numbers: Any,
        matrices: Any = None,
        local: Any = None,
        place: Any = None,
        probes: Any = None,
        masks: Any = None,
    ):
        self.numbers, self.matrices, self.local, self.place = numbers, matrices, local, place
        self.probes, self.masks = probes, masks
        self.leaves: dict[Vector, Array] = dict(leaves)
        self.dtype = next(iter(self.leaves.values())).dtype
        self.inputs: dict[str, Array] = {}
        self.participation: Array | None = None
        self.norms: dict[Vector, Array] = {}
        self.modulators: dict[str, Array] = {}
        self.copies: dict[str, int] = {}  # of weights that experts have: vectors are [E, T, n]

    def __call__(self, u: Vector) -> Vectors:
        if u in self.leaves:
            return self.leaves[u]
        if type(u) not in VALUES:
            raise TypeError(f"cannot evaluate {u!r}")
        return VALUES[type(u)](self, u)

    def number(self, scalar: Scalar) -> Float[Array, ""]:
        """A scalar expression's value, in the network's precision."""
        return jnp.asarray(evaluate(scalar, self.numbers), dtype=self.dtype)

    def times(self, weight: str, x: Vectors, variance: Scalar) -> Float[Array, "*E T m"]:
        """W x, W_ij ~ N(0, variance / n_in) of the application's slot."""
        std = jnp.sqrt(self.number(variance) / x.shape[-1])
        product, self.local = self.matrices.apply(self.local, self.place, weight, x)
        return self.probed(weight, std * product)

    def apart(self, weight: str, x: Float[Array, "*given T n"]) -> Vectors:
        """x for each of the matrices that one slot holds: [E, T, n] where experts have them."""
        copies = self.copies.get(weight)
        return x if copies is None or x.ndim > 2 else jnp.broadcast_to(x, (copies, *x.shape))

    def bias(self, weight: str) -> Float[Array, "*E n_out"]:
        """A bias of variance 1, or those of all experts."""
        slot, copies = self.place["slots"][weight], self.copies.get(weight)
        if copies is not None:
            slot = slot * copies + jnp.arange(copies)
        return self.matrices.bias(weight, slot)

    def modulate(self, u: Modulate) -> Float[Array, " T"]:
        """m [T] of what the application reads, 0 where it skips."""
        power, least = self.number(u.power), self.number(u.skip_below)
        scores = self.times(u.weight, self(Read()), u.variance)
        m = jnp.mean(jax.nn.sigmoid(scores), axis=-1) ** power
        return jnp.where(m < least, jnp.zeros_like(m), m)

    def gain(self, u: Vector, tokens: int) -> Float[Array, " {tokens}"]:
        """[T] log of what ``u`` divided its argument by (0 where it is not a norm)."""
        return (
            jnp.log(self.norms[u][:, 0]) if u in self.norms else jnp.zeros(tokens, dtype=self.dtype)
        )

    def probed(self, weight: str, x: Float[Array, "*E #T m"]) -> Float[Array, "*E T m"]:
        """x with the probe of a weight's output added."""
        outputs, grams = self.probes
        return listen(x + outputs[weight], grams[weight])


Value = Callable[[Evaluation, Any], Vectors]
VALUES: dict[type[Vector], Value] = {}


def value(node: type[Node]) -> Callable[[Callable[[Evaluation, Node], Vectors]], Value]:
    """Decorator: the value of a node."""

    def add(function: Callable[[Evaluation, Node], Vectors]) -> Value:
        VALUES[node] = function
        return function

    return add


@value(Scale)
def _scale(at: Evaluation, u: Scale) -> Vectors:
    return at.number(u.factor) * at(u.of)


@value(Sum)
def _sum(at: Evaluation, u: Sum) -> Vectors:
    result = at(u.terms[0])
    for term in u.terms[1:]:
        result = result + at(term)
    return result


@value(Product)
def _product(at: Evaluation, u: Product) -> Vectors:
    return at(u.left) * at(u.right)


@value(Activate)
def _activate(at: Evaluation, u: Activate) -> Vectors:
    phi = u.activation.function if u.order == 0 else u.activation.derivative
    return phi(at(u.of))


@value(Linear)
def _linear(at: Evaluation, u: Linear) -> Vectors:
    x = at.inputs[u.weight] = at.apart(u.weight, at(u.of))
    # asked once, wherever it stands
    at.leaves[u] = at.times(u.weight, x, u.variance)
    return at.leaves[u]


@value(Bias)
def _bias(at: Evaluation, u: Bias) -> Vectors:
    drawn = at.bias(u.weight)[..., None, :]
    return at.probed(u.weight, jnp.sqrt(at.number(u.variance)) * drawn)


@value(Ones)
def _ones(at: Evaluation, u: Ones) -> Vectors:
    return jnp.ones_like(at(Read()))


@value(Normalise)
def _normalise(at: Evaluation, u: Normalise) -> Vectors:
    x = at(u.of)
    x = x - jnp.mean(x, axis=-1, keepdims=True) if u.kind == "layer" else x
    square = jnp.mean(x * x, axis=-1, keepdims=True) + at.number(u.epsilon)
    # of 0: 1
    norm = at.norms[u] = jnp.sqrt(jnp.where(square > 0, square, jnp.ones_like(square)))
    return x / norm


@value(Dropout)
def _dropout(at: Evaluation, u: Dropout) -> Vectors:
    x = at(u.of)
    return x * kept(at.masks[u.name], x.shape, at.number(u.rate))


@value(Rescale)
def _rescale(at: Evaluation, u: Rescale) -> Vectors:
    return at.numbers[u.factor.name][:, None] * at(u.of)


@value(Mix)
def _mix(at: Evaluation, u: Mix) -> Vectors:
    table = at.numbers[u.table.name]
    matrix = table.T if u.turned else table
    return jnp.einsum("ts,sn->tn", matrix, at(u.of), precision=jax.lax.Precision.HIGHEST)


@value(Gate)
def _gate(at: Evaluation, u: Gate) -> Vectors:
    x = at(u.of)
    start = jnp.full_like(at.probes[0][u.weight], 1) * at.number(u.factor)
    gates = at.probed(u.weight, start)  # [T, gates]
    return (x.reshape(*gates.shape, -1) * gates[..., None]).reshape(x.shape)


@value(Modulate)
def _modulate(at: Evaluation, u: Modulate) -> Vectors:
    return at.modulators[u.weight][:, None] * at(u.of)


@value(Experts)
def _experts(at: Evaluation, u: Experts) -> Vectors:
    shares = u.shares(at.times(u.weight, at(Read()), u.variance))
    outputs = at(u.of) if u.count > 1 else at(u.of)[None]
    return jnp.einsum("te,etn->tn", shares, outputs, precision=jax.lax.Precision.HIGHEST)


@value(Truncate)
def _truncate(at: Evaluation, u: Truncate) -> Vectors:
    x = at(u.of)
    size = x.shape[-1] // u.parts
    place = (jnp.arange(x.shape[-1], dtype=jnp.int32) % size).astype(at.dtype) + 0.5
    return jnp.where(place < at.number(u.fraction) * size, x, jnp.zeros_like(x))


@value(Centre)
def _centre(at: Evaluation, u: Centre) -> Vectors:
    x = at(u.of)
    return x - jnp.mean(x, axis=-1, keepdims=True)


@value(Project)
def _project(at: Evaluation, u: Project) -> Vectors:
    x, y = at(u.of), at(u.along)
    square = (y * y).sum(-1, keepdims=True)
    over = jnp.where(square > 0, square, jnp.ones_like(square))
    return x - (x * y).sum(-1, keepdims=True) / over * y


@value(Attend)
def _attend(at: Evaluation, u: Attend) -> Vectors:
    rate = None if u.rate is None else at.number(u.rate)
    mask = None if rate is None else functools.partial(kept, at.masks[u], rate=rate)
    cap, base = (None if scalar is None else at.number(scalar) for scalar in (u.cap, u.base))
    legs = Legs(at(u.query), at(u.key), at(u.value))
    bias = _on_scores(at, u, heads_of(u.scores, legs.q.shape[-1]))
    if u.kept_by:
        modulators = at.modulators[u.kept_by]
        unseen = jnp.where(modulators > 0, 0.0, jnp.full_like(modulators, DROPPED))[None, None]
        bias = unseen if bias is None else bias + unseen
    output, at.participation = attend(
        u.scores, group_of(u), legs, cap=cap, base=base, mask=mask, bias=bias
    )
    return output


def _on_scores(at: Evaluation, u: Attend, heads: int) -> Float[Array, "#heads T T"] | None:
    """What is added to the scores of each head: h has the table of kind h mod kinds, or its own
    numbers."""
    if u.bias is None:
        return None
    if isinstance(u.bias, TokenTable):
        table = at.numbers[u.bias.name]
        return table[None] if u.bias.heads is None else jnp.tile(table, (heads // u.kinds, 1, 1))
    drawn = at.matrices.bias(u.bias.weight, at.place["slots"][u.bias.weight])
    # a row for every query token, so that gradients by the numbers add over them
    rows = at.probed(u.bias.weight, jnp.sqrt(at.number(u.bias.variance)) * drawn[None])
    rows = rows.reshape(len(rows), heads, -1)
    chosen = jnp.take_along_axis(rows, jnp.asarray(u.bias.table)[:, None], axis=2)
    return jnp.moveaxis(chosen, 1, 0)


def kept(
    key: Key[Array, ""], shape: tuple[int, ...], rate: Float[Array, ""]
) -> Float[Array, " ..."]:
    """m/(1 - rate) of dropout: 0 with probability ``rate``; the same draws in every precision."""
    keep = 1 - rate
    return jax.random.bernoulli(key, keep.astype(jnp.float32), shape).astype(keep.dtype) / keep
