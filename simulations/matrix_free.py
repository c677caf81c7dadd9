"""The matrix-free engine: exact finite networks whose matrices are never formed (``conditional``), forward and backward.

A state goes along with the forward pass: for every slot the directions its matrix was asked for and their images. In
reverse, the cotangent of that state is not a derivative but a carrier: it starts as the last state, full of forward queries,
and each transposed query, answered given all of them, is added to it. Further cotangents are pulled back one after another
with the same carrier, so all gradients are of one network. O(n) numbers a query instead of O(n^2) a matrix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.architecture import Architecture
from sigprop.simulations import random
from sigprop.simulations.conditional import LAWS, Seen
from sigprop.simulations.engine import Engine, Static
from sigprop.simulations.weights import Shape, stored


class Known(NamedTuple):
    """Of one weight, [slots, queries, side] (without slots: of one application): forward queries and transposed ones; passes: how many
    cotangents were pulled back before (0 going forward)."""

    forward: Seen
    transposed: Seen
    passes: Any


@dataclass(frozen=True)
class _Kind:
    """What one weight's queries look like: static."""

    shape: Shape
    ensemble: str
    uses: int
    tokens: int
    passes: int

    @property
    def sides(self) -> tuple[int, int]:
        return LAWS[self.ensemble].sides(*self.shape.shape)

    def empty(self) -> Known:
        """Nothing asked yet."""
        rows, columns = self.sides
        zeros = lambda count, side: jnp.zeros((self.shape.slots, count * self.uses * self.tokens, side), dtype=jnp.float32)  # noqa: E731
        forward, back = int(self.uses > 1 or self.passes > 0), self.passes
        return Known(Seen(zeros(forward, columns), zeros(forward, rows)), Seen(zeros(back, rows), zeros(back, columns)), jnp.zeros((), dtype=jnp.float32))


class MatrixFree:
    """The matrices of one network (``Matrices``)."""

    def __init__(self, static: Static, keys: dict[str, Any]):
        arch = static.arch
        matrices = [s for s in static.shapes if len(s.shape) > 1]
        uses = {s.name: max(map(len, arch.applications_of(s.name).values())) for s in matrices}
        self.kinds = {s.name: _Kind(s, arch.ensemble, uses[s.name], arch.tokens, static.passes) for s in matrices}
        self.keys = {s.name: random.branches(keys[s.name], arch.depth * (1 + static.passes)) for s in matrices}  # of every query
        self.biases = {s.name: stored(keys[s.name], s) for s in static.shapes if len(s.shape) == 1}

    def start(self) -> Any:
        return {name: kind.empty() for name, kind in self.kinds.items()}

    def take(self, state: Any, place: Any) -> tuple[Any, Any]:
        return _take(state, {name: place["slots"][name] for name in self.kinds})

    def put(self, state: Any, place: Any, local: Any) -> Any:
        return _put(state, {name: place["slots"][name] for name in self.kinds}, local)

    def apply(self, local: Any, place: Any, weight: str, x: Any) -> tuple[Any, Any]:
        found: Any = _apply(self.kinds[weight], self.keys[weight], (place["step"], place["uses"][weight]), local[weight], x)
        return found[0], local | {weight: found[1]}

    def bias(self, weight: str, slot: Any) -> Any:
        return self.biases[weight][slot]

    def pull(self, vjp: Any, cotangents: Any, state: Any) -> Any:
        def one(carrier: Any, c: Any) -> tuple[Any, Any]:
            gradients, carrier = vjp((c, carrier))
            return {name: known._replace(passes=known.passes + jnp.ones_like(known.passes)) for name, known in carrier.items()}, gradients

        return jax.lax.scan(one, state, cotangents)[1]


def _no(x: Any) -> Any:
    """The cotangent of what is not a real number."""
    return jax.tree.map(lambda leaf: np.zeros(jnp.shape(leaf), dtype=jax.dtypes.float0), x)


def _at(arrays: Any, slot: Any) -> Any:
    index = functools.partial(jax.lax.dynamic_index_in_dim, axis=0, keepdims=False)
    return jax.tree.map(lambda array: index(array, slot) if array.shape[0] > 1 else array[0], arrays)


def _set(arrays: Any, slot: Any, values: Any) -> Any:
    update = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=0)  # in place, unlike a scatter
    return jax.tree.map(lambda array, value: update(array, value, slot) if array.shape[0] > 1 else value[None], arrays, values)


@jax.custom_vjp
def _take(state: Any, slots: Any) -> tuple[Any, Any]:
    """(each weight's slot, the state); in reverse the slot is written back."""
    local = {name: Known(_at(known.forward, slots[name]), _at(known.transposed, slots[name]), known.passes) for name, known in state.items()}
    return local, state


def _take_reverse(slots: Any, carriers: Any) -> Any:
    local, state = carriers
    back = {name: known._replace(transposed=_set(known.transposed, slots[name], local[name].transposed)) for name, known in state.items()}
    return back, _no(slots)


