"""A language model: embedding and positions, the description's network, a head, cross-entropy.

    w_0[t] = E[word_t] + P[t]            E [V, n], P [T, n]
    zeta_t = U o_t                       o_t what the read-out sees of token t, U [V, n]; a tied
                                         head is n^-1/2 E
    loss   = mean over sequences and t of -log softmax(zeta_t)[word_(t+1)]

The body is what every engine runs (``network.passes.run``), its factors in the parameters
(``training.trained.bare``). Checked by tests/simulations/learning/ against networks written out by
hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, Key

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError
from sigprop.language.expression import Attend
from sigprop.language.nodes import Gate, Mix
from sigprop.language.traversal import walk
from sigprop.simulations.learning.matrices import Handed, by_application
from sigprop.simulations.network import random
from sigprop.simulations.network.passes import run
from sigprop.simulations.network.trace import Trace, silent, zero_probes
from sigprop.simulations.network.weights import Shape, stored

EMBEDDING, POSITION = "embedding", "position"
Params = dict[str, Any]


class Variances(NamedTuple):
    """Of the entries of E, P and U at the start; head None: tied."""

    embedding: float
    position: float
    head: float | None


def variances(arch: Architecture, width: int) -> Variances:
    """Return what the description says: of its part ``position`` and of the others together;
    where it has no such part, half of the stem's mean square each."""
    square = float(np.mean(np.diagonal(np.asarray(arch.input_gram))))
    part = arch.stem_parts.get(POSITION)
    position = (
        square / 2 if part is None else part.variance * float(np.mean(np.diagonal(part.gram)))
    )
    head = None if arch.head.tied else arch.head.variance / width
    return Variances(square - position, position, head)


def check_causal(arch: Architecture) -> None:
    """Raise ``InputError`` where a token's output depends on later ones."""
    tables = arch.tables_by_application
    for block in arch.sub_blocks:
        for node in walk(block.branch):
            if isinstance(node, Attend) and _above(node.scores.allowed(arch.tokens)):
                raise InputError(
                    "mask: attention looks at later tokens, and the next byte is what is learned; "
                    "accepted: mask=causal"
                )
            if isinstance(node, Mix) and (node.turned or _above(tables[node.table.name])):
                raise InputError(
                    f"table {node.table.name!r} mixes later tokens into earlier ones; "
                    f"accepted: a lower triangular one"
                )


def _above(table: Any) -> bool:
    """Tell if anything of a table [..., T, T] is above the diagonal."""
    return bool(np.triu(np.asarray(table), 1).any())


def start(
    arch: Architecture,
    weights: tuple[Shape, ...],
    width: int,
    key: Key[Array, ""],
    *,
    scales: Params,
    spread: Variances,
    words: int,
) -> tuple[Params, Params]:
    """(The parameters at the start, what is drawn and not trained: learned modulators and
    routers). key: of one network; scales: ``trained.scales``.

    The body's matrices are those of the dense engine's network of that key.
    """
    outside, _, *keys, _ = random.branches(key, 3 + len(weights))
    embedding, position, head = random.branches(outside, 3)
    params: Params = {
        EMBEDDING: spread.embedding**0.5 * random.normal(embedding, (words, width)),
        POSITION: spread.position**0.5 * random.normal(position, (arch.tokens, width)),
    }
    if spread.head is not None:
        params[READOUT] = spread.head**0.5 * random.normal(head, (words, width))
    fixed: Params = {}
    for shape, own in zip(weights, keys, strict=True):
        if isinstance(arch.drawn[shape.name], Gate):
            entries = jnp.ones((shape.slots, *shape.shape), dtype=jnp.float32)
        else:
            entries = stored(own, shape, arch.ensemble)
        if shape.name in arch.weights:
            factor = jnp.repeat(jnp.asarray(scales[shape.name]), shape.copies)
            params[shape.name] = factor.reshape(-1, *(1,) * len(shape.shape)) * entries
        else:
            fixed[shape.name] = entries
    return params, fixed


def forward(
    arch: Architecture,
    weights: tuple[Shape, ...],
    params: Params,
    table: Any,
    words: Int[Array, " T"],
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "T V"], Trace]:
    """(Logits of every token of one sequence, in float32, what the pass leaves). arch: ``bare``;
    params: in the precision to compute in; table: ``trained.tables``; key: of dropout's masks."""
    embedding = params[EMBEDDING]
    width, dtype = embedding.shape[-1], embedding.dtype
    zero = silent(zero_probes(arch, weights, width, dtype))
    gates = [name for name, node in arch.weights.items() if isinstance(node, Gate)]
    # their factor is 0, so this is all they are
    gated = {n: zero.outputs[n] + params[n][table["slots"][n]][:, None] for n in gates}
    trace, _ = run(
        arch,
        weights,
        embedding[words] + params[POSITION],
        Handed(params),
        state=(),
        tables=table | {"weights": by_application(arch, weights, params)},
        probes=zero._replace(outputs=zero.outputs | gated),
        key=key,
    )
    output = trace.taps.sum(axis=0)
    if arch.head.inverse_temperature:
        output = output * jnp.exp(trace.log_norm[-1])[:, None]
    head = params.get(READOUT)
    head = embedding * jnp.asarray(width**-0.5, dtype=dtype) if head is None else head
    logits = jnp.matmul(output, head.T, precision=jax.lax.Precision.HIGHEST)
    return logits.astype(jnp.float32), trace


def cross_entropy(logits: Float[Array, "T V"], following: Int[Array, " T"]) -> Float[Array, " T"]:
    """-log softmax(logits_t)[following_t] of every token, in nats."""
    every = jnp.arange(logits.shape[-1], dtype=following.dtype)
    chosen = jnp.where(every[None] == following[:, None], logits, jnp.float32(0)).sum(axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def loss(
    arch: Architecture,
    weights: tuple[Shape, ...],
    params: Params,
    table: Any,
    batch: Int[Array, "B words"],
    *,
    key: Key[Array, ""] | None = None,
    dtype: str = "float32",
) -> Float[Array, ""]:
    """Mean cross-entropy of the batch [B, T + 1], whose last words are only predicted. params: in
    float32, computed with in ``dtype``; key: of dropout's masks, other ones a sequence."""
    params, table = (_in_precision(tree, dtype) for tree in (params, table))

    def of_one(sequence: Int[Array, " words"], i: Int[Array, ""]) -> Float[Array, " T"]:
        own = None if key is None else jax.random.fold_in(key, i)
        logits, _ = forward(arch, weights, params, table, sequence[:-1], own)
        return cross_entropy(logits, sequence[1:])

    return jax.vmap(of_one)(batch, jnp.arange(len(batch), dtype=jnp.uint32)).mean()


def _in_precision(tree: Any, dtype: str) -> Any:
    """Return the tree with its real arrays in that precision."""

    def cast(x: Any) -> Any:
        return jnp.asarray(x, dtype=dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, tree)
