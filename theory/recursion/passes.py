"""The two passes of one architecture as one compiled program: forward, and backward for the
read-out and for the NTK."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.environment import Fineness, Resolution
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion import tangent
from sigprop.theory.recursion.backward import BackwardKind
from sigprop.theory.recursion.forward import ForwardKind, dense, numeric_form
from sigprop.theory.recursion.gram_scan import Gaps, gram_scan, unit
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.summary import arguments

AT_ONCE = 64  # draws of modulators' scores
ANGLE = 8 * 2.0**-52  # a step's rounding of an angle that is carried
FORWARD, GRADIENTS, WEIGHTS, NTK, USES = range(5)
"""How far the passes go: states and writes; gradients at every state; those of every group of
parameters; the tangent kernel; each holds those before. USES: beside gradients, the Grams of
reads and of branches' cotangents over all uses of a slot (``uses``)."""


@jit(static=(0, 1, 2, 3))
def run(
    structure: Structure,
    coupled: bool,
    reach: int,
    approximation: str | None,
    draws: Any,
    *given: Any,
) -> dict[str, Any]:
    """Both passes; with draws of modulators' scores [S, P, C, T] each of its arrays once a draw,
    in front."""
    one = functools.partial(_once, structure, coupled, reach, approximation)
    return (
        one(None, *given)
        if draws is None
        else jax.lax.map(lambda u: one(u, *given), draws, batch_size=AT_ONCE)
    )


def _once(
    structure: Structure,
    coupled: bool,
    reach: int,
    approximation: str | None,
    draws: Any,
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    stem: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
    readout: Any,
) -> dict[str, Any]:
    resolution = Resolution(
        fineness.degree,
        dict(zip(structure.scores, points, strict=True)),
        approximation,
        fineness.nudge,
        fineness.tail,
    )
    start, start_log, first, initial, start_gain = _start(structure, tables, begin, bands)
    tokens = begin.gram.shape[0]
    reads = (
        jnp.broadcast_to(begin.gram, (structure.reads, structure.reads, tokens, tokens)),
        jnp.zeros((structure.reads, tokens), dtype=jnp.float64),
    )
    plain = [ForwardKind(k, structure, resolution, bands) for k in range(len(structure.blocks))]
    shapes = [
        jax.eval_shape(lambda kind=kind: kind.write(first, *reads, None).summary) for kind in plain
    ]
    blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype=leaf.dtype), tuple(shapes))
    kinds = [
        ForwardKind(k, structure, resolution, bands, list(blank))
        for k in range(len(structure.blocks))
    ]
    used = {
        name: tables[name] for name in ("kind", "step", "partners", "ties", "numbers", "modulated")
    }
    known = (
        tokens > 1
        and structure.lanes == structure.bands == structure.reads == 1
        and not coupled
        and structure.kinked
    )
    gaps = Gaps(begin.gap, jnp.minimum(fineness.nudge, ANGLE)) if known else None
    forward = gram_scan(kinds, used, start, start_log, columns, bands, coupled, blank, draws, gaps)

    def with_start(value: Any, initial: Any) -> Any:
        return jnp.concatenate([initial[None], value])

    rows0 = jnp.where(
        (columns == 0)[:, None, None], jnp.einsum("k,kts->ts", bands, start[0, 0])[None], 0.0
    )
    found = {
        "bands": with_start(forward["gram"][:, 0, 0], start[0, 0]),
        "states": with_start(
            jnp.einsum("k,pkts->pts", bands, forward["gram"][:, 0, 0]),
            jnp.einsum("k,kts->ts", bands, start[0, 0]),
        ),
        "state_log": with_start(forward["log"], start_log[0]),
        "gaps": with_start(forward["gap"], begin.gap) if known else None,
        "arguments": arguments(forward["summary"]),
        "crossed": with_start(forward["rows"], rows0),
        "writes": forward["write"][:, 0, 0],
        "write_log": forward["write_log"][:, 0],
        "write_pairs": forward["write_pairs"][:, :, 0, 0] if coupled else None,
        "participation": forward["extra"]["participation"],
        "modulators": forward["told"]["modulator"],
        "log_norm": jnp.cumsum(with_start(forward["told"]["gain"], start_gain), axis=0),
    }
    if reach == FORWARD:
        return found

    def run(gram):
        return _backward(
            structure,
            coupled,
            reach,
            resolution,
            tables,
            forward,
            bands,
            gram,
            (initial, begin.log),
        )

    if reach == USES:
        return (
            found
            | {"reads": first_read(forward["read"], forward["read_log"], forward["pairs"])}
            | run(readout)
        )
    if reach < NTK:
        return found | run(readout)
    if structure.scores and tokens > 1:
        return (
            found
            | run(readout)
            | {"ntk": tangent.mixed(lambda gram: tangent.products(run(gram), stem), tokens)}
        )
    both = jax.vmap(run)(jnp.stack([readout, jnp.ones_like(readout)]))
    backward, shared = (jax.tree.map(lambda leaf, k=k: leaf[k], both) for k in range(2))
    return found | backward | {"ntk": tangent.apart(tangent.products(shared, stem))}


