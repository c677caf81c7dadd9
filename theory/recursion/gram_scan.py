"""The Gram scan: one recursion over steps that serves the forward pass, and read backwards the
backward pass.

    read    x_p = rho_p . S_p (one or several)     R_pq  = <x_p, x_q>
    write   w_p = F(x_p) (one or several)          Gamma_pq = <w_p, w_q>, zero unless p and q share
            a weight
    rule    S_{p+1} = M_p S_p + B_p w_p            S: m lanes

    <w_p, S_{q+1}> = M_q <w_p, S_q> + B_q Gamma_pq         <w_p, S_0> = 0
    <S_{p+1}, S_q> = M_p <S_p, S_q> + B_p <w_p, S_q>

Forward a step writes once; read backwards it writes once for each of its reads. Lanes, bands and
tokens are axes: Grams [m, m, K, T, T], coefficients [m, m, K, T]; R reads and W writes. Every state
carries one log scale a token, and all arrays are mantissas relative to it (true <S_p[t], S_q[s]> =
exp(log_p[t] + log_q[s]) * mantissa). Cost: O(P) steps of vector work where no weight is shared,
O(P) steps over all P columns where some is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from sigprop.theory.calculus.linear import advance
from sigprop.theory.gaussian import field
from sigprop.theory.gaussian.gaps import Pair, joined

BEYOND = 200  # powers of two


class Written(NamedTuple):
    """What a step's writes tell: own [W, W, T, T] and pair [U, W, W, T, T] Grams, log [W, T],
    summary and extra outputs, and where the scan carries gaps its own [1, T, T]."""

    own: Any
    pairs: Any
    log: Any
    summary: Any
    extra: Any
    gap: Any = None


class Partners(NamedTuple):
    """The U partners of a step: read Grams R_pq [U, R, R, T, T], read logs [U, R, T], their
    summaries, numbers {name: [U]}."""

    reads: Any
    logs: Any
    summary: Any
    numbers: Any


class Kind(Protocol):
    """One kind of step; x: the step's slice of the tables; reads, writes: R and W, those of the
    kind that has most."""

    reads: int
    writes: int

    def read(self, x: Any, gram: Any, log: Any) -> tuple[Any, Any]:
        """(rho [R, m, K, T], logs of the reads [R, T])."""
        ...

    def write(self, x: Any, own: Any, log: Any, partners: Partners | None) -> Written:
        """Grams of the writes, from <x_p, x_p> [R, R, T, T]."""
        ...

    def rule(
        self, x: Any, gram: Any, log: Any, cross: Any, own: Any, write_log: Any
    ) -> tuple[Any, Any, Any, dict[str, Any]]:
        """(M [m, m, K, T], B [m, W, K, T], log [1, T], what else is told by name [1, T]) from
        Grams of the states, <S, w> [W, m, K, T, T] and <w, w>."""
        ...


class Gaps(NamedTuple):
    """gap [T, T]: 1 - rho^2 between tokens of the only lane, which nothing but its Gram tells
    otherwise; nudge: what a step's angles are moved by (0: not at all), so that a second run
    says how much they matter."""

    gap: Any
    nudge: Any


class Carry(NamedTuple):
    """gram, log: the state's own; rows [C, m, m, K, T, T]: <S_p, S_c> for tracked boundaries c;
    tables so far; gap, or None."""

    gram: Any
    log: Any
    rows: Any
    tables: dict[str, Any]
    gap: Any = None


def gram_scan(
    kinds: Sequence[Kind],
    tables: dict[str, Any],
    start: Any,
    start_log: Any,
    columns: Any,
    bands: Any,
    coupled: bool,
    summary: Any = (),
    draws: Any = None,
    gaps: Gaps | None = None,
) -> Any:
    """Run the recursion. Returns (gram, log, rows, per-step outputs) at the boundaries 0..P.

    tables: {'kind', 'partners' [P, U], 'step' [P], ...}: what every step is given (its slice is
    ``x``); start: [m, m, K, T, T]; start_log [1, T]; columns [C]: boundaries whose overlap with
    every later state is wanted (coupled: all P + 1); bands [K]: widths; summary: zeros of the
    summaries, for partners (empty: none kept); draws [P, C, T]: of modulators' scores, where there
    are any; gaps: of the start, of one lane in one band, no weight shared.
    """
    steps, reads, writes = tables["step"].shape[0], kinds[0].reads, kinds[0].writes
    lanes, _, n_bands, tokens, _ = start.shape

    def zeros(*shape):
        return jnp.zeros(shape, dtype=jnp.float64)

    kept = {
        "reads": zeros(steps, reads, lanes, n_bands, tokens),
        "logs": zeros(steps, reads, tokens),
        "transition": zeros(steps, lanes, lanes, n_bands, tokens),
        "into": zeros(steps, lanes, writes, n_bands, tokens),
        "summary": jax.tree.map(lambda leaf: zeros(steps, *leaf.shape[1:]), summary),
    }
    if draws is not None and coupled:
        kept["factor"] = zeros(steps, tokens, steps, tokens)
    rows = (
        zeros(columns.shape[0], *start.shape)
        .at[...]
        .set(jnp.where((columns == 0)[:, None, None, None, None, None], start[None], 0.0))
    )

    def step(carry: Carry, x: Any) -> tuple[Carry, Any]:
        p = x["step"]
        rho, read_log = _switch(kinds, x, "read", carry.gram, carry.log)
        own = _contract(rho, rho, carry.gram, bands)
        partners = _partners(carry, x, rho, bands, tables["numbers"]) if coupled else None
        scores, factor = _scores(carry, x, own[0, 0], read_log[0], partners, draws)
        x = x | {"scores": scores, "gap": carry.gap}
        written = _switch(kinds, x, "write", own, read_log, partners)
        # <w_p, S_c> [P + 1, W, m, K, T, T]
        cross_rows: Any = (
            _write_rows(carry.tables, x["partners"], written.pairs) if coupled else None
        )
        cross = (
            cross_rows[p] if coupled else jnp.zeros((writes, *start.shape[1:]), dtype=jnp.float64)
        )
        m, b, log, told = _switch(
            kinds, x, "rule", carry.gram, carry.log, cross, written.own, written.log
        )
        m, b, log = _moderate(m, b, log)
        m, b, log, gram = _normalised(m, b, log, _next_gram(m, b, carry.gram, cross, written.own))
        gap = None if gaps is None else _next_gap(m, b, carry, written, gaps.nudge)
        new = _lanes_first(m, b, carry.rows, cross_rows[columns] if coupled else None)
        new = jnp.where((columns == p + 1)[:, None, None, None, None, None], gram[None], new)
        kept = dict(carry.tables)
        if coupled:
            updates = {"reads": rho, "logs": read_log, "transition": m, "into": b}
            updates["summary"] = (
                jax.tree.map(lambda leaf: leaf[0], written.summary) if summary else ()
            )
            kept = kept | jax.tree.map(
                lambda table, value: table.at[p].set(value),
                {name: kept[name] for name in updates},
                updates,
            )
            kept |= {} if factor is None else {"factor": factor}
        out = {
            "gram": gram,
            "log": log[0],
            "rows": jnp.einsum("k,ckts->cts", bands, new[:, 0, 0]),
            "read": own,
            "read_log": read_log,
            "reads": rho,
            "write": written.own,
            "write_log": written.log,
            "told": {name: value[0] for name, value in told.items()},
            "pairs": partners.reads if partners else None,
            "write_pairs": written.pairs,
            "transition": m,
            "into": b,
            "summary": jax.tree.map(lambda leaf: leaf[0], written.summary),
            "extra": written.extra,
            "read_gap": carry.gap,
            "gap": gap,
        }
        return Carry(gram, log, new, kept, gap), out

    return jax.lax.scan(
        step, Carry(start, start_log, rows, kept, None if gaps is None else gaps.gap), tables
    )[1]


def _next_gap(m: Any, b: Any, carry: Carry, written: Written, nudge: Any) -> Any:
    """Of m h + b w, w (the only write) being independent of h."""
    pairs = []
    for factor, gram, gap in (
        (m[0, 0, 0], carry.gram[0, 0, 0], carry.gap),
        (b[0, 0, 0], written.own[0, 0], written.gap[0]),
    ):
        q = factor * factor * jnp.diagonal(gram)
        pairs.append(Pair(q[:, None], factor[:, None] * factor[None, :] * gram, q[None, :], gap))
    gap, same = joined(pairs).gap, jnp.eye(carry.gap.shape[-1], dtype=bool)
    return jnp.where(same, 0.0, jnp.minimum((jnp.sqrt(gap) + nudge) ** 2, 1.0))


def _switch(kinds: Sequence[Kind], x: Any, method: str, *operands: Any) -> Any:
    branches: list[Callable[..., Any]] = [
        lambda *given, kind=kind: getattr(kind, method)(*given) for kind in kinds
    ]
    return (
        branches[0](x, *operands)
        if len(branches) == 1
        else jax.lax.switch(x["kind"], branches, x, *operands)
    )


def _contract(left: Any, right: Any, gram: Any, bands: Any) -> Any:
    """sum_k width_k sum_ij left_ri[k, t] right_qj[k, s] gram_ij[k, t, s]: [R, R, T, T]."""
    return jnp.einsum("k,rikt,qjks,ijkts->rqts", bands, left, right, gram)


def _partners(carry: Carry, x: Any, rho: Any, bands: Any, numbers: Any) -> Partners:
    q = jnp.minimum(x["partners"], carry.tables["logs"].shape[0] - 1)
    reads = jnp.einsum(
        "k,rikt,uqjks,uijkts->urqts", bands, rho, carry.tables["reads"][q], carry.rows[q]
    )
    summary = jax.tree.map(lambda table: table[q], carry.tables["summary"])
    return Partners(
        reads, carry.tables["logs"][q], summary, {name: table[q] for name, table in numbers.items()}
    )


def _scores(
    carry: Carry, x: Any, own: Any, log: Any, partners: Partners | None, draws: Any
) -> tuple[Any, Any]:
    """The modulators' scores of a step (of its first read), and the factor of all so far."""
    if draws is None:
        return None, None
    scale = jnp.exp(log)
    row = None
    if partners is not None:
        blocks = (
            partners.reads[:, 0, 0]
            * scale[None, :, None]
            * jnp.exp(partners.logs[:, 0])[:, None, :]
            * x["modulated"][:, None, None]
        )
        row = (
            jnp.zeros((draws.shape[0], *own.shape), dtype=jnp.float64)
            .at[x["partners"]]
            .set(blocks, mode="drop")
        )
    return field.scores(
        x["step"], draws, own * scale[:, None] * scale[None, :], row, carry.tables.get("factor")
    )


