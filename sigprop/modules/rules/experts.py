"""Mixtures of experts: tokens that a router sends to matrices of their own, and what comes back.

How a library sorts tokens by expert and puts them back in order is its own affair. What is read off
the graph is which matrices experts have; that the whole is sum_e p_te f_e(x_t), and what p is of
the router's scores, is found by running the graph on scores, with every expert's output given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sigprop.language.nodes import AMONG
from sigprop.modules.lookup import Graph, Terms
from sigprop.modules.terms import Matrix, Routed, Sent, Term, Times, Weight

DRAWS, CLOSE = 3, 1e-4  # of scores that are tried; of float32 sums of numbers of order one
SPREAD = 2.0  # of scores: a softmax over all is then far from one over the chosen


def sent(terms: Terms, node: Any) -> Term:
    """Rows of a tensor, chosen by what depends on parameters."""
    of, given = node.args[:2]
    if len(given) != 1 or given[0] is None:
        return terms.unknown(node)
    return Sent(node, terms.term(of), terms.term(given[0]))


def grouped(terms: Terms, node: Any) -> Term:
    """x W_e, rows of x sorted by expert: W [E, n_in, n_out], a parameter or one turned around."""
    of, weight = node.args[:2]
    w = terms.term(weight)
    if not isinstance(w, Weight) or len(w.shape) != 3:
        return terms.unknown(node)
    experts, columns, rows = weight.meta["val"].shape
    axis = 2 if weight is w.node else 1
    if w.shape[0] != experts or w.shape[axis] != rows or w.shape[3 - axis] != columns:
        return terms.unknown(node)
    return Matrix(node, terms.term(of), w.parameter, None, axis, rows, columns, experts)


def summed(terms: Terms, node: Any) -> Term:
    """The sum over the experts that a token was sent to."""
    of = terms.term(node.args[0])
    product = of.of if isinstance(of, Sent) else of
    sides = (
        [(product.left, product.right), (product.right, product.left)]
        if isinstance(product, Times)
        else []
    )
    for value, share in sides:
        matrices = _experts(value)
        routers = [one for one in _down_to(Matrix, share) if isinstance(one, Matrix)]
        if matrices and len(routers) == 1 and not _experts(share):
            found = _tried(terms, _Mixture(node, product, value, matrices, routers[0]))
            if found is not None:
                return found
    return terms.unknown(node)


class _Mixture(NamedTuple):
    """What may be a mixture: the sum's node, the product of experts' outputs (value) and shares,
    the experts' matrices, the router's."""

    node: Any
    product: Term
    value: Term
    matrices: list[Matrix]
    router: Matrix


def _down_to(kind: type[Term], term: Term) -> list[Term]:
    """A term and what it is computed from, each once, down to terms of a kind, into which nothing
    is looked."""
    found: dict[int, Term] = {}
    left = [term]
    while left:
        one = left.pop()
        if id(one) not in found:
            found[id(one)] = one
            left.extend(() if isinstance(one, kind) else one.inside)
    return list(found.values())


def _experts(term: Term) -> list[Matrix]:
    """The matrices of experts between a term and the tokens sent."""
    return [u for u in _down_to(Sent, term) if isinstance(u, Matrix) and u.experts > 1]


def _tried(terms: Terms, mixture: _Mixture) -> Routed | None:
    """The mixture, if on all scores that are tried the sum is that of a router that is known."""
    graph, router, count = terms.graph, mixture.router, mixture.matrices[0].experts
    tokens = int(np.prod(router.shape[:-1]))
    ends = {one.node.args[2] for one in mixture.matrices}
    places = [one for one in _down_to(Sent, mixture.value) if isinstance(one, Sent)]
    pairs = mixture.value.shape[0]
    chosen = pairs // tokens
    if len(ends) != 1 or len({p.node for p in places}) != 1 or chosen * tokens != pairs:
        return None
    if router.bias is not None or router.rows != count:
        return None
    rows = _Rows(ends.pop(), places[0].node.args[1][0], _side(terms, mixture), mixture.node)
    names = set(AMONG)
    for draw in range(DRAWS):
        scores = SPREAD * np.random.default_rng(draw).standard_normal((tokens, count))
        outputs = np.random.default_rng([draw, 1]).standard_normal((count, tokens))
        given = _ran(graph, rows, {router.node: scores.reshape(router.shape)}, outputs, pairs)
        if given is None:
            return None
        names = {name for name in names if _alike(given, scores, outputs, chosen, name)}
    if len(names) == 0:
        return None
    among = "chosen" if "chosen" in names else "all"
    return Routed(mixture.node, mixture.value, router, count, chosen, among, tuple(places))


class _Rows(NamedTuple):
    """Nodes: up to which row each expert has them; which token each row is; experts' outputs; the
    sum."""

    ends: Any
    tokens: Any
    outputs: Any
    total: Any


def _side(terms: Terms, mixture: _Mixture) -> Any:
    """The node of experts' outputs in the product."""
    given = [n for n in mixture.product.node.args if terms.term(n) is mixture.value]
    return given[0]


def _ran(
    graph: Graph,
    rows: _Rows,
    router: dict[Any, NDArray[np.float64]],
    outputs: NDArray[np.float64],
    pairs: int,
) -> NDArray[np.float64] | None:
    """The graph's sum [T], where expert e gives outputs[e, t] (the same for every feature); None
    where features differ, or where it depends on more than scores and outputs."""
    try:
        return _summed(graph, rows, router, outputs, pairs)
    except LookupError:
        return None


def _summed(
    graph: Graph,
    rows: _Rows,
    router: dict[Any, NDArray[np.float64]],
    outputs: NDArray[np.float64],
    pairs: int,
) -> NDArray[np.float64] | None:
    ends, tokens = (graph.given(node, router).astype(int) for node in (rows.ends, rows.tokens))
    experts = np.searchsorted(ends, np.arange(pairs), side="right")
    if tokens.shape != (pairs,) or experts.max() >= len(outputs):
        return None
    shape = rows.outputs.meta["val"].shape
    value = np.broadcast_to(outputs[experts, tokens][:, None], shape)
    total = graph.given(rows.total, router | {rows.outputs: value})
    total = total.reshape(outputs.shape[1], -1)
    return total[:, 0] if np.allclose(total, total[:, :1], atol=CLOSE) else None


def _alike(
    given: NDArray[np.float64],
    scores: NDArray[np.float64],
    outputs: NDArray[np.float64],
    chosen: int,
    among: str,
) -> bool:
    """Whether the sum is that of experts' outputs by shares of the ``chosen`` largest scores."""
    order, mask = np.argsort(-scores, axis=-1), np.zeros_like(scores)
    np.put_along_axis(mask, order[:, :chosen], 1.0, axis=-1)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    over = weights * mask if among == "chosen" else weights
    shares = weights * mask / over.sum(axis=-1, keepdims=True)
    return bool(np.allclose(given, (shares * outputs.T).sum(axis=-1), atol=CLOSE))