def first_read(own: Any, log: Any, pairs: Any) -> tuple[Any, Any, Any]:
    """(own [P, T, T], log [P, T], pairs [P, U, T, T] or None) of the first of the reads."""
    return own[:, 0, 0], log[:, 0], None if pairs is None else pairs[:, :, 0, 0]


def _start(
    structure: Structure, tables: dict[str, Any], begin: Begin, bands: Any
) -> tuple[Any, Any, Any, Any, Any]:
    """Grams of the initial lanes (and of the stem's own lane), their log [1, T], the first
    step's numbers, the lanes in the stem [m, K, T] (mantissas both), lane 0's gain [T]."""
    first = {"numbers": {name: value[0] for name, value in tables["numbers"].items()}}
    shape = (structure.bands, begin.gram.shape[0])
    diagonal = jnp.broadcast_to(jnp.diagonal(begin.gram)[None], shape)
    form = numeric_form(first, lambda i, j: diagonal, lambda leaf: begin.log[None], 0, bands)
    results = [form(lane) for lane in structure.initial]
    if structure.injects:
        results.append(({0: jnp.ones(shape, dtype=jnp.float64)}, begin.log[None]))
    log = functools.reduce(
        jnp.maximum, [jnp.broadcast_to(log, (1, shape[1])) for _, log in results]
    )
    # [m, K, T]
    lanes = jnp.stack([dense({0: c[0] * jnp.exp(own - log)}, [0], shape)[0] for c, own in results])
    gain = jnp.broadcast_to(form.gain(structure.initial[0]), (1, shape[1]))[0]
    return jnp.einsum("ikt,jks,ts->ijkts", lanes, lanes, begin.gram), log, first, lanes, gain