def _write_rows(tables: dict[str, Any], partners: Any, pairs: Any) -> Any:
    """<w_p, S_c> for every boundary c: the write's overlaps with earlier writes, carried through
    the rules since."""
    steps = tables["logs"].shape[0]
    # [P, W, W, T, T]
    row = (
        jnp.zeros((steps, *pairs.shape[1:]), dtype=jnp.float64).at[partners].set(pairs, mode="drop")
    )
    # [P, W, m, K, T, T]: B_q on q's token
    drive = jnp.einsum("pjvks,pwvts->pwjkts", tables["into"], row)

    def double(level: Any, prefix: Any) -> Any:
        m, v = prefix  # of the 2^level steps that end at each step
        earlier_m, earlier_v = (jnp.roll(table, 2**level, axis=0) for table in prefix)
        there = (jnp.arange(steps) >= 2**level)[:, None, None, None, None]
        joined = (
            jnp.einsum("pijks,pjlks->pilks", m, earlier_m),
            v + jnp.einsum("pijks,pwjkts->pwikts", m, earlier_v),
        )
        return jnp.where(there, joined[0], m), jnp.where(there[..., None], joined[1], v)

    # a loop over levels, not associative_scan: that one unrolls them, and the program would grow
    # with log(P)
    states = jax.lax.fori_loop(0, (steps - 1).bit_length(), double, (tables["transition"], drive))[
        1
    ]
    return jnp.concatenate([jnp.zeros_like(states[:1]), states])


