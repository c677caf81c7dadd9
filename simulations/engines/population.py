"""What the averages of a twin are on average: of units drawn for that alone, independent of the
networks.

A twin's unit knows given numbers only (``network.twin``), so units are independent of each other
and any of them stand for those of a network. Their normals are scrambled Sobol points, each a
standard normal by itself whatever the number of points, so that sums over them have the exact mean
and little scatter; inside attention a head is the unit, a point of as many coordinates as it has.
Independent scrambles tell the error that is left. Source: Owen 1997 (scrambled nets).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Float64
from scipy.special import ndtri
from scipy.stats import qmc

from sigprop.description.averages import matrices
from sigprop.language.expression import Attend, Bias, Linear, Read, Vector
from sigprop.language.traversal import children, group_of, rows_of, walk
from sigprop.runtime.compiling import jit
from sigprop.simulations.engines.engine import Engine, Static
from sigprop.simulations.network import random
from sigprop.simulations.network.attention import heads_of
from sigprop.simulations.network.precision import DOUBLE, scope
from sigprop.simulations.network.twin import Setting, Twin, control, looks_back
from sigprop.simulations.network.twins.answers import Back
from sigprop.simulations.network.twins.uses import steps
from sigprop.simulations.network.weights import Shape
from sigprop.simulations.observables.rows import read_out

SCRAMBLES = 16
UNITS = 2**12  # of a scramble at first
MOST = 2**26  # normals of all scrambles, a few seconds: errors are then what they are
DIMENSIONS = 2000  # of a Sobol point: what is beyond is pseudo-random
STEP = 2.0**-30  # between its coordinates
GROWTH = 8  # of the number of units, at a time
CHUNK = 2**26  # bytes of the normals of a call, at most, and a quarter of the memory given
STREAM = b"population"

Draws = dict[str, Float64[np.ndarray, "copies ..."]]


class Expected(NamedTuple):
    """rows . (mean averages of the twin - what was expected) [R], its standard error [R], and how
    many units of the network's width it was taken over."""

    value: Float64[np.ndarray, " R"]
    error: Float64[np.ndarray, " R"]
    units: int


def expected(engine: Engine, seed: int, wanted: Float64[np.ndarray, " R"]) -> Expected:
    """The mean deviations of an engine's twin, with as many units as bring their errors below what
    is wanted (nan: none is, of rows that diverged), or as ``MOST`` allows (its error says so)."""
    twin = engine.twin
    assert twin is not None
    copies = _power(UNITS / engine.width)
    while True:
        seeds = np.random.SeedSequence([seed, copies, zlib.crc32(STREAM)]).spawn(SCRAMBLES)
        every = np.stack([_scramble(engine, np.random.default_rng(s), copies) for s in seeds])
        value, error = every.mean(axis=0), every.std(axis=0, ddof=1) / SCRAMBLES**0.5
        least = np.fmax(wanted, _rounding(engine, value))
        missing = float(np.max(error / np.where(np.isnan(wanted), np.inf, least), initial=0.0))
        normals = SCRAMBLES * copies * sum(math.prod(s) for s in _draw_shapes(engine).values())
        growth = min(GROWTH, _power(missing), 2 ** int(np.log2(max(1, MOST / normals))))
        if missing <= 1 or growth <= 1:
            return Expected(value, error, copies * engine.width)
        copies *= growth


def _rounding(engine: Engine, value: Float64[np.ndarray, " R"]) -> Float64[np.ndarray, " R"]:
    """Return what an error need not be below: the rounding of one network's rows."""
    twin = engine.twin
    assert twin is not None
    size = np.abs(twin.rows) @ np.abs(twin.expected)
    return np.finfo(engine.dtype).eps * (np.asarray(size, dtype=np.float64) + np.abs(value)) + 1e-30


def _power(x: float) -> int:
    """Return the power of two at or above x."""
    return 1 << max(0, math.ceil(math.log2(max(x, 1))))


