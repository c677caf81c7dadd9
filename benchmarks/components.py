"""The component table of 2403.09635, single layers forward and backward: ours, measured, and the paper's formula.

    python benchmarks/components.py [--tokens 32 128 512] [--out docs/components.csv]     (goes on where FILE ends)

linear, relu, gelu, LayerNorm, dropout: two correlated tokens (``component_layers``). softmax and single-head attention (``attention``): T tokens of a
common cosine, head_dim 64, scores of a given variance. Ours comes from ``sigprop.theory``; the measurement samples plain layers of its own, float32,
with its standard error. Gradients are linear in the output gradient's token covariance: at gradient cosine c, (1 - c) times independent ones plus c
times a common one. Prints, by component, how far ours and the paper's formulas are off, and how many points of the paper's are off by over 10 %.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import math
import sys
import time
from pathlib import Path
from typing import Any

import component_layers as layers
import component_paper as paper
import jax
import jax.numpy as jnp
import numpy as np

import sigprop as sp
from sigprop.expression import State, Write
from sigprop.scores import Scores
from sigprop.simulations import random
from sigprop.theory.attention import draws as sampling
from sigprop.theory.attention import mixing
from sigprop.theory.attention.draws import draws
from sigprop.theory.attention.heads import Form, Leg, expectation
from sigprop.theory.kernels import kernels

D = 64
LEAST_SEEDS, MOST_SEEDS, THEORY = 8, 800, 0.015  # replicates of the theory's sampled heads (few would stop early by luck), and the error they are to reach
GRADIENT_COSINES, SCORES = (0.0, 0.5), (0.25, 1.0, 4.0, 9.0)
TOLERANCE = {"softmax": 0.05, "attention": 0.05}  # 2 % otherwise
LEAST, MOST = 24, 6000  # sampled heads
sampling.FEWEST = 2  # heads a replicate; `error` says what is left

Values = dict[str, float]
Point = tuple[float, float, str]  # dropout, input variance, quantity


def fan_in(tokens: int) -> int:
    """Of a sampled layer: gradients are off by about a quarter of tokens/fan_in, 1.6 % here."""
    return max(2048, 16 * tokens)


@functools.partial(jax.jit, static_argnums=(1,))
def _one_replicate(points: Any, tokens: int, cosine: Any, score: Any) -> Any:
    """{dropout: {quantity: mean over heads}} at unit input variance: the theory's forward and backward rules of one layer, on the same heads."""
    gram = ((1 - cosine) * jnp.eye(tokens) + cosine)[None]
    zero, apart = jnp.zeros(1), 1 - jnp.eye(tokens)
    query, key = Leg(score * gram, score * gram, score * gram, zero, zero), Leg(gram, gram, gram, zero, zero)

    def sums(head: Any) -> Any:
        found = {}
        for drop in layers.DROPOUT:
            odds = jnp.full((1, 1, 1), drop / (1 - drop)) if drop else None
            out = mixing.forward(head, gram, odds)["forward"]
            found[drop] = {"variance": jnp.trace(out[0])[None] / tokens, "covariance": (out * apart[None]).sum((1, 2)) / tokens / (tokens - 1)}
            for kind, delta in (("independent", jnp.eye(tokens)[None]), ("common", jnp.ones((1, tokens, tokens)))):
                legs = mixing.backward(head, gram, delta, odds)
                found[drop][kind] = jnp.trace((legs["value"] + score * delta * legs["query"] + legs["key"])[0])[None] / tokens
        return found

    return expectation(Scores(D), Form(), points, query, key, True, sums)


def attention_theory(tokens: int, cosine: float, score: float) -> dict[float, tuple[Values, Values]]:
    """{dropout: (values, standard errors over seeds)} at unit input variance: variances scale with it, gradients do not.

    Seeds are added until every error is below ``THEORY`` of its value: where tokens are alike and scores large, few heads carry much.
    """
    one: list[Any] = []
    while True:
        points = jnp.asarray(draws(Scores(D), tokens, len(one)), dtype=jnp.float32)  # float32 is far below the error
        replicate = _one_replicate(points, tokens, jnp.float32(cosine), jnp.float32(score))
        one.append(jax.tree.map(lambda x: float(x[0]), replicate))
        found = {drop: _over([r[drop] for r in one]) for drop in layers.DROPOUT}
        settled = all(error[k] < THEORY * mean["variance" if k == "covariance" else k] for mean, error in found.values() for k in mean)
        if len(one) >= (LEAST_SEEDS if settled else MOST_SEEDS):
            return found