def _lanes_first(m: Any, b: Any, rows: Any, cross: Any) -> Any:
    """``advance`` on the first lane and token axis of rows [C, m, m, K, T, T]; cross [C, W, m, K,
    T, T]."""
    lanes, writes = range(m.shape[0]), range(b.shape[1])
    transition = {(i, j): m[i, j][None, None, :, :, None] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][None, None, :, :, None] for i in lanes for k in writes}
    new = [] if cross is None else [cross[:, k] for k in writes]
    return jnp.stack(advance(transition, into, [rows[:, j] for j in lanes], new), axis=1)


def _next_gram(m: Any, b: Any, gram: Any, cross: Any, own: Any) -> Any:
    """<S', S'> from <S, S> [m, m, K, T, T], <w, S> [W, m, K, T, T] and <w, w> [W, W, T, T]:
    ``advance`` on one side, then on the other."""
    half = _lanes_first(m, b, gram[None], cross[None])[0]  # <S', S_j>
    lanes, writes = range(m.shape[0]), range(b.shape[1])
    transition = {(i, j): m[i, j][:, :, None] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][:, :, None] for i in lanes for k in writes}
    with_writes = []  # <S', w_l>
    for write in writes:
        old = [jnp.swapaxes(cross[write, j], -1, -2) for j in lanes]
        new = [jnp.broadcast_to(own[k, write][None], cross.shape[2:]) for k in writes]
        with_writes.append(jnp.stack(advance(transition, into, old, new)))
    second = {(i, j): m[i, j][None, :, None, :] for i in lanes for j in lanes}
    into = {(i, k): b[i, k][None, :, None, :] for i in lanes for k in writes}
    return jnp.stack(advance(second, into, [half[:, j] for j in lanes], with_writes), axis=1)


