"""One finite network: the description's expressions evaluated on vectors, scanned over
applications."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Key

from sigprop.description.architecture import Architecture
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
    State,
    Stem,
    Sum,
    Vector,
    Write,
)
from sigprop.language.nodes import Centre, Gate, Mix, Modulate, Project, Truncate
from sigprop.language.scalar import Scalar, evaluate
from sigprop.language.scores import DROPPED
from sigprop.language.traversal import group_of, walk
from sigprop.simulations.network.attention import attend
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.matrices import Matrices
from sigprop.simulations.network.trace import Probes, Trace, listen
from sigprop.simulations.network.weights import Shape

Vectors = Float[Array, "T n"]


class _Evaluation:
    """Vector expressions on arrays [T, n]; collects each weight's input, and attention's
    participation, as it goes."""

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
        self.numbers, self.matrices, self.local, self.place, self.probes, self.masks = (
            numbers,
            matrices,
            local,
            place,
            probes,
            masks,
        )
        self.leaves: dict[Vector, Array] = dict(leaves)
        self.dtype = next(iter(self.leaves.values())).dtype
        self.inputs: dict[str, Array] = {}
        self.participation: Array | None = None
        self.norms: dict[Vector, Array] = {}
        self.modulators: dict[str, Array] = {}

    def __call__(self, u: Vector) -> Vectors:
        if u in self.leaves:
            return self.leaves[u]
        match u:
            case Gate(factor, of, weight):
                x = self(of)
                start = jnp.full_like(self.probes[0][weight], 1) * self.number(factor)
                gates = self._probed(weight, start)  # [T, gates]
                return (x.reshape(*gates.shape, -1) * gates[..., None]).reshape(x.shape)
            case Mix(table, of, turned):
                matrix = self.numbers[table.name]
                return jnp.einsum(
                    "ts,sn->tn",
                    matrix.T if turned else matrix,
                    self(of),
                    precision=jax.lax.Precision.HIGHEST,
                )
            case Scale(factor, of):
                return self.number(factor) * self(of)
            case Rescale(factor, of):
                return self.numbers[factor.name][:, None] * self(of)
            case Sum(terms):
                result = self(terms[0])
                for term in terms[1:]:
                    result = result + self(term)
                return result
            case Product(left, right):
                return self(left) * self(right)
            case Activate(activation, of, order):
                return (
                    activation.function(self(of)) if order == 0 else activation.derivative(self(of))
                )
            case Normalise(of, kind, epsilon):
                x = self(of)
                x = x - jnp.mean(x, axis=-1, keepdims=True) if kind == "layer" else x
                square = jnp.mean(x * x, axis=-1, keepdims=True) + self.number(epsilon)
                # of 0: 1
                norm = self.norms[u] = jnp.sqrt(
                    jnp.where(square > 0, square, jnp.ones_like(square))
                )
                return x / norm
            case Truncate(of, fraction, parts):
                x = self(of)
                size = x.shape[-1] // parts
                place = (jnp.arange(x.shape[-1], dtype=jnp.int32) % size).astype(self.dtype) + 0.5
                return jnp.where(place < self.number(fraction) * size, x, jnp.zeros_like(x))
            case Centre(of):
                x = self(of)
                return x - jnp.mean(x, axis=-1, keepdims=True)
            case Project(of, along):
                x, y = self(of), self(along)
                square = (y * y).sum(-1, keepdims=True)
                return (
                    x
                    - (x * y).sum(-1, keepdims=True)
                    / jnp.where(square > 0, square, jnp.ones_like(square))
                    * y
                )
            case Dropout(name, of, rate):
                x = self(of)
                return x * kept(self.masks[name], x.shape, self.number(rate))
            case Attend(query, key, value, scores):
                mask = (
                    None
                    if u.rate is None
                    else functools.partial(kept, self.masks[u], rate=self.number(u.rate))
                )
                cap, base = (
                    None if scalar is None else self.number(scalar) for scalar in (u.cap, u.base)
                )
                bias = None if u.bias is None else self.numbers[u.bias.name]
                if u.kept_by:
                    modulators = self.modulators[u.kept_by]
                    unseen = jnp.where(modulators > 0, 0.0, jnp.full_like(modulators, DROPPED))[
                        None, :
                    ]
                    bias = unseen if bias is None else bias + unseen
                output, self.participation = attend(
                    scores, group_of(u), self(query), self(key), self(value), cap, base, mask, bias
                )
                return output
            case Linear():
                x = self(u.of)
                self.inputs[u.weight] = x
                std = jnp.sqrt(self.number(u.variance) / x.shape[-1])
                product, self.local = self.matrices.apply(self.local, self.place, u.weight, x)
                self.leaves[u] = self._probed(u.weight, std * product)  # pyright: ignore[reportOperatorIssue]  (asked once, wherever it stands)
                return self.leaves[u]
            case Modulate(weight, of):
                return self.modulators[weight][:, None] * self(of)
            case Bias():
                std = jnp.sqrt(self.number(u.variance))
                return self._probed(
                    u.weight,
                    std * self.matrices.bias(u.weight, self.place["slots"][u.weight])[None, :],
                )
        raise TypeError(f"cannot evaluate {u!r}")

    def number(self, scalar: Scalar) -> Float[Array, ""]:
        """A scalar expression's value, in the network's precision."""
        return jnp.asarray(evaluate(scalar, self.numbers), dtype=self.dtype)

    def modulate(self, u: Modulate) -> Float[Array, " T"]:
        """m [T] of what the application reads, 0 where it skips."""
        x = self(Read())
        variance, power, least = (
            self.number(scalar) for scalar in (u.variance, u.power, u.skip_below)
        )
        scores, self.local = self.matrices.apply(self.local, self.place, u.weight, x)
        scores = self._probed(u.weight, jnp.sqrt(variance / x.shape[-1]) * scores)  # pyright: ignore[reportOperatorIssue]
        m = jnp.mean(jax.nn.sigmoid(scores), axis=-1) ** power
        return jnp.where(m < least, jnp.zeros_like(m), m)

    def gain(self, u: Vector, tokens: int) -> Float[Array, " {tokens}"]:
        """[T] log of what ``u`` divided its argument by (0 where it is not a norm)."""
        return (
            jnp.log(self.norms[u][:, 0]) if u in self.norms else jnp.zeros(tokens, dtype=self.dtype)
        )

    def _probed(self, weight: str, x: Float[Array, "#T m"]) -> Float[Array, "T m"]:
        outputs, grams = self.probes
        return listen(x + outputs[weight], grams[weight])


def kept(
    key: Key[Array, ""], shape: tuple[int, ...], rate: Float[Array, ""]
) -> Float[Array, " ..."]:
    """m/(1 - rate) of dropout: 0 with probability ``rate``; the same draws in every precision."""
    keep = 1 - rate
    return jax.random.bernoulli(key, keep.astype(jnp.float32), shape).astype(keep.dtype) / keep


def run(
    arch: Architecture,
    shapes: tuple[Shape, ...],
    stem: Vectors,
    matrices: Matrices,
    state: Any,
    tables: Any,
    probes: Probes,
    key: Key[Array, ""] | None = None,
) -> tuple[Trace, Any]:
    """The network's forward pass on a stem output [T, n], and what state it leaves the matrices in.

    state: ``matrices.start()``; tables: {'kind', 'slots', 'uses', 'numbers'} over applications (and
    others); key: of dropout's masks.
    """
    by_name = {s.name: s for s in shapes}
    own: Any = key  # there where a network has dropout
    stem = stem + probes.stem
    first = {name: table[0] for name, table in tables["numbers"].items()}
    start = _Evaluation({Stem(): stem}, first)
    lanes = tuple(start(lane) for lane in arch.initial)

    def application(kind: int, lanes: Any, local: Any, x: Any) -> Any:
        block = arch.sub_blocks[kind]
        leaves: dict[Vector, Any] = {
            Stem(): stem,
            **{State(i): lane for i, lane in enumerate(lanes)},
        }
        states = _Evaluation(leaves, x["numbers"])
        reads: dict[Vector, Any] = {Read(k): states(read) for k, read in enumerate(block.reads)}
        dropped = [
            node
            for node in walk(block.branch)
            if isinstance(node, Dropout) or (isinstance(node, Attend) and node.rate is not None)
        ]
        masks = {
            getattr(node, "name", node): jax.random.fold_in(jax.random.fold_in(own, x["step"]), m)
            for m, node in enumerate(dropped)
        }
        branch = _Evaluation(reads, x["numbers"], matrices, local, x, x["probes"], masks)
        branch.modulators = {name: branch.modulate(node) for name, node in block.modulators.items()}
        write = branch(block.branch)
        rule = _Evaluation(leaves | {Write(): write}, x["numbers"])
        rule.modulators = branch.modulators
        inputs = {
            name: branch.inputs.get(name, jnp.zeros(shape, dtype=stem.dtype))
            for name, shape in _input_shapes(arch, by_name).items()
        }
        participation = (
            jnp.zeros(write.shape[:1], dtype=stem.dtype)
            if branch.participation is None
            else branch.participation
        )
        new = tuple(rule(lane) for lane in block.rule)
        modulators = next(
            iter(rule.modulators.values()), jnp.ones(write.shape[:1], dtype=stem.dtype)
        )
        return (
            new,
            branch.local,
            (
                write,
                inputs,
                jax.tree.map(_gram, inputs),
                participation,
                rule.gain(block.rule[0], write.shape[0]),
                modulators,
            ),
        )

    def step(carried: Any, x: Any) -> Any:
        lanes, state = carried
        lanes = (listen(lanes[0] + x["state_probe"], x["gram_probe"]), *lanes[1:])
        local, state = matrices.take(state, x)
        kinds = [functools.partial(application, kind) for kind in range(len(arch.sub_blocks))]
        new, local, left = (
            kinds[0](lanes, local, x)
            if len(kinds) == 1
            else jax.lax.switch(x["kind"], kinds, lanes, local, x)
        )
        return (new, matrices.put(state, x, local)), (lanes, _gram(lanes[0]), _finite(lanes), *left)

    xs = {name: tables[name] for name in ("kind", "slots", "uses", "numbers")}
    xs |= {
        "step": jnp.arange(arch.depth, dtype=jnp.uint32),
        "probes": (probes.outputs, probes.output_grams),
    }
    xs |= {"state_probe": probes.before, "gram_probe": probes.grams[:-1]}
    (
        (final, state),
        (states, grams, finite, writes, inputs, input_grams, participation, gains, modulators),
    ) = jax.lax.scan(step, (lanes, state), xs)
    final = (listen(final[0] + probes.after, probes.grams[-1]), *final[1:])
    taps = []
    for a in arch.readout.at:
        numbers = {name: table[min(a, arch.depth - 1)] for name, table in tables["numbers"].items()}
        at = final if a == arch.depth else [lane[a] for lane in states]
        read = _Evaluation(
            {Stem(): stem, **{State(i): lane for i, lane in enumerate(at)}}, numbers
        )(arch.readout.read)
        taps.append(
            _Evaluation({Read(): read}, numbers)(arch.readout.branch) / len(arch.readout.at)
        )
    every = tuple(jnp.concatenate([s, f[None]]) for s, f in zip(states, final, strict=True))
    grams, finite = (
        jnp.concatenate([grams, _gram(final[0])[None]]),
        jnp.concatenate([finite, _finite(final)[None]]),
    )
    gains = jnp.concatenate([start.gain(arch.initial[0], arch.tokens)[None], gains])
    return Trace(
        every,
        writes,
        inputs,
        jnp.stack(taps),
        participation,
        grams,
        input_grams,
        finite,
        jnp.cumsum(gains, axis=0),
        modulators,
    ), state


def _gram(x: Float[Array, "... T n"]) -> Float[Array, "... T T"]:
    x = jax.lax.stop_gradient(x)
    return dot(x, x)


def _finite(lanes: tuple[Vectors, ...]) -> Bool[Array, ""]:
    """Whether every <h, h> is (it overflows before h does)."""
    return jnp.stack(
        [jnp.isfinite(jax.lax.stop_gradient((lane * lane).sum(-1))).all() for lane in lanes]
    ).all()


def _input_shapes(arch: Architecture, shapes: dict[str, Shape]) -> dict[str, tuple[int, int]]:
    """The input of every matrix, [T, n_in] (biases have none)."""
    return {
        name: (arch.tokens, shapes[name].shape[1])
        for name, node in arch.weights.items()
        if isinstance(node, Linear)
    }
