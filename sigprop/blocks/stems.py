"""The stem: its Gram, its independent parts, and the head that may share its embedding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sigprop.blocks.parameters import Parameters
from sigprop.description.sub_block import Head, Part
from sigprop.errors import InputError
from sigprop.language.formula import formula

Table = NDArray[np.float64]


def stem_gram(tokens: int, token_cosine: float | None, gram: Table | None) -> Table:
    """The given Gram, else unit variances with a common cosine (T x T)."""
    if gram is not None:
        if len(gram) != tokens and tokens != 1:
            raise InputError(
                f"input_gram has {len(gram)} tokens but tokens={tokens}; accepted: the same number"
            )
        return gram
    if token_cosine is None:
        raise InputError(
            "token_cosine=None; accepted: a number from 0 to 1 (none only beside words or "
            "input_gram, which say it)"
        )
    return (1 - token_cosine) * np.eye(tokens) + token_cosine * np.ones((tokens, tokens))


def stem_parts(p: Parameters) -> Table | dict[str, Part]:
    """The stem's Gram; with words (token ids), an embedding's variance or positions: its
    independent parts.

    embedding: of variance c_we, the inputs' Gram 1 where two tokens are one word, else 0 (without
    ``words`` the given one, as a patch embedding has it); position: of variance c_pe, each token's
    own. Source: 2304.02034, section 2.3.
    """
    words = p.get("words")
    embedding, position = (
        None if p.get(name) is None else stem_variance(name, p[name], p)
        for name in ("c_we", "c_pe")
    )
    if words is None and embedding is None and not position:
        return stem_gram(p["tokens"], p["token_cosine"], p["input_gram"])
    gram = (
        stem_gram(p["tokens"], p["token_cosine"], p["input_gram"])
        if words is None
        else np.equal.outer(words, words).astype(np.float64)
    )
    if words is not None and p["tokens"] != len(words):
        raise InputError(
            f"words: {len(words)} of them but tokens={p['tokens']}; accepted: the same number"
        )
    parts = {"embedding": Part(1.0 if embedding is None else embedding, gram)}
    return parts | ({"position": Part(position, np.eye(len(gram)))} if position else {})


def stem_variance(name: str, given: object, p: Parameters) -> float:
    """A variance of the stem, which has no place in depth: a number, or a formula in
    model_width. Raises ``InputError``."""
    value = formula(name, given).at({"n": p["model_width"]} if p.get("model_width") else {}, 1)
    if np.ndim(value) or value < 0:
        raise InputError(
            f"{name}={given!r}; accepted: a number >= 0, or an expression in n (model_width)"
        )
    return float(value)


def head(p: Parameters, inverse_temperature: bool) -> Head:
    """The head that the parameters ask for. Raises ``InputError``."""
    if p.get("head") == "tied" and p["words"] is None:
        raise InputError(
            "head=tied without words; accepted: words, whose embedding the head shares"
        )
    variance = (
        (1.0 if p["c_we"] is None else stem_variance("c_we", p["c_we"], p))
        if p.get("head") == "tied"
        else p.get("c_head", 1.0)
    )
    return Head(variance, p.get("head") == "tied", p.get("vocabulary"), inverse_temperature)
