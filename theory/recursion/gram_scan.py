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

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from sigprop.theory.gaussian import field
from sigprop.theory.recursion.advance import (
    Grams,
    Log,
    Reads,
    by_band,
    lanes_first,
    moderate,
    next_gap,
    next_gram,
    normalised,
)
from sigprop.theory.recursion.sources.apart_behind import ApartBehind
from sigprop.theory.recursion.sources.sources import Given, Sourced, SourcedBack
from sigprop.theory.recursion.units.behind import Reverser
from sigprop.theory.recursion.units.beside import Tracer
from sigprop.theory.recursion.units.drawing import Traced


class Written(NamedTuple):
    """A step's writes: own [W, W, T, T] and pair [U, W, W, T, T] Grams, log [W, T],
    summary and extra outputs, where the scan carries gaps its own [1, T, T], and what a unit that
    is traced does."""

    own: Any
    pairs: Any
    log: Any
    summary: Any
    extra: Any
    gap: Any = None
    traced: Traced | Given | None = None


class Partners(NamedTuple):
    """The U partners of a step: read Grams R_pq [U, R, R, T, T], read logs [U, R, T], their
    summaries, numbers {name: [U]}."""

    reads: Any
    logs: Any
    summary: Any
    numbers: Any


@runtime_checkable
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
        """(M [m, m, K, T], B [m, W, K, T], log [1, T], other facts by name [1, T]) from Grams of
        the states, <S, w> [W, m, K, T, T] and <w, w>."""
        ...


class Gaps(NamedTuple):
    """gap [T, T]: 1 - rho^2 between tokens of the only lane, which its Gram alone would give
    otherwise; nudge: what a step's angles are moved by (0: not at all), so that a second run
    says how much they matter."""

    gap: Any
    nudge: Any


class Carry(NamedTuple):
    """gram, log: the state's own; rows [C, m, m, K, T, T]: <S_p, S_c> for tracked boundaries c;
    tables so far; gap, or None; lanes [m, K, T] of a unit that is traced."""

    gram: Any
    log: Any
    rows: Any
    tables: dict[str, Any]
    gap: Any = None
    lanes: Any = None


class _Scan(NamedTuple):
    """What the steps of one scan share: kinds of step, step tables, tracked boundaries [C], widths
    of bands [K], whether steps share weights, draws of modulators' scores, gaps."""

    kinds: Sequence[Kind]
    tables: dict[str, Any]
    columns: Any
    bands: Any
    coupled: bool
    draws: Any
    gaps: Gaps | None
    tracer: Any  # as of ``gram_scan``


def gram_scan(
    kinds: Sequence[Kind],
    tables: dict[str, Any],
    start: Grams,
    start_log: Log,
    columns: Int[Array, " C"],
    bands: Float[Array, " K"],
    coupled: bool,
    summary: Any = (),
    draws: Any = None,
    gaps: Gaps | None = None,
    tracer: Tracer | Reverser | ApartBehind | Sourced | SourcedBack | None = None,
) -> Any:
    """Run the recursion. Returns (gram, log, rows, per-step outputs) at the boundaries 0..P, and
    'last': what the last step carried on.

    tables: {'kind', 'partners' [P, U], 'step' [P], ...}: what every step is given (its slice is
    ``x``); start: [m, m, K, T, T]; start_log [1, T]; columns [C]: boundaries whose overlap with
    every later state is wanted (coupled: all P + 1); bands [K]: widths; summary: zeros of the
    summaries, for partners (empty: none kept); draws [P, C, T]: of modulators' scores, where there
    are any; gaps: of the start, of one lane in one band, no weight shared; tracer: of a unit, with
    which the Grams that come out are those that a network averages.
    """
    scan = _Scan(kinds, tables, columns, bands, coupled, draws, gaps, tracer)
    rows = jnp.where((columns == 0)[:, None, None, None, None, None], start[None], 0.0)
    kept, gap = _kept(scan, start, summary), None if gaps is None else gaps.gap
    first = Carry(start, start_log, rows, kept, gap, None if tracer is None else tracer.start)
    last, out = jax.lax.scan(functools.partial(_step, scan), first, tables)
    return out | {"last": last}


