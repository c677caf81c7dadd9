"""Blocks of attention, MLP or both from a transformer's parameters: what the registered ones
share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from sigprop.blocks import branches
from sigprop.blocks.parameters import Given, Numbers, Parameters, Sizes
from sigprop.blocks.residual import Join, Lanes, residual_stack, skip
from sigprop.blocks.rules import modulator
from sigprop.blocks.variances import branch_numbers, initialised, resolved, variances
from sigprop.description.architecture import Architecture
from sigprop.description.family import sizes
from sigprop.errors import InputError
from sigprop.language.expression import Normalise, Vector
from sigprop.language.scores import Scores
from sigprop.language.traversal import walk

TOKENS = 3  # unless the inputs say


def stack(
    name: str,
    loops: int | None = None,
    join: Callable[[Parameters, Sizes], Join] = skip,
    **p: Any,
) -> Architecture:
    """Blocks of attention, MLP or both; untied is looped with N = 1 (a law, tested). join:
    (parameters, sizes) -> how branches meet the state (``Join``)."""
    p = Given(initialised(Given(p)))
    said = [len(p[name]) for name in ("words", "input_gram") if p[name] is not None]
    p["tokens"] = p["tokens"] or (said[0] if said else TOKENS)
    kinds = {"attention": ["attention"], "mlp": ["mlp"]}.get(p["block"], ["attention", "mlp"])
    size = sizes(p["depth"], loops or 1, 1 if p["block"] == "parallel" else len(kinds)) | (
        {"n": p["model_width"]} if p.get("model_width") else {}
    )
    joined = join(p, size)
    check_norm(p.get("norm", ""), joined, len(kinds))
    dropout: Numbers = {"dropout": p["dropout"]} if p["dropout"] > 0 else {}
    parts = [
        _attention(p, size, k) if kind == "attention" else _mlp(p, size)
        for k, kind in enumerate(kinds)
    ]
    built = [joined.branch(kind, part.branch) for kind, part in zip(kinds, parts, strict=True)]
    if p["block"] == "parallel":
        built = [built[0] + built[1]]
    numbers = dropout | {name: value for part in parts for name, value in part.numbers.items()}
    tables = _given_tables(p) | {name: t for part in parts for name, t in part.tables.items()}
    return residual_stack(name, built, numbers, size, p, joined, tables)


def check_norm(norm: str, join: Join, kinds: int) -> None:
    """Raise ``InputError`` where ``norm`` asks for a norm that reads or rules do not have."""

    def normed(expressions: Lanes) -> bool:
        parts = expressions if isinstance(expressions, tuple) else (expressions,)
        return any(isinstance(node, Normalise) for part in parts for node in walk(part))

    where = {"pre": "reads", "post": "rule", "sandwich": "rule"}.get(norm)
    in_reads, in_rules = normed(join.reads), [normed(join.rule(kind)) for kind in range(kinds)]
    if norm == "none" and (in_reads or any(in_rules)):
        raise InputError("norm=none: this network has a norm of its own; accepted: pre")
    there = in_reads if where == "reads" else all(in_rules)
    if where is not None and not there:
        raise InputError(
            f"norm={norm}: the {where} of this network has none; accepted: a norm that it has"
        )


class _Part(NamedTuple):
    """A branch, its numbers, and tables of tokens by name."""

    branch: Vector
    numbers: Numbers
    tables: Mapping[str, object] = {}


def _given_tables(p: Parameters) -> dict[str, object]:
    """The tables of tokens that the parameters hold."""
    names = ("attention_bias", "attention_rescale")
    return {name: p[name] for name in names if p[name] is not None}


def _attention(p: Parameters, size: Sizes, kind: int) -> _Part:
    """Attention as the k-th kind of sub-block."""
    rotary, linear = p["positions"] == "rotary", p["score_scale"] == "linear"
    scores = Scores(
        math.inf if linear else p["head_dim"],
        p["score_scale"],
        p["mask"],
        p["heads"],
        rotary,
        p["qk_norm"],
        p["rotary_dim"],
    )
    shape = shaping(p, size)
    form = None if not shape else "centred" if shape.get("shape_gamma") else "skip"
    branch = branches.attention(
        scores,
        _group(p["heads"], p["kv_heads"], p["score_scale"]),
        p["softcap"] is not None,
        p["dropout"] > 0,
        bias=p["attention_bias"] is not None,
        rescale=p["attention_rescale"] is not None,
        shape=form,
        kept_by=modulator(kind) if p.get("skipped_kv") == "drop" else "",
    )
    numbers = shape | variances(dict.fromkeys(("c_q", "c_k", "c_v", "c_u"), 1.0), p, size)
    numbers |= {"rope_base": p["rope_base"]} if rotary else {}
    numbers |= {"softcap": p["softcap"]} if p["softcap"] is not None else {}
    numbers |= {"c_q": 0.0} if p["score_scale"] == "zero_query" else {}
    allowed = scores.allowed(p["tokens"])
    centre = {"attention_centre": allowed / allowed.sum(axis=1, keepdims=True)}
    return _Part(branch, numbers, centre if form == "centred" else {})


def _mlp(p: Parameters, size: Sizes) -> _Part:
    """The MLP, or as many of them as there are experts."""
    ratio = Fraction(p["mlp_ratio"]).limit_denominator(64)
    experts = _experts(p)
    branch = branches.mlp(p["activation"], 2, p["c_b"] is not None, ratio, p["gated"], experts)
    numbers = branch_numbers(p["activation"], 2, p, size, p["gated"])
    numbers |= {} if experts is None else variances({"c_r": 1.0}, p, size)
    return _Part(branches.dropped("mlp", branch, p["dropout"] > 0), numbers)


def _experts(p: Parameters) -> tuple[int, int] | None:
    """(how many experts there are, how many of them a token is sent to), or None."""
    if p.get("experts") is None:
        return None
    chosen = p["experts_chosen"] or min(2, p["experts"])
    if chosen > p["experts"]:
        raise InputError(f"experts_chosen={chosen}; accepted: at most experts={p['experts']}")
    return p["experts"], chosen


def shaping(p: Parameters, size: Sizes) -> Numbers:
    """Formulas of alpha, beta, gamma of shaped attention (without gamma where it is 0), where p
    has them."""
    found = {
        name: p[name]
        for name in ("shape_alpha", "shape_beta", "shape_gamma")
        if p.get(name) is not None
    }
    return {
        name: given
        for name, given in found.items()
        if name != "shape_gamma" or np.any(resolved(name, given, size))
    }


def _group(heads: int | None, kv_heads: int | None, scale: str) -> int:
    """g = heads / kv_heads, which a ladder of widths keeps."""
    if kv_heads is None:
        if heads is not None and scale != "linear":
            raise InputError(
                f"heads={heads} without kv_heads: heads are the width over head_dim; accepted: "
                f"head_dim, or both for their ratio"
            )
        return 1
    if heads is None:
        raise InputError(
            f"kv_heads={kv_heads} without heads: a fixed number does not self-average; accepted: "
            f"both, of which the ratio is kept"
        )
    if heads % kv_heads:
        raise InputError(f"kv_heads={kv_heads}; accepted: a divisor of heads={heads}")
    return heads // kv_heads
