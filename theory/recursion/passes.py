"""The two passes of one architecture as one compiled program: forward, and backward for the
read-out and for the NTK."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.by_band import over_bands
from sigprop.theory.calculus.environment import Fineness, Resolution
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion import tangent
from sigprop.theory.recursion.advance import unit
from sigprop.theory.recursion.backward import BackwardKind, Looking
from sigprop.theory.recursion.forward import ForwardKind
from sigprop.theory.recursion.gram_scan import Gaps, gram_scan
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.sources import Held, Sourced, SourcedBack, Sources
from sigprop.theory.recursion.sources.tracers import behind, beside
from sigprop.theory.recursion.summary import arguments
from sigprop.theory.recursion.units.beside import Draws, Lanes
from sigprop.theory.recursion.units.pulled import Cotangents
from sigprop.theory.recursion.units.records import Record, by_step
from sigprop.theory.recursion.units.stems import Stem, back_to_stem

AT_ONCE = 64  # draws of modulators' scores
ANGLE = 8 * 2.0**-52  # a step's rounding of an angle that is carried
FORWARD, GRADIENTS, NTK = range(3)
"""How far the passes go: states and writes; gradients at every state and of every group of
parameters, with the Grams of reads and of branches' cotangents over all uses of a slot (``uses``);
the tangent kernel. Three, so that few programs are compiled. At the second: also how reads and
states depend on states and writes, to first order (``first_step``)."""


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
    once = functools.partial(_once, structure, coupled, reach, approximation)
    return (
        once(None, *given)
        if draws is None
        else jax.lax.map(lambda u: once(u, *given), draws, batch_size=AT_ONCE)
    )


class Network(NamedTuple):
    """Everything that both passes share: the structure, whether any steps share a weight, how
    far to go, how finely; the step tables, the stem, the widths of bands [K]."""

    structure: Structure
    coupled: bool
    reach: int
    resolution: Resolution
    tables: dict[str, Any]
    begin: Begin
    bands: Any
    unit: Draws | None = None
    sources: Sources | None = None

    @property
    def stem(self) -> Stem:
        """What the passes begin with."""
        first = {name: value[0] for name, value in self.tables["numbers"].items()}
        return Stem(self.structure, self.begin, self.bands, first)

    @property
    def alone(self) -> bool:
        """Tell if there is a unit that is a part of no average."""
        return self.unit is not None and self.unit.t is None

    @property
    def gapped(self) -> bool:
        """Tell if the scan carries 1 - rho^2 between tokens beside their Gram."""
        if self.unit is not None or self.sources is not None:
            return False
        single = self.structure.lanes == self.structure.bands == self.structure.reads == 1
        several = self.begin.gram.shape[0] > 1
        return several and single and not self.coupled and self.structure.kinked


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
    """Run both passes for one draw of the modulators' scores."""
    scored = dict(zip(structure.heads, points, strict=True))
    degree, *more = fineness
    resolution = Resolution(degree, scored, approximation, *more)
    network = Network(structure, coupled, reach, resolution, tables, begin, bands)
    kernels, forward, initial = forward_pass(network, columns, draws)
    if reach == FORWARD:
        return kernels
    run = functools.partial(backward_pass, network, forward, (initial, begin.log))
    if reach == GRADIENTS:
        linear = {name: forward[name] for name in ("reads", "transition", "into")}
        given = forward["read"], forward["read_log"], forward["pairs"]
        return kernels | {"reads": given, "linear": linear | {"initial": initial}} | run(readout)
    if structure.heads and begin.gram.shape[0] > 1:
        ntk = tangent.mixed(lambda gram: tangent.products(run(gram), stem), begin.gram.shape[0])
        return kernels | run(readout) | {"ntk": ntk}
    both = jax.vmap(run)(jnp.stack([readout, jnp.ones_like(readout)]))
    backward, shared = (jax.tree.map(lambda leaf, k=k: leaf[k], both) for k in range(2))
    return kernels | backward | {"ntk": tangent.apart(tangent.products(shared, stem))}