def check_against_a_network(tokens: int = 8, cosine: float = 0.7, score: float = 4.0) -> None:
    """The layer's rules as used here and as predictions of a network use them are the same numbers."""
    points = jnp.asarray(draws(Scores(D), tokens, 0))
    for drop in layers.DROPOUT:
        here = jax.tree.map(lambda x: float(x[0]), _one_replicate(points, tokens, jnp.float64(cosine), jnp.float64(score)))[drop]
        for kind, readout in (("independent", "each"), ("common", "mean")):
            whole = sp.architectures.transformer(block="attention", norm="none", tokens=tokens, token_cosine=cosine, head_dim=D, c_q=score, dropout=drop)
            branch = whole.sub_blocks[0].branch
            branch = branch.of if drop else branch  # type: ignore[attr-defined]  (the paper drops attention weights, not the output)
            block = sp.SubBlock(State(0), branch, (Write(),))
            layer = sp.Architecture("layer", (block,), [0], whole.numbers, input_gram=whole.input_gram, readout=sp.Readout(readout))
            whole_pass = kernels(layer, seed=0, ntk=False)
            own = np.diag(whole_pass.gradients[0]) * np.exp(2 * whole_pass.gradient_log[0])
            there = float(own.mean()) * (tokens**2 if readout == "mean" else 1)
            if abs(there / here[kind] - 1) > 1e-9:
                raise SystemExit(f"the layer of {kind} gradients at dropout {drop}: {here[kind]} here, {there} from the network")


def softmax_theory(tokens: int, cosine: float, score: float) -> tuple[Values, Values]:
    """Variance of an entry, (E sum Omega^2)/T - 1/T^2, and of its gradient, E tr(J J^T)/T, for Gaussian logits."""
    scores = Scores()
    gram = jnp.asarray(layers.exchangeable(tokens, 1.0, cosine))[None]
    zero = jnp.zeros(1)
    query, key = Leg(score * gram, score * gram, score * gram, zero, zero), Leg(gram, gram, gram, zero, zero)

    def sums(h: Any) -> Any:
        powers = [(h.omega_a**m).sum(-1) for m in (2, 3)]
        return {"variance": powers[0].mean(-1).sum(0), "gradient_variance": (powers[0] - 2 * powers[1] + powers[0] ** 2).mean(-1).sum(0)}

    found = [expectation(scores, Form(), jnp.asarray(draws(scores, tokens, seed)), query, key, True, sums) for seed in range(LEAST_SEEDS)]
    scale = lambda one: {"variance": float(one["variance"][0]) / tokens - tokens**-2, "gradient_variance": float(one["gradient_variance"][0]) / tokens}  # noqa: E731
    return _over([scale(one) for one in found])


