"""Attention: torch's own function, softmax, scores that are hidden."""

from __future__ import annotations

from typing import Any

from sigprop.modules.lookup import Terms
from sigprop.modules.patterns import numbers_of
from sigprop.modules.terms import UNSEEN, Attention, Fixed, Hidden, Softmax, Term


def softmax(terms: Terms, node: Any) -> Term:
    rank = len(node.meta["val"].shape)
    if node.args[1] % rank != rank - 1:
        return terms.unknown(node)
    return Softmax(node, terms.term(node.args[0]))


def masked_fill(terms: Terms, node: Any) -> Term:
    """Scores of keys that are not seen, filled with -inf or nearly so."""
    of, mask, value = node.args
    return _hidden(terms, node, of, mask, value, seen=False)


def where(terms: Terms, node: Any) -> Term:
    """Scores of keys that are seen, -inf or nearly so elsewhere."""
    mask, of, value = node.args
    return _hidden(terms, node, of, mask, value, seen=True)


def _hidden(terms: Terms, node: Any, of: Any, mask: Any, value: Any, *, seen: bool) -> Term:
    low, booleans = terms.number(value), terms.term(mask)
    if low is None or low > UNSEEN or not isinstance(booleans, Fixed):
        return terms.unknown(node)
    return Hidden(node, terms.term(of), booleans, seen)


def attention(terms: Terms, node: Any) -> Term:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, node.args, strict=False)) | node.kwargs
    head_dim = given["query"].meta["val"].shape[-1]
    scale = given.get("scale")
    mask = given.get("attn_mask")
    table = None if mask is None else terms.term(mask)
    if table is not None and not isinstance(table, Fixed):
        table = numbers_of(mask, table)
        if table is None:
            return terms.unknown(node)
    if given.get("dropout_p", 0.0) > 0:
        return terms.unknown(node)
    return Attention(
        node,
        *(terms.term(given[name]) for name in names[:3]),
        scale=head_dim**-0.5 if scale is None else float(scale),
        causal=bool(given.get("is_causal", False)),
        masks=() if table is None else (table,),
        cap=None,
        head_dim=head_dim,
    )
