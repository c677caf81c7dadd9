"""Pieces that several architectures are built from: resolved numbers, input Grams, slot tables, residual stacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sigprop import rules
from sigprop.activation import Activation, second_moment
from sigprop.architecture import MOST_APPLICATIONS, NORM_EPSILON, Architecture, Part, Readout, SubBlock
from sigprop.errors import InputError
from sigprop.expression import Normalise, State, Stem, Vector
from sigprop.formula import formula
from sigprop.head import Head


def sizes(depth: int, loops: int = 1, sub_blocks: int = 1) -> dict[str, int]:
    """N, L and S = L s; raises when there are more than 10^6 applications."""
    if depth * loops * sub_blocks > MOST_APPLICATIONS:
        raise InputError(f"depth={depth} x loops={loops} x {sub_blocks} sub-blocks > 10^6; accepted: at most 10^6 applications")
    return {"N": loops, "L": depth, "S": depth * sub_blocks}


def looped_slots(sizes: dict[str, int]) -> tuple[int, ...]:
    """slot(a) = a mod S over N S applications: loops outermost; N = 1 is the untied table."""
    return tuple(range(sizes["S"])) * sizes["N"]


def stem_gram(tokens: int, token_cosine: float | None, gram: np.ndarray | None) -> np.ndarray:
    """The given Gram, else unit variances with a common cosine (T x T)."""
    if gram is not None:
        if len(gram) != tokens and tokens != 1:
            raise InputError(f"input_gram has {len(gram)} tokens but tokens={tokens}; accepted: the same number")
        return gram
    if token_cosine is None:
        raise InputError("token_cosine=None; accepted: a number from 0 to 1 (none only beside words or input_gram, which say it)")
    return (1 - token_cosine) * np.eye(tokens) + token_cosine * np.ones((tokens, tokens))


def stem_parts(p: dict[str, Any]) -> Any:
    """The stem's Gram; with words (token ids), an embedding's variance or positions: its independent parts.

    embedding: of variance c_we, the inputs' Gram 1 where two tokens are one word, else 0 (without ``words`` the given one, as
    a patch embedding has it); position: of variance c_pe, each token's own. Source: 2304.02034, section 2.3.
    """
    words = p.get("words")
    embedding, position = (None if p.get(name) is None else stem_variance(name, p[name], p) for name in ("c_we", "c_pe"))
    if words is None and embedding is None and not position:
        return stem_gram(p["tokens"], p["token_cosine"], p["input_gram"])
    gram = stem_gram(p["tokens"], p["token_cosine"], p["input_gram"]) if words is None else np.equal.outer(words, words).astype(np.float64)
    if words is not None and p["tokens"] != len(words):
        raise InputError(f"words: {len(words)} of them but tokens={p['tokens']}; accepted: the same number")
    parts = {"embedding": Part(1.0 if embedding is None else embedding, gram)}
    return parts | ({"position": Part(position, np.eye(len(gram)))} if position else {})


def stem_variance(name: str, given: Any, p: dict[str, Any]) -> float:
    """A variance of the stem, which has no place in depth: a number, or a formula in model_width. Raises ``InputError``."""
    value = formula(name, given).at({"n": p["model_width"]} if p.get("model_width") else {}, 1)
    if np.ndim(value) or value < 0:
        raise InputError(f"{name}={given!r}; accepted: a number >= 0, or an expression in n (model_width)")
    return float(value)


def branch_numbers(activation: Activation, matrices: int, chosen: dict[str, Any], sizes: dict[str, int], gated: bool = False) -> dict[str, Any]:
    """Formulas of c_w, c_x, c_g, c_b: what was chosen, else unit gain, K(1, 1, 1) = 1 (docs/theory.md)."""
    gain = 1 / second_moment(activation)
    defaults = {"c_w": gain} if matrices == 1 else {"c_w": 1.0, "c_x": gain} | ({"c_g": 1.0} if gated else {})
    return variances(defaults | ({"c_b": 0.0} if chosen.get("c_b") is not None else {}), chosen, sizes)


def variances(defaults: dict[str, float], chosen: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    """Formulas of the named variances, as chosen or else by default; raises ``InputError`` for a negative one."""
    numbers = {name: default if chosen.get(name) is None else chosen[name] for name, default in defaults.items()}
    for name, given in numbers.items():
        if (least := float(np.min(resolved(name, given, sizes)))) < 0:
            raise InputError(f"{name}={given!r}: {least} at these sizes; accepted: a variance >= 0")
    return numbers


def resolved(name: str, given: Any, sizes: dict[str, int]) -> Any:
    """The value of a formula at these sizes: a float, or one for each of the N S applications. Raises ``InputError``."""
    return formula(name, given).at(sizes, sizes["N"] * sizes["S"])


def _head(p: dict[str, Any], inverse_temperature: bool) -> Head:
    if p.get("head") == "tied" and p["words"] is None:
        raise InputError("head=tied without words; accepted: words, whose embedding the head shares")
    variance = (1.0 if p["c_we"] is None else stem_variance("c_we", p["c_we"], p)) if p.get("head") == "tied" else p.get("c_head", 1.0)
    return Head(variance, p.get("head") == "tied", p.get("vocabulary"), inverse_temperature)


RULES = {"post": rules.post_norm, "sandwich": rules.sandwich}


class Residual(NamedTuple):
    """How writes join the state: what branches read, the next state (of the k-th kind of sub-block), the first one, the numbers these name (formulas,
    ``sigprop.formula``), and whether the head undoes the norms (``Head``)."""

    read: Vector
    rule: Callable[[int], Vector]
    initial: Vector
    numbers: dict[str, Any]
    inverse_temperature: bool = False


def skip(p: dict[str, Any], size: dict[str, int]) -> Residual:
    """Skip connections with norms where p says (norm, norm_kind, norm_eps, residual_scale, skip_scale)."""
    plain = p["skip_scale"] == 1 and p["norm"] in ("none", "pre")
    (rule,) = RULES[p["norm"]](p["norm_kind"]) if p["norm"] in RULES else rules.additive() if plain else rules.weighted()
    read = Normalise(State(0), p["norm_kind"], NORM_EPSILON) if p["norm"] in ("pre", "sandwich") else State(0)
    scales = {scale: p[scale] for scale in ("residual_scale", "skip_scale")}
    return Residual(read, lambda kind: rule, Stem(), scales | {"norm_eps": p["norm_eps"] or 0.0})


def residual_stack(
    name: str,
    branches: Sequence[Vector],
    numbers: dict[str, Any],
    size: dict[str, int],
    p: dict[str, Any],
    residual: Residual | None = None,
    tables: Mapping[str, Any] | None = None,
) -> Architecture:
    """Residual sub-blocks with these branches in turn, L blocks looped N times; untied is looped with N = 1 (a law, tested).

    numbers: formulas (``sigprop.formula``); p: the user's parameters (tokens, ..., readout); residual: by default ``skip``, with the user's
    parameters; tables: of tokens, by name.
    """
    residual = residual or skip(p, size)
    return Architecture(
        name=name,
        sub_blocks=tuple(SubBlock(residual.read, branch, (residual.rule(kind),)) for kind, branch in enumerate(branches)),
        initial=(residual.initial,),
        slots=looped_slots(size),
        numbers=numbers | residual.numbers,
        token_tables=tables or {},
        input_gram=stem_parts(p),
        head=_head(p, residual.inverse_temperature),
        readout=Readout(p["readout"], Normalise(State(0), p["norm_kind"], NORM_EPSILON) if p.get("final_norm") else State(0)),
        ensemble=p["weights"],
        sizes=size,
        sgd_factors=p.get("sgd_factors") or {},
    )
