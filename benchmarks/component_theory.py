"""Our values of the table's single-head attention and softmax: the theory's own rules of one
layer, over sampled heads."""

from __future__ import annotations

import functools
import math
from typing import Any

import component_layers as layers
import jax
import jax.numpy as jnp
import numpy as np
from component_samples import HEAD_DIM

import sigprop as sp
from sigprop.language.expression import State, Write
from sigprop.language.scores import Scores
from sigprop.theory.attention import draws as sampling
from sigprop.theory.attention import mixing
from sigprop.theory.attention.draws import draws
from sigprop.theory.attention.heads import Form, Leg
from sigprop.theory.attention.sampling import expectation
from sigprop.theory.recursion.kernels import kernels
from sigprop.theory.recursion.passes import GRADIENTS

# replicates of sampled heads (few would stop early by luck), and the error they are to reach
LEAST_SEEDS, MOST_SEEDS, THEORY = 8, 800, 0.015
sampling.FEWEST = 2  # heads a replicate; `error` says what is left

Values = dict[str, float]


@functools.partial(jax.jit, static_argnums=(1,))
def _one_replicate(points: Any, tokens: int, cosine: Any, score: Any) -> Any:
    """{dropout: {quantity: mean over heads}} at unit input variance: the theory's forward and
    backward rules of one layer, on the same heads."""
    gram = ((1 - cosine) * jnp.eye(tokens) + cosine)[None]
    zero, apart = jnp.zeros(1), 1 - jnp.eye(tokens)
    query, key = (
        Leg(score * gram, score * gram, score * gram, zero, zero),
        Leg(gram, gram, gram, zero, zero),
    )

    def sums(head: Any) -> Any:
        found = {}
        for drop in layers.DROPOUT:
            odds = jnp.full((1, 1, 1), drop / (1 - drop)) if drop else None
            out = mixing.forward(head, gram, odds)["forward"]
            found[drop] = {
                "variance": jnp.trace(out[0])[None] / tokens,
                "covariance": (out * apart[None]).sum((1, 2)) / tokens / (tokens - 1),
            }
            for kind, delta in (
                ("independent", jnp.eye(tokens)[None]),
                ("common", jnp.ones((1, tokens, tokens))),
            ):
                legs = mixing.backward(head, gram, delta, odds)
                found[drop][kind] = (
                    jnp.trace((legs["value"] + score * delta * legs["query"] + legs["key"])[0])[
                        None
                    ]
                    / tokens
                )
        return found

    return expectation(Scores(HEAD_DIM), Form(), points, query, key, True, sums)


def attention_theory(
    tokens: int, cosine: float, score: float
) -> dict[float, tuple[Values, Values]]:
    """{dropout: (values, standard errors over seeds)} at unit input variance: variances scale with
    it, gradients do not.

    Seeds are added until every error is below ``THEORY`` of its value: where tokens are alike and
    scores large, few heads carry much.
    """
    one: list[Any] = []
    while True:
        # float32 is far below the error
        points = jnp.asarray(draws(Scores(HEAD_DIM), tokens, len(one)), dtype=jnp.float32)
        replicate = _one_replicate(points, tokens, jnp.float32(cosine), jnp.float32(score))
        one.append(jax.tree.map(lambda x: float(x[0]), replicate))
        found = {drop: _over([r[drop] for r in one]) for drop in layers.DROPOUT}
        settled = all(
            error[k] < THEORY * mean["variance" if k == "covariance" else k]
            for mean, error in found.values()
            for k in mean
        )
        if len(one) >= (LEAST_SEEDS if settled else MOST_SEEDS):
            return found


def check_against_a_network(tokens: int = 8, cosine: float = 0.7, score: float = 4.0) -> None:
    """The layer's rules as used here and as predictions of a network use them are the same
    numbers."""
    points = jnp.asarray(draws(Scores(HEAD_DIM), tokens, 0))
    for drop in layers.DROPOUT:
        here = jax.tree.map(
            lambda x: float(x[0]),
            _one_replicate(points, tokens, jnp.float64(cosine), jnp.float64(score)),
        )[drop]
        for kind, readout in (("independent", "each"), ("common", "mean")):
            whole = sp.architectures.transformer(
                block="attention",
                norm="none",
                tokens=tokens,
                token_cosine=cosine,
                head_dim=HEAD_DIM,
                c_q=score,
                dropout=drop,
            )
            branch = whole.sub_blocks[0].branch
            branch = branch.of if drop else branch  # type: ignore[attr-defined]  (the paper drops attention weights, not the output)
            block = sp.SubBlock(State(0), branch, (Write(),))
            layer = sp.Architecture(
                "layer",
                (block,),
                [0],
                whole.numbers,
                input_gram=whole.input_gram,
                readout=sp.Readout(readout),
            )
            whole_pass = kernels(layer, seed=0, reach=GRADIENTS)
            own = np.diag(whole_pass.gradients[0]) * np.exp(2 * whole_pass.gradient_log[0])
            there = float(own.mean()) * (tokens**2 if readout == "mean" else 1)
            if abs(there / here[kind] - 1) > 1e-9:
                raise SystemExit(
                    f"the layer of {kind} gradients at dropout {drop}: {here[kind]} here, {there} "
                    f"from the network"
                )


def softmax_theory(tokens: int, cosine: float, score: float) -> tuple[Values, Values]:
    """Variance of an entry, (E sum Omega^2)/T - 1/T^2, and of its gradient, E tr(J J^T)/T, for
    Gaussian logits."""
    scores = Scores()
    gram = jnp.asarray(layers.exchangeable(tokens, 1.0, cosine))[None]
    zero = jnp.zeros(1)
    query, key = (
        Leg(score * gram, score * gram, score * gram, zero, zero),
        Leg(gram, gram, gram, zero, zero),
    )

    def sums(h: Any) -> Any:
        powers = [(h.omega_a**m).sum(-1) for m in (2, 3)]
        return {
            "variance": powers[0].mean(-1).sum(0),
            "gradient_variance": (powers[0] - 2 * powers[1] + powers[0] ** 2).mean(-1).sum(0),
        }

    found = [
        expectation(
            scores, Form(), jnp.asarray(draws(scores, tokens, seed)), query, key, True, sums
        )
        for seed in range(LEAST_SEEDS)
    ]

    def scale(one):
        return {
            "variance": float(one["variance"][0]) / tokens - tokens**-2,
            "gradient_variance": float(one["gradient_variance"][0]) / tokens,
        }

    return _over([scale(one) for one in found])


def _over(found: list[Values]) -> tuple[Values, Values]:
    def error(x):
        return float(np.std(x, ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.inf

    return {key: float(np.mean([f[key] for f in found])) for key in found[0]}, {
        key: error([f[key] for f in found]) for key in found[0]
    }