def forward_pass(
    network: Network, columns: Any, draws: Any
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """(the kernels of the forward pass, all that the scan left, the lanes in the stem)."""
    structure, bands = network.structure, network.bands
    stem, unit = network.stem, network.unit
    units: Any = None if unit is None else stem.units(unit.stem)
    weight = None if unit is None else unit.t
    seen = stem.seen() if weight is None else stem.seen(weight, units)
    if network.sources is not None:
        square = network.sources.stem * jnp.exp(-2 * network.begin.log)
        seen = seen._replace(square=seen.square + square[None])
    initial, ones, start_log, start_gain = stem.start(seen)
    start = jnp.einsum("ikt,jks,ts->ijkts", initial, initial, network.begin.gram)
    blank = _blank_summaries(network, {"numbers": stem.numbers}, draws)
    averaged = weight is not None
    kinds = [
        ForwardKind(k, structure, network.resolution, bands, list(blank), averaged)
        for k in range(len(structure.blocks))
    ]
    names = ("kind", "step", "partners", "ties", "numbers", "modulated")
    angle = jnp.minimum(network.resolution.nudge, ANGLE)
    gaps = Gaps(network.begin.gap, angle) if network.gapped else None
    used = {name: network.tables[name] for name in names}
    tracer: Any = None
    if network.sources is not None:
        tracer = Sourced(Held(network.sources.states[0], start_log))
        used["sources"] = network.sources.by_step
    if unit is not None:
        tracer = beside(unit, bands, Lanes(initial * units[None] + ones, ones))
    forward = gram_scan(
        kinds, used, start, start_log, columns, bands, network.coupled, blank, draws, gaps, tracer
    )
    if tracer is not None:
        start = tracer.averaged(start, tracer.start)
        forward |= {"stem": (seen, units)}

    def with_start(value: Any, initial: Any) -> Any:
        return jnp.concatenate([initial[None], value])

    first_gram, every = jnp.einsum("k,kts->ts", bands, start[0, 0]), forward["gram"][:, 0, 0]
    at_start = jnp.where((columns == 0)[:, None, None], first_gram[None], 0.0)
    pairs = forward["write_pairs"][:, :, 0, 0] if network.coupled else None
    kernels = {
        "bands": with_start(every, start[0, 0]),
        "states": with_start(jnp.einsum("k,pkts->pts", bands, every), first_gram),
        "state_log": with_start(forward["log"], start_log[0]),
        "gaps": with_start(forward["gap"], network.begin.gap) if network.gapped else None,
        "arguments": arguments(forward["summary"]),
        "crossed": with_start(forward["rows"], at_start),
        "writes": _over_bands(network, forward["write"][:, 0, 0]),
        "write_log": forward["write_log"][:, 0],
        "write_pairs": pairs,
        "participation": forward["extra"]["participation"],
        "modulators": forward["facts"]["modulator"],
        "log_norm": jnp.cumsum(with_start(forward["facts"]["gain"], start_gain), axis=0),
    }
    return kernels, forward, initial


def _over_bands(network: Network, writes: Any) -> Any:
    """Return <w, w> [P, T, T]; writes: where a unit is traced in every band [P, K, T, T]."""
    return writes if network.unit is None else over_bands(network.bands, writes, 1)


def _blank_summaries(network: Network, first: dict[str, Any], draws: Any) -> tuple[Any, ...]:
    """Return zeros of every kind of step's summary, so that each step has all."""
    structure, tokens = network.structure, network.begin.gram.shape[0]
    averaged = network.unit is not None and network.unit.t is not None
    own = jnp.broadcast_to(network.begin.gram, (structure.reads, structure.reads, tokens, tokens))
    log = jnp.zeros((structure.reads, tokens), dtype=jnp.float64)
    first |= {"scores": None if draws is None else jnp.zeros_like(draws[0])}
    shapes = [
        jax.eval_shape(lambda kind=kind: kind.write(first, own, log, None).summary)
        for kind in (
            ForwardKind(k, structure, network.resolution, network.bands, averaged=averaged)
            for k in range(len(structure.blocks))
        )
    ]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype=leaf.dtype), tuple(shapes))


def first_read(
    own: Float[Array, "P R R T T"],
    log: Float[Array, "P R T"],
    pairs: Float[Array, "P U R R T T"] | None,
) -> tuple[Float[Array, "P T T"], Float[Array, "P T"], Float[Array, "P U T T"] | None]:
    """(own [P, T, T], log [P, T], pairs [P, U, T, T] or None) of the first of the reads."""
    return own[:, 0, 0], log[:, 0], None if pairs is None else pairs[:, :, 0, 0]


def backward_pass(
    network: Network, forward: dict[str, Any], source: tuple[Any, Any], cotangent: Any
) -> dict[str, Any]:
    """The reversed scan for one read-out Gram [T, T]; source: the lanes in the stem's mantissas
    [m, K, T], and their log [T]."""
    initial, stem_log = source
    lanes, bands = forward["transition"].shape[1], network.bands
    delta_log = jnp.where(network.tables["taps"][:, None], 0.0, forward["write_log"][:, 0])
    zero_log = jnp.zeros((1, cotangent.shape[0]), dtype=jnp.float64)
    out = _reversed_scan(network, forward, delta_log, (cotangent, zero_log))
    banded = out["gram"][:, 0, 0]
    gram = jnp.einsum("k,pkts->pts", bands, banded)
    at_stem = out["gram"][-1, :lanes, :lanes]
    to_stem = jnp.einsum("k,ikt,jks,ijkts->ts", bands, initial, initial, at_stem)
    kernels: dict[str, Any] = {}
    if network.alone:
        kernels["alone"] = _flip((out["alone"], out["last"].tables["lanes"]))
    elif network.unit is not None:
        seen, units = forward["stem"]
        everyone = jnp.concatenate([units[None], jnp.moveaxis(network.unit.members.stem, 1, 0)])
        main, last = out["last"].gram[:lanes, :lanes], out["last"].lanes
        own = Cotangents(last.main[:lanes], last.rest[:, :lanes])
        to_stem = back_to_stem(network.stem, seen, network.unit.t, everyone, main, own)
    kernels |= {
        "stem": to_stem,
        "stem_log": out["log"][-1] - stem_log,
        "gradients": _after_zero(gram),
        "gradient_bands": _after_zero(banded),
        "gradient_log": jnp.concatenate([zero_log, out["log"]]),
        "groups": out["extra"],
    }
    if network.reach == GRADIENTS:
        own, log, pairs = first_read(out["read"], out["read_log"], out["pairs"])
        kernels["cotangents"] = (_flip(own), _flip(log) - delta_log, _flip(pairs))
    if network.sources is not None:
        kernels["given"] = _flip(out["given"])
    if network.coupled:
        kernels["gradient_rows"] = _after_zero(out["rows"])
    return kernels