def _kept(scan: _Scan, start: Any, summary: Any) -> dict[str, Any]:
    """Return zeros of what later steps look up of earlier ones."""
    steps, reads, writes = scan.tables["step"].shape[0], scan.kinds[0].reads, scan.kinds[0].writes
    lanes, _, n_bands, tokens, _ = start.shape

    def zeros(*shape: int) -> Any:
        return jnp.zeros(shape, dtype=jnp.float64)

    kept = {
        "reads": zeros(steps, reads, lanes, n_bands, tokens),
        "logs": zeros(steps, reads, tokens),
        "transition": zeros(steps, lanes, lanes, n_bands, tokens),
        "into": zeros(steps, lanes, writes, n_bands, tokens),
        "summary": jax.tree.map(lambda leaf: zeros(steps, *leaf.shape[1:]), summary),
    }
    if scan.draws is not None and scan.coupled:
        kept["factor"] = zeros(steps, tokens, steps, tokens)
    if scan.tracer is not None:
        kept |= scan.tracer.kept(steps, scan.coupled)
    return kept


def _step(scan: _Scan, carry: Carry, x: Any) -> tuple[Carry, Any]:
    """One step: read, write, rule; what it leaves for later steps and what it returns."""
    p, kinds = x["step"], scan.kinds
    averages, tracer = carry.gram, scan.tracer
    if tracer is not None:
        averages, x = tracer.averaged(averages, carry.lanes), x | tracer.means(carry.lanes)
    rho, read_log = _switch(kinds, x, "read", averages, carry.log)
    own = _contract(rho, rho, carry.gram, scan.bands)
    numbers = scan.tables["numbers"]
    partners = _partners(carry, x, rho, scan.bands, numbers) if scan.coupled else None
    scores, factor = _scores(carry, x, own[0, 0], read_log[0], partners, scan.draws)
    x = x | {"scores": scores, "gap": carry.gap}
    if tracer is not None:
        coefficients = rho, _switch(kinds, x, "shift", averages, carry.log)
        before = (carry.rows, carry.tables["reads"], x["partners"]) if scan.coupled else None
        x |= {"by_band": by_band(rho, carry.gram, before), "last": len(scan.tables["step"]) - 1}
        x["tracing"] = tracer.step(carry.tables, x, carry.lanes, coefficients)
    written = _switch(kinds, x, "write", own, read_log, partners)
    after, out = _advanced(scan, carry, x, written)
    reads = {"reads": rho, "logs": read_log}
    rule = {name: out[name] for name in ("transition", "into")}
    tables = _remembered(scan, after.tables, p, reads | rule, written, factor)
    out |= {
        "read": own,
        "read_log": read_log,
        "reads": rho,
        "pairs": partners.reads if partners else None,
        "read_gap": carry.gap,
        "by_band": x.get("by_band"),
    }
    return after._replace(tables=tables), out