def _moderate(m: Any, b: Any, log: Any) -> tuple[Any, Any, Any]:
    """Coefficients whose squares floats could not hold, in units of a power of two (others as
    they are)."""
    scale, more = unit(jnp.maximum(jnp.abs(m).max(axis=(0, 1, 2)), jnp.abs(b).max(axis=(0, 1, 2))))
    return m / scale[None, None, None], b / scale[None, None, None], log + more[None]


def unit(size: Any) -> tuple[Any, Any]:
    """The power of two next to sizes whose squares floats could not hold, else 1; and its
    logarithm."""
    size = jax.lax.stop_gradient(size)
    power = jnp.round(jnp.log2(jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)))
    power = jnp.where(jnp.abs(power) > BEYOND, power, 0.0)
    return jnp.exp2(power), power * math.log(2)


def _normalised(m: Any, b: Any, log: Any, gram: Any) -> tuple[Any, Any, Any, Any]:
    """Move the state's size into its log scale, so that its largest lane has unit variance per
    token."""
    # a choice of units, not a function of the Gram
    size = jax.lax.stop_gradient(jnp.max(jnp.einsum("iiktt->ikt", gram), axis=(0, 1)))
    scale = jnp.where(size > 0, jnp.sqrt(jnp.where(size > 0, size, 1.0)), 1.0)
    return (
        m / scale[None, None, None, :],
        b / scale[None, None, None, :],
        log + jnp.log(scale)[None],
        gram / (scale[:, None] * scale[None, :])[None, None, None],
    )