def _reversed_scan(
    network: Network, forward: dict[str, Any], delta_log: Any, cotangent: tuple[Any, Any]
) -> Any:
    """Run the scan over the steps in reverse, from v's lane, whose Gram [T, T] and log [1, T]
    these are."""
    steps, lanes, _, n_bands, tokens = forward["transition"].shape
    readout, zero_log = cotangent
    kinds = [
        Looking(
            BackwardKind(k, network.structure, network.resolution),
            forward,
            delta_log,
            network.coupled,
            None if network.unit is None or network.alone else network.unit.members,
        )
        for k in range(len(network.structure.blocks))
    ]
    start = (
        jnp.zeros((lanes + 1, lanes + 1, n_bands, tokens, tokens), dtype=jnp.float64)
        .at[lanes, lanes]
        .set(jnp.broadcast_to(readout[None], (n_bands, tokens, tokens)))
    )
    columns = jnp.arange(steps + 1 if network.coupled else 1)
    tables = _reversed(network, forward, delta_log)
    tracer: Any = None if network.sources is None else SourcedBack()
    if network.unit is not None:
        tracer = behind(network.unit, network.bands, readout, lanes)
    return gram_scan(
        kinds, tables, start, zero_log, columns, network.bands, network.coupled, tracer=tracer
    )


def _after_zero(table: Any) -> Any:
    """Put zeros in front: nothing comes back before the first reversed step."""
    return jnp.concatenate([jnp.zeros_like(table[:1]), table])


def _flip(tables: Any) -> Any:
    """Put the steps in the other order."""
    return jax.tree.map(lambda table: table[::-1], tables)


def _reversed(network: Network, forward: dict[str, Any], delta_log: Any) -> dict[str, Any]:
    """Return what every step of the reversed scan is given: the transposed rule, the forward pass's
    reads, its partners; v's lane is the last."""
    tables = network.tables
    steps, lanes, _, n_bands, tokens = forward["transition"].shape
    taps = tables["taps"].astype(jnp.float64)
    tap = jnp.broadcast_to(taps[:, None, None, None], (steps, 1, n_bands, tokens))
    back_into = jnp.concatenate([forward["into"][:, :, 0], tap], axis=1)
    scale, back_unit = unit(jnp.abs(back_into).max(axis=(1, 2)))
    unread = jnp.zeros((steps, network.structure.reads, 1, n_bands, tokens), dtype=jnp.float64)
    given = {
        name: tables[name] for name in ("kind", "numbers", "ties_later", "later", "row", "column")
    }
    given |= {
        "back_into": back_into / scale[:, None, None],
        "back_unit": back_unit,
        "only_tap": tables["taps"] & (taps.sum() == 1),
        "back_reads": jnp.concatenate([forward["reads"], unread], axis=2),
        "back_transition": _transposed(forward["transition"], taps),
        "forward_read": forward["read"],
        "forward_log": forward["read_log"],
        "forward_gap": forward["read_gap"],
        "sensitivity": forward["facts"]["sensitivity"],
        "delta_log": delta_log,
        "summary": forward["summary"],
    }
    if network.alone:
        given["unit"] = forward["alone"]
    elif network.unit is not None:
        members: Record = network.unit.members
        given |= by_step(forward, members, tables, network.bands)
        given |= {"tap": taps, "back_scale": scale}
    if network.sources is not None:
        given["sources"] = network.sources.back(tables["row"], tables["column"])
    later = _flip(tables["later"])
    # partners that are not there are seen by nothing where no step has any
    partners = (
        jnp.where(later < steps, steps - 1 - later, steps) if network.coupled else steps - 1 - later
    )
    return _flip(given) | {"step": tables["step"], "partners": partners}


def _transposed(
    transition: Float[Array, "P m m K T"], taps: Float[Array, " P"]
) -> Float[Array, "P lanes lanes K T"]:
    """M^T with a lane more, v's, which is kept while a tap is to come."""
    steps, lanes, _, n_bands, tokens = transition.shape
    shape = (steps, lanes + 1, lanes + 1, n_bands, tokens)
    kept = (jnp.cumsum(taps) - taps > 0).astype(jnp.float64)
    return (
        jnp.zeros(shape, dtype=jnp.float64)
        .at[:, :lanes, :lanes]
        .set(jnp.swapaxes(transition, 1, 2))
        .at[:, lanes, lanes]
        .set(kept[:, None, None])
    )