def _over(found: list[Values]) -> tuple[Values, Values]:
    error = lambda x: float(np.std(x, ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.inf  # noqa: E731
    return {key: float(np.mean([f[key] for f in found])) for key in found[0]}, {key: error([f[key] for f in found]) for key in found[0]}


@functools.partial(jax.jit, static_argnums=(1, 2))
def attention_heads(key: Any, tokens: int, heads: int, cosine: Any, score: Any) -> dict[Point, Any]:
    """Plain single-head attention, a network a head, at every input variance and dropout: [heads] of every quantity."""
    width = fan_in(tokens)

    def head(key: Any) -> dict[Point, Any]:
        keys = jax.random.split(key, 8)
        normal = lambda i, *shape: random.normal(keys[i], shape)  # noqa: E731  (jax.random's, faster)
        x = jnp.sqrt(1 - cosine) * normal(0, tokens, width) + jnp.sqrt(cosine) * normal(1, 1, width)
        weights = jnp.concatenate([normal(i, width, D) for i in (2, 3, 4)], axis=1) * width**-0.5
        projected, gram = x @ weights, weights.T @ weights
        gradients = {"independent": normal(6, tokens, D), "common": jnp.broadcast_to(normal(7, 1, D), (tokens, D))}
        found = {}
        for drop, variance in itertools.product(layers.DROPOUT, layers.VARIANCES):
            keep = jax.random.bernoulli(keys[5], 1 - drop, (tokens, tokens)).astype(jnp.float32) / (1 - drop)

            def layer(projected: Any, keep: Any = keep, variance: float = variance) -> Any:
                q, k, v = jnp.split(projected, 3, axis=1)
                s = q @ k.T * jnp.sqrt(score) / variance / D**0.5
                return (jax.nn.softmax(s, axis=-1) * keep) @ v

            out, pull = jax.vjp(layer, variance**0.5 * projected)
            between = ((out.sum(0) ** 2).sum() - (out**2).sum()) / D / tokens / (tokens - 1)
            own = {"variance": (out**2).mean(), "covariance": between}
            for kind, g in gradients.items():
                d = pull(g)[0]
                own[kind] = ((d @ gram) * d).sum() / tokens / D  # |d W^T|^2 without d W^T
            found |= {(drop, variance, name): value for name, value in own.items()}
        return found

    return jax.lax.map(head, jax.random.split(key, heads))


@functools.partial(jax.jit, static_argnums=(1, 2))
def softmax_rows(key: Any, tokens: int, count: int, cosine: Any, score: Any) -> dict[str, Any]:
    """Plain softmax of correlated Gaussian logits, and a Gaussian gradient pulled through it: [count] of both."""
    one, two, three = jax.random.split(key, 3)
    normal = lambda k, *shape: jax.random.normal(k, shape, dtype=jnp.float32)  # noqa: E731
    s = jnp.sqrt(score) * (jnp.sqrt(1 - cosine) * normal(one, count, tokens) + jnp.sqrt(cosine) * normal(two, count, 1))
    omega, pull = jax.vjp(lambda s: jax.nn.softmax(s, axis=-1), s)
    return {"variance": omega.var(axis=-1), "gradient_variance": (pull(normal(three, count, tokens))[0] ** 2).mean(axis=-1)}


def measured(draw: Any, most: int, tolerance: float) -> tuple[Any, Any]:
    """(means, standard errors) over chunks until every error is below a quarter of the tolerance (a covariance's, of the variance)."""
    parts: list[dict[Any, np.ndarray]] = []
    while True:
        parts.append({name: np.asarray(value, dtype=np.float64) for name, value in draw(jax.random.fold_in(jax.random.key(0), len(parts))).items()})
        all_ = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        mean, se = {n: float(v.mean()) for n, v in all_.items()}, {n: float(v.std(ddof=1) / math.sqrt(len(v))) for n, v in all_.items()}
        scale = {n: mean[(*n[:-1], "variance") if n[-1] == "covariance" else n] for n in mean}
        count = len(next(iter(all_.values())))
        if count >= most or (count >= LEAST and all(se[n] < tolerance / 4 * scale[n] for n in mean)):
            return mean, se


def attention_rows(tokens: int, cosine: float, score: float) -> list[dict[str, Any]]:
    """Attention at every input variance, dropout and gradient cosine."""
    found, chunk = [], max(8, 4096 // tokens)
    ours = attention_theory(tokens, cosine, score)
    given = [jnp.float32(v) for v in (cosine, score)]
    means, errors = measured(lambda key: attention_heads(key, tokens, chunk, *given), MOST, TOLERANCE["attention"])
    for drop, variance in itertools.product(layers.DROPOUT, layers.VARIANCES):
        theory, error = ours[drop]
        mean, se = ({name: one[drop, variance, name] for name in ("variance", "covariance", "independent", "common")} for one in (means, errors))
        base = {"tokens": tokens, "cosine": cosine, "variance_in": variance, "score_variance": score, "dropout": drop}
        for name in ("variance", "covariance"):
            formula = variance * paper.attention(tokens, score, cosine, drop, fan_in(tokens), 0.0)[name]
            found.append(line("attention", name, base, variance * theory[name], mean[name], se[name], formula, mean["variance"], variance * error[name]))
        for c in GRADIENT_COSINES:
            mix = lambda v, c=c: (1 - c) * v["independent"] + c * v["common"]  # noqa: E731
            noise = math.hypot((1 - c) * se["independent"], c * se["common"])
            formula = paper.attention(tokens, score, cosine, drop, fan_in(tokens), c)["gradient_variance"]
            at = base | {"gradient_cosine": c}
            found.append(line("attention", "gradient_variance", at, mix(theory), mix(mean), noise, formula, mix(mean), mix(error)))
    return found


def softmax_lines(tokens: int, cosine: float, score: float) -> list[dict[str, Any]]:
    """The softmax alone."""
    with jax.enable_x64(True):
        theory, error = softmax_theory(tokens, cosine, score)
    given = [jnp.float32(v) for v in (cosine, score)]
    draw = lambda key: {(name,): value for name, value in softmax_rows(key, tokens, 2048, *given).items()}  # noqa: E731
    mean, se = measured(draw, 2**21, TOLERANCE["softmax"])
    formula = paper.softmax(tokens, score, cosine)
    base = {"tokens": tokens, "cosine": cosine, "score_variance": score}
    return [line("softmax", n, base, theory[n], mean[n,], se[n,], formula[n], mean[n,], error[n]) for n in theory]


def line(
    component: str, quantity: str, base: dict[str, Any], ours: float, mean: float, se: float, formula: float, scale: float, error: float = 0.0
) -> dict[str, Any]:
    """One line of the table; ``_off``: relative to the measured scale (of a covariance: the variance)."""
    off = {"ours_off": (ours - mean) / scale, "paper_off": (formula - mean) / scale, "se_off": se / abs(scale)}
    return {"component": component, "quantity": quantity, **base, "ours": ours, "error": error, "measured": mean, "se": se, "paper": formula, **off}


def report(rows: list[dict[str, Any]]) -> None:
    """By component and quantity: the worst of ours, and how often the paper's formula is over 10 % off."""
    for component, quantity in dict.fromkeys((r["component"], r["quantity"]) for r in rows):
        own = [r for r in rows if (r["component"], r["quantity"]) == (component, quantity)]
        tolerance = TOLERANCE.get(component, 0.02)
        outside, loose = sum(abs(r["ours_off"]) > tolerance for r in own), sum(r["se_off"] > tolerance / 3 for r in own)
        far, worst = sum(abs(r["paper_off"]) > 0.1 for r in own), max(abs(r["ours_off"]) for r in own)
        print(f"{component:10} {quantity:18} {len(own):4} points  ours worst {worst:7.2%}, outside {tolerance:.0%}: {outside}", end="")
        print(f"  loosely measured: {loose}  paper over 10 % off: {far}")


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    """The whole table so far."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for r in rows for key in r)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in r.items()} for r in rows)


def load(path: Path) -> list[dict[str, Any]]:
    """What an earlier run saved of attention and softmax, numbers as numbers."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        found = [{k: v if k in ("component", "quantity") else float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    return [row for row in found if "score_variance" in row]


def main() -> None:
    """Write the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="*", default=[32, 128, 512])
    parser.add_argument("--out", type=Path, default=Path("components.csv"))
    given = parser.parse_args()
    with jax.enable_x64(True):
        check_against_a_network()
    rows = layers.rows(line) + load(given.out)
    done = {(row["tokens"], row["cosine"], row["score_variance"]) for row in rows if "score_variance" in row}
    for tokens, cosine, score in itertools.product(given.tokens, layers.COSINES, SCORES):
        if (tokens, cosine, score) in done:
            continue
        started = time.monotonic()
        rows += attention_rows(tokens, cosine, score) + softmax_lines(tokens, cosine, score)
        save(given.out, rows)
        print(f"T = {tokens}, cosine {cosine}, score variance {score}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    report(rows)


if __name__ == "__main__":
    main()