def _backward(
    structure: Structure,
    coupled: bool,
    reach: int,
    resolution: Resolution,
    tables: dict[str, Any],
    forward: dict[str, Any],
    bands: Any,
    cotangent: Any,
    source: tuple[Any, Any],
) -> dict[str, Any]:
    """The reversed scan for one read-out Gram [T, T]; source: the lanes in the stem's mantissas
    [m, K, T], and their log [T]."""
    initial, stem_log = source
    steps, lanes, _, n_bands, tokens = forward["transition"].shape
    reads = structure.reads
    flip = functools.partial(jax.tree.map, lambda table: table[::-1])
    tap = jnp.broadcast_to(tables["taps"][:, None, None, None], (steps, 1, n_bands, tokens)).astype(
        jnp.float64
    )
    transposed = jnp.swapaxes(forward["transition"], 1, 2)
    padded = (
        jnp.zeros((steps, lanes + 1, lanes + 1, n_bands, tokens), dtype=jnp.float64)
        .at[:, :lanes, :lanes]
        .set(transposed)
    )
    taps = tables["taps"].astype(jnp.float64)
    padded = padded.at[:, lanes, lanes].set(
        (jnp.cumsum(taps) - taps > 0).astype(jnp.float64)[:, None, None]
    )
    back_into = jnp.concatenate([forward["into"][:, :, 0], tap], axis=1)
    scale, back_unit = unit(jnp.abs(back_into).max(axis=(1, 2)))
    delta_log = jnp.where(tables["taps"][:, None], 0.0, forward["write_log"][:, 0])
    none = jnp.zeros((steps, reads, 1, n_bands, tokens), dtype=jnp.float64)
    given = {
        "kind": tables["kind"],
        "numbers": tables["numbers"],
        "ties_later": tables["ties_later"],
        "back_into": back_into / scale[:, None, None],
        "back_unit": back_unit,
        "only_tap": tables["taps"] & (taps.sum() == 1),
        "back_reads": jnp.concatenate([forward["reads"], none], axis=2),
        "back_transition": padded,
        "forward_read": forward["read"],
        "forward_log": forward["read_log"],
        "forward_gap": forward["read_gap"],
        "sensitivity": forward["told"]["sensitivity"],
        "delta_log": delta_log,
        "summary": forward["summary"],
        "later": tables["later"],
        "row": tables["row"],
        "column": tables["column"],
    }
    reversed_tables = flip(given) | {
        "step": tables["step"],
        "partners": steps - 1 - flip(tables["later"]),
    }
    if coupled:  # the partners' forward data, looked up by each step as it runs
        reversed_tables["partners"] = jnp.where(
            flip(tables["later"]) < steps, reversed_tables["partners"], steps
        )
    kinds = [
        _Looking(
            BackwardKind(k, structure, resolution, WEIGHTS <= reach < USES),
            forward,
            delta_log,
            coupled,
        )
        for k in range(len(structure.blocks))
    ]
    start = (
        jnp.zeros((lanes + 1, lanes + 1, n_bands, tokens, tokens), dtype=jnp.float64)
        .at[lanes, lanes]
        .set(jnp.broadcast_to(cotangent[None], (n_bands, tokens, tokens)))
    )
    zero_log = jnp.zeros((1, tokens), dtype=jnp.float64)
    columns = jnp.arange(steps + 1) if coupled else jnp.zeros((1,), dtype=tables["step"].dtype)
    out = gram_scan(kinds, reversed_tables, start, zero_log, columns, bands, coupled)
    banded = out["gram"][:, 0, 0]
    gram = jnp.einsum("k,pkts->pts", bands, banded)
    stem = jnp.einsum(
        "k,ikt,jks,ijkts->ts", bands, initial, initial, out["gram"][-1, :lanes, :lanes]
    )
    found = {"stem": stem, "stem_log": out["log"][-1] - stem_log}
    if reach == USES:
        own, log, pairs = first_read(out["read"], out["read_log"], out["pairs"])
        found["cotangents"] = (flip(own), flip(log) - delta_log, flip(pairs))
    if coupled:
        found["gradient_rows"] = jnp.concatenate([jnp.zeros_like(out["rows"][:1]), out["rows"]])
    return found | {
        "gradients": jnp.concatenate([jnp.zeros_like(gram[:1]), gram]),
        "gradient_bands": jnp.concatenate([jnp.zeros_like(banded[:1]), banded]),
        "gradient_log": jnp.concatenate([zero_log, out["log"]]),
        "groups": out["extra"],
    }


class _Looking:
    """A backward kind that first looks up its later partners' forward data (the forward pair
    table, transposed)."""

    def __init__(self, kind: BackwardKind, forward: dict[str, Any], delta_log: Any, coupled: bool):
        self.kind, self.forward, self.delta_log, self.coupled = kind, forward, delta_log, coupled
        self.read, self.rule, self.reads, self.writes = (
            kind.read,
            kind.rule,
            kind.reads,
            kind.writes,
        )

    def write(self, x: Any, own: Any, log: Any, partners: Any) -> Any:
        if self.coupled:
            q = jnp.minimum(x["later"], self.delta_log.shape[0] - 1)
            # <x_q, x_p> is kept; its transpose, of reads and of tokens
            reads = jnp.moveaxis(self.forward["pairs"][x["row"], x["column"]], (1, 3), (2, 4))
            summary = jax.tree.map(lambda table: table[q], self.forward["summary"])
            x = x | {
                "partner": {
                    "reads": reads,
                    "logs": self.forward["read_log"][q],
                    "delta_log": self.delta_log[q],
                    "summary": summary,
                }
            }
        return self.kind.write(x, own, log, partners)