_take.defvjp(lambda state, slots: (_take(state, slots), slots), _take_reverse)


@jax.custom_vjp
def _put(state: Any, slots: Any, local: Any) -> Any:
    """The state with each weight's slot replaced; in reverse it is read."""
    return {name: known._replace(forward=_set(known.forward, slots[name], local[name].forward)) for name, known in state.items()}


def _put_reverse(slots: Any, carrier: Any) -> Any:
    local = {name: Known(_at(known.forward, slots[name]), _at(known.transposed, slots[name]), known.passes) for name, known in carrier.items()}
    return carrier, _no(slots), local


_put.defvjp(lambda state, slots, local: (_put(state, slots, local), slots), _put_reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(kind: _Kind, keys: Any, place: Any, known: Known, x: Any) -> Any:
    """(W x [T, n_out], with this query known); in reverse W^T of the cotangent, with that query known. place: (application, use of the slot)."""
    rows, columns = kind.sides
    step, use = place
    fresh = _normals(kind, keys, step, 0, rows)
    own = known.forward if kind.uses > 1 else None
    y, new = LAWS[kind.ensemble].ask(own, None, _padded(x, columns), fresh)
    forward = _written(known.forward, new, use * kind.tokens)
    return y[:, : kind.shape.shape[0]], known._replace(forward=forward)


def _forward(kind: _Kind, keys: Any, place: Any, known: Known, x: Any) -> Any:
    return _apply(kind, keys, place, known, x), (keys, place)


def _reverse(kind: _Kind, kept: Any, cotangents: Any) -> Any:
    (keys, place), (d, known) = kept, cotangents
    rows, columns = kind.sides
    step, use = place
    done = known.passes.astype(jnp.int32)
    fresh = _normals(kind, keys, step, 1 + done, columns)
    own = known.transposed if kind.uses * kind.passes > 1 else None
    y, new = LAWS[kind.ensemble].ask(own, known.forward, _padded(d, rows), fresh)
    transposed = _written(known.transposed, new, (done * kind.uses + use) * kind.tokens)
    return _no(keys), _no(place), known._replace(transposed=transposed), y[:, : kind.shape.shape[1]]


_apply.defvjp(_forward, _reverse)


def _normals(kind: _Kind, keys: Any, step: Any, which: Any, side: int) -> Any:
    """Of the forward query (which = 0) or a transposed one (1, 2, ...) of an application."""
    return random.normal(keys[step.astype(jnp.int32) * (1 + kind.passes) + which], (kind.tokens, side))


def _padded(x: Any, side: int) -> Any:
    return x if x.shape[-1] == side else jnp.pad(x, ((0, 0), (0, side - x.shape[-1])))


def _written(seen: Seen, new: Seen, row: Any) -> Seen:
    """``seen`` with new rows from ``row`` on (unchanged where it has no room, as where nothing is ever asked again)."""
    if seen.directions.shape[0] == 0:
        return seen
    if seen.directions.shape[0] == new.directions.shape[0]:
        return new
    return Seen(*(jax.lax.dynamic_update_slice(array, rows, (row, jnp.zeros_like(row))) for array, rows in zip(seen, new, strict=True)))


@dataclass(frozen=True)
class _Plan:
    def __call__(self, static: Static, keys: dict[str, Any]) -> MatrixFree:
        return MatrixFree(static, keys)


class MatrixFreeEngine(Engine):
    """Costs normals for queries, not for matrices: O(n) each."""

    name, compiling = "matrix-free", 1.1
    ladder, widest = (1, 4, 16), 2**14  # width is cheap, so the 1/n term is seen from further away

    @staticmethod
    def can(arch: Architecture) -> bool:
        return arch.ensemble in LAWS

    def plan(self, memory_bytes: int) -> Callable[[Static, dict[str, Any]], MatrixFree]:
        return _Plan()

    def _queries(self) -> list[tuple[Shape, int, int]]:
        """(shape, uses of a slot, passes) of every matrix."""
        return [(s, max(map(len, self.arch.applications_of(s.name).values())), self.passes) for s in self.shapes if len(s.shape) > 1]

    @property
    def bytes_per_network(self) -> int:
        """The queries, as state and as carrier, and the vectors."""
        asked = sum(s.slots * uses * self.arch.tokens * sum(s.shape) * (1 + passes) for s, uses, passes in self._queries())
        return 8 * asked + self._vectors

    @property
    def seconds(self) -> float:
        """Normals and orthogonalisations of the queries, and the vectors."""
        total = 12e-9 * self.arch.depth * self.arch.tokens * self.width
        for s, uses, passes in self._queries():
            before = uses * self.arch.tokens * (1 + passes)
            total += s.slots * before * sum(s.shape) * (3.5e-9 + 0.2e-9 * before)
        return total