def _scramble(
    engine: Engine, generator: np.random.Generator, copies: int
) -> Float64[np.ndarray, " R"]:
    """Return the mean deviations over so many networks' worth of units of one scramble."""
    twin, tables = engine.twin, engine.tables
    assert twin is not None
    double = jax.tree.map(
        lambda x: x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, dtype=np.float64),
        (twin, {name: tables[name] for name in ("kind", "slots", "uses", "numbers")}),
    )
    units = _Units(engine, generator)
    one = 8 * sum(math.prod(shape) for shape in units.shapes.values())
    fits = min(CHUNK, engine.memory_bytes // 4) // one
    # one shape however many there are, so that they compile once
    together = min(_power(UNITS / engine.width), 1 << int(np.log2(max(fits, 1))))
    mixing = random.root(np.asarray(engine.arch.input_gram, dtype=np.float64))
    total = np.zeros(len(engine.rows))
    with scope(DOUBLE):
        for _ in range(copies // together):
            drawn = units.draw(together)
            stem = np.einsum("ts,csn->ctn", mixing, drawn.pop(STEM))
            total += np.asarray(_deviations(engine.static, *double, stem, drawn)) * together
    return total / copies


@jit(static=(0,))
def _deviations(
    static: Static,
    twin: Twin,
    tables: Any,
    stem: Float[Array, "copies T n"],
    drawn: dict[str, Float[Array, "copies ..."]],
) -> Float[Array, " R"]:
    """Return rows . (averages - expected), on average over networks' worth of units."""
    arch = static.arch
    setting = Setting(arch, {s.name: s for s in static.shapes}, frozenset(static.needed or ()))

    def one(stem: Float[Array, "T n"], drawn: dict[str, Any]) -> Float[Array, " R"]:
        normals, back = {weight: drawn[weight] for weight in matrices(arch)}, None
        if looks_back(setting.needed):
            transposed = {weight: drawn[BACK + weight] for weight in matrices(arch)}
            back = Back(transposed, read_out(arch, drawn[READOUT]))
        return control(setting, twin, stem, normals, lambda w, slot: drawn[w][slot], tables, back)

    return jax.vmap(one)(stem, drawn).mean(axis=0)


STEM, READOUT, BACK = "", "read-out", "back:"
"""Of normals that are no weight's own: the stem's, the read-out's v, and, in front of a matrix's
name, those of its transposed answers."""


class _Units:
    """The normals of networks' worth of units, of one scramble, one draw after another."""

    def __init__(self, engine: Engine, generator: np.random.Generator):
        self.shapes, self.generator = _draw_shapes(engine), generator
        members = _members(engine)
        self.groups: dict[tuple[bool, int], list[str]] = {}
        for name, (alone, units) in members.items():
            self.groups.setdefault((alone, units), []).append(name)
        self.points = {
            group: qmc.Sobol(
                min(DIMENSIONS, sum(self._dimensions(name, group[1]) for name in names)),
                rng=generator,
            )
            for group, names in self.groups.items()
        }

    def _dimensions(self, name: str, units: int) -> int:
        """Count the normals that one of so many units has of a weight."""
        return math.prod(self.shapes[name]) // units

    def draw(self, copies: int) -> Draws:
        """{weight or stem: [copies, ..., coordinates]}."""
        grouped = {name for names in self.groups.values() for name in names}
        found = {
            name: self.generator.standard_normal((copies, *shape))
            for name, shape in self.shapes.items()
            if name not in grouped
        }
        for group, names in self.groups.items():
            sizes = [self._dimensions(name, group[1]) for name in names]
            whole = self._normals(self.points[group], sum(sizes), copies * group[1])
            for name, part in zip(names, np.split(whole, np.cumsum(sizes)[:-1]), strict=True):
                *outer, last = self.shapes[name]
                each = part.reshape(*outer, last // group[1], copies, group[1])
                # coordinates of a unit lie side by side
                each = np.moveaxis(np.moveaxis(each, -2, 0), -1, -2)
                found[name] = each.reshape(copies, *outer, last)
        return found

    def _normals(
        self, sobol: qmc.Sobol, dimensions: int, count: int
    ) -> Float64[np.ndarray, "{dimensions} {count}"]:
        """Return the normals of the next units of a kind."""
        points = np.concatenate(list(self._points(sobol, count)))
        normals = ndtri(points + STEP / 2).T
        rest = self.generator.standard_normal((dimensions - len(normals), count))
        return np.concatenate([normals, rest])

    @staticmethod
    def _points(sobol: qmc.Sobol, count: int) -> Iterator[Float64[np.ndarray, "_ dimensions"]]:
        """Yield the next points: a power of two at first, of which scipy asks."""
        first = 1 << int(math.log2(count))
        yield sobol.random(first)
        if count > first:
            yield sobol.random(count - first)


def _draw_shapes(engine: Engine) -> dict[str, tuple[int, ...]]:
    """Return the normals of one network's worth of units, the last axis over coordinates: of the
    stem, every matrix and every bias; where the twin is pulled back, of the read-out (as of
    ``network_rows``, without the v that tokens share where none do) and every matrix's input."""
    arch, found = engine.arch, {STEM: (engine.arch.tokens, engine.width)}
    shapes: dict[str, Shape] = {s.name: s for s in engine.shapes}
    back = looks_back(engine.static.needed or ())
    if back:
        found[READOUT] = (arch.tokens if arch.readout.tokens == "each" else 1, engine.width)
    for name, node in arch.weights.items():
        shape = shapes[name]
        if isinstance(node, Linear):
            found[name] = (*steps(arch, name).shape, arch.tokens, shape.shape[0])
            if back:
                found[BACK + name] = (*steps(arch, name).shape, arch.tokens, shape.shape[1])
        else:
            found[name] = (shape.slots, shape.shape[0])
    return found


def _members(engine: Engine) -> dict[str, tuple[bool, int]]:
    """{what has normals: (whether units are heads, how many units a network has)}: a coordinate is
    a unit; what attention sees inside its heads, and what comes back to them, is one of a whole
    head, of keys and those who ask them. Not named is what has other units in several places, or
    none; no one, where attention sees what it reads and no matrix's answer to it."""
    arch, shapes = engine.arch, _draw_shapes(engine)
    drawn = (Linear, Bias)
    found = {
        name: (False, shape[-1])
        for name, shape in shapes.items()
        if name not in arch.weights or isinstance(arch.weights[name], drawn)
    }
    seen: dict[str, set[tuple[bool, int]]] = {}
    heads: dict[Vector, tuple[bool, int]] = {}
    nodes = [node for block in arch.sub_blocks for node in walk(block.branch)]
    for node in (node for node in nodes if isinstance(node, Attend)):
        rows = int(engine.width * rows_of(node.query))
        heads[node] = (True, heads_of(node.scores, rows) // group_of(node))
        for u in (u for leg in (node.query, node.key, node.value) for u in _seen(leg)):
            if isinstance(u, Read):
                return {}
            if isinstance(u, drawn):
                seen.setdefault(u.weight, set()).add(heads[node])
    for node in (
        node for node in nodes if isinstance(node, Linear) and BACK + node.weight in found
    ):
        within = {heads[u] for u in _seen(node.of) if isinstance(u, Attend)}
        seen.setdefault(BACK + node.weight, set()).update(within or {found[BACK + node.weight]})
    ambiguous = {name for name, kinds in seen.items() if len(kinds) > 1}
    found |= {name: next(iter(kinds)) for name, kinds in seen.items()}
    return {name: kind for name, kind in found.items() if name not in ambiguous}


def _seen(u: Vector) -> Iterator[Vector]:
    """Yield what an expression is made of coordinate by coordinate: matrices' answers, reads."""
    yield u
    if not isinstance(u, Linear):
        for child in children(u):
            yield from _seen(child)