def _advanced(scan: _Scan, carry: Carry, x: Any, written: Written) -> tuple[Carry, dict[str, Any]]:
    """Apply the step's rule to the state and to its overlaps; what it returns of write and rule."""
    p, kinds = x["step"], scan.kinds
    # <w_p, S_c> [P + 1, W, m, K, T, T]
    overlaps = _write_rows(carry.tables, x["partners"], written.pairs) if scan.coupled else None
    none = jnp.zeros((kinds[0].writes, *carry.gram.shape[1:]), dtype=jnp.float64)
    cross = none if overlaps is None else overlaps[p]
    tracer, traced, tables = scan.tracer, written.traced, carry.tables
    averages = carry.gram, cross, written.own
    if tracer is not None and traced is not None:
        averages, x = tracer.written(x | {"write_log": written.log}, carry.lanes, averages, traced)
    ruled = _switch(kinds, x, "rule", averages[0], carry.log, *averages[1:], written.log)
    m, b, before, facts = ruled
    m, b, moderated = moderate(m, b, before)
    m, b, log, gram = normalised(m, b, moderated, next_gram(m, b, carry.gram, cross, written.own))
    gap = None
    if scan.gaps is not None:
        alone = (carry.gram[0, 0, 0], carry.gap), (written.own[0, 0], written.gap[0])
        gap = next_gap(m[0, 0, 0], b[0, 0, 0], *alone, scan.gaps.nudge)
    rows = lanes_first(m, b, carry.rows, None if overlaps is None else overlaps[scan.columns])
    here = (scan.columns == p + 1)[:, None, None, None, None, None]
    rows = jnp.where(here, gram[None], rows)
    lanes, left, (seen, seen_rows) = None, {}, (gram, rows)
    if tracer is not None and traced is not None:
        scale = jnp.exp(before - log)[0]
        shift = jnp.einsum("...t,t->...t", facts.pop("shift", 0 * m[:1])[0], scale)
        lanes, tables = tracer.after((m, b, shift, log), carry.lanes, traced, tables, p)
        left = tracer.left(traced, x, averages, (carry.log, written.log, scale))
        seen, seen_rows = tracer.seen(tables, p, (gram, rows), lanes, scan.columns)
    return Carry(gram, log, rows, tables, gap, lanes), {
        "gram": seen,
        "log": log[0],
        "rows": jnp.einsum("k,ckts->cts", scan.bands, seen_rows[:, 0, 0]),
        "write": averages[2],
        "write_log": written.log,
        "facts": {name: value[0] for name, value in facts.items()},
        "write_pairs": written.pairs,
        "transition": m,
        "into": b,
        "summary": jax.tree.map(lambda leaf: leaf[0], written.summary),
        "extra": written.extra,
        "gap": gap,
    } | left


def _remembered(
    scan: _Scan, tables: dict[str, Any], p: Any, own: dict[str, Any], written: Written, factor: Any
) -> dict[str, Any]:
    """Return the tables with this step's entries, which only steps that share weights look up."""
    if not scan.coupled:
        return tables
    kept = tables["summary"]
    own = own | {"summary": jax.tree.map(lambda leaf: leaf[0], written.summary) if kept else ()}
    new = jax.tree.map(
        lambda table, value: table.at[p].set(value), {name: tables[name] for name in own}, own
    )
    if written.traced is not None:
        new |= written.traced.remembered(tables, p)
    return tables | new | ({} if factor is None else {"factor": factor})


def _switch(kinds: Sequence[Kind], x: Any, method: str, *operands: Any) -> Any:
    """Call a method of the kind that the step is of."""
    branches: list[Callable[..., Any]] = [
        lambda *given, kind=kind: getattr(kind, method)(*given) for kind in kinds
    ]
    return (
        branches[0](x, *operands)
        if len(branches) == 1
        else jax.lax.switch(x["kind"], branches, x, *operands)
    )


def _contract(left: Reads, right: Reads, gram: Grams, bands: Any) -> Float[Array, "R R T T"]:
    """sum_k width_k sum_ij left_ri[k, t] right_qj[k, s] gram_ij[k, t, s]: [R, R, T, T]."""
    return jnp.einsum("k,rikt,qjks,ijkts->rqts", bands, left, right, gram)


def _partners(carry: Carry, x: Any, rho: Any, bands: Any, numbers: Any) -> Partners:
    """Look up what the step's partners left."""
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
    """Return the modulators' scores of a step (of its first read), and the factor of all so
    far."""
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


def _write_rows(
    tables: dict[str, Any], partners: Int[Array, " U"], pairs: Float[Array, "U W W T T"]
) -> Float[Array, "boundaries W m K T T"]:
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

    # a loop over levels, not associative_scan: that one unrolls them: a program growing with log(P)
    levels = (steps - 1).bit_length()
    states = jax.lax.fori_loop(0, levels, double, (tables["transition"], drive))[1]
    return jnp.concatenate([jnp.zeros_like(states[:1]), states])
