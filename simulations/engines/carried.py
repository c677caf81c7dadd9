"""What a matrix-free network knows of its matrices, going along with its passes: take, ask, put,
and what each does in reverse.

For every slot the directions its matrix was asked for and their images. In reverse, the cotangent
of that state is not a derivative but a carrier: it starts as the last state, full of forward
queries, and each transposed query, answered given all of them, is added to it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Integer, Key

from sigprop.simulations.engines.conditional import LAWS, Seen
from sigprop.simulations.network import random
from sigprop.simulations.network.directions import whole_blocks
from sigprop.simulations.network.precision import SINGLE
from sigprop.simulations.network.weights import Shape


class Known(NamedTuple):
    """Of one weight, [slots, queries, side] (without slots: of one application): forward queries
    and transposed ones; passes: how many cotangents were pulled back before (0 going forward). Of
    experts' weights all have an axis of experts, behind that of slots."""

    forward: Seen
    transposed: Seen
    passes: Float[Array, "*E"]


@dataclass(frozen=True)
class Kind:
    """What one weight's queries look like: static."""

    shape: Shape
    ensemble: str
    uses: int
    tokens: int
    passes: int
    dtype: str = SINGLE

    @property
    def sides(self) -> tuple[int, int]:
        return LAWS[self.ensemble].sides(*self.shape.shape)

    @property
    def rounds(self) -> tuple[int, int]:
        """(0 or 1, 0 or passes): how often the forward queries and the transposed ones of all
        uses are kept; what nobody asks again is not."""
        return int(self.uses > 1 or self.passes > 0), self.passes * (self.uses * self.passes > 1)

    @property
    def kept(self) -> int:
        """Queries, each a direction and an image."""
        return self.shape.slots * self.uses * self.tokens * sum(self.rounds)

    def empty(self) -> Known:
        """Nothing asked yet."""
        rows, columns = self.sides
        longest = max(rows, columns)

        def zeros(count: int, side: int) -> Float[Array, "slots *E kept {side}"]:
            kept = whole_blocks(count * self.uses * self.tokens, longest)
            slots = self.shape.slots // self.shape.copies
            return jnp.zeros((slots, *self.shape.together, kept, side), dtype=self.dtype)

        forward, back = self.rounds
        return Known(
            Seen(zeros(forward, columns), zeros(forward, rows)),
            Seen(zeros(back, rows), zeros(back, columns)),
            jnp.zeros(self.shape.together, dtype=self.dtype),
        )


State = dict[str, Known]
Number = Integer[Array, ""] | int | np.integer
Slots = dict[str, Number]
Keys = Key[Array, " queries"]
Place = tuple[Integer[Array, ""], Number, Number]


def _no(x: Any) -> Any:
    """The cotangent of what is not a real number."""
    return jax.tree.map(lambda leaf: np.zeros(jnp.shape(leaf), dtype=jax.dtypes.float0), x)


def _at(arrays: Any, slot: Any) -> Any:
    index = functools.partial(jax.lax.dynamic_index_in_dim, axis=0, keepdims=False)
    return jax.tree.map(
        lambda array: index(array, slot) if array.shape[0] > 1 else array[0], arrays
    )


def _set(arrays: Any, slot: Any, values: Any) -> Any:
    # in place, unlike a scatter
    update = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=0)
    return jax.tree.map(
        lambda array, value: update(array, value, slot) if array.shape[0] > 1 else value[None],
        arrays,
        values,
    )


@jax.custom_vjp
def take(state: State, slots: Slots) -> tuple[State, State]:
    """(each weight's slot, the state); in reverse the slot is written back."""
    local = {
        name: Known(
            _at(known.forward, slots[name]), _at(known.transposed, slots[name]), known.passes
        )
        for name, known in state.items()
    }
    return local, state


def _take_reverse(slots: Slots, carriers: tuple[State, State]) -> tuple[State, Any]:
    local, state = carriers
    back = {
        name: known._replace(transposed=_set(known.transposed, slots[name], local[name].transposed))
        for name, known in state.items()
    }
    return back, _no(slots)


take.defvjp(lambda state, slots: (take(state, slots), slots), _take_reverse)


@jax.custom_vjp
def put(state: State, slots: Slots, local: State) -> State:
    """The state with each weight's slot replaced; in reverse it is read."""
    return {
        name: known._replace(forward=_set(known.forward, slots[name], local[name].forward))
        for name, known in state.items()
    }


def _put_reverse(slots: Slots, carrier: State) -> tuple[State, Any, State]:
    local = {
        name: Known(
            _at(known.forward, slots[name]), _at(known.transposed, slots[name]), known.passes
        )
        for name, known in carrier.items()
    }
    return carrier, _no(slots), local


put.defvjp(lambda state, slots, local: (put(state, slots, local), slots), _put_reverse)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def ask(
    kind: Kind, keys: Keys, place: Place, known: Known, x: Float[Array, "T n_in"]
) -> tuple[Float[Array, "T n_out"], Known]:
    """(W x [T, n_out], with this query known); in reverse W^T of the cotangent, with that query
    known. place: (application, use of the slot, which expert)."""
    rows, columns = kind.sides
    fresh = _normals(kind, keys, place, 0, rows)
    own = known.forward if kind.uses > 1 else None
    row = place[1] * kind.tokens
    y, new = LAWS[kind.ensemble].ask(own, None, _padded(x, columns), fresh, row)
    forward = _written(known.forward, new, row)
    return y[:, : kind.shape.shape[0]], known._replace(forward=forward)


def _forward(
    kind: Kind, keys: Keys, place: Place, known: Known, x: Float[Array, "T n_in"]
) -> tuple[tuple[Float[Array, "T n_out"], Known], tuple[Keys, Place]]:
    return ask(kind, keys, place, known, x), (keys, place)


def _reverse(
    kind: Kind, kept: tuple[Keys, Place], cotangents: tuple[Float[Array, "T n_out"], Known]
) -> tuple[Any, Any, Known, Float[Array, "T n_in"]]:
    (keys, place), (d, known) = kept, cotangents
    rows, columns = kind.sides
    done = known.passes.astype(jnp.int32)
    fresh = _normals(kind, keys, place, 1 + done, columns)
    own = known.transposed if kind.uses * kind.passes > 1 else None
    # the last use is the first to be pulled back
    row = (done * kind.uses + kind.uses - 1 - place[1]) * kind.tokens
    y, new = LAWS[kind.ensemble].ask(own, known.forward, _padded(d, rows), fresh, row)
    transposed = _written(known.transposed, new, row)
    return _no(keys), _no(place), known._replace(transposed=transposed), y[:, : kind.shape.shape[1]]


ask.defvjp(_forward, _reverse)


def _normals(
    kind: Kind, keys: Keys, place: Place, which: Number | int, side: int
) -> Float[Array, "T {side}"]:
    """Of the forward query (which = 0) or a transposed one (1, 2, ...) of an application."""
    step, _, copy = place
    key = keys[(step.astype(jnp.int32) * (1 + kind.passes) + which) * kind.shape.copies + copy]
    return random.normal(key, (kind.tokens, side), kind.dtype)


def forward_normals(kind: Kind, keys: Keys, step: Number) -> Float[Array, "T n_out"]:
    """The normals that ``ask`` makes its answer of, at an application (no expert's)."""
    return _normals(kind, keys, (jnp.asarray(step), 0, 0), 0, kind.shape.shape[0])


def transposed_normals(kind: Kind, keys: Keys, step: Number) -> Float[Array, "T n_in"]:
    """Those of its transposed answer to the first cotangents pulled."""
    return _normals(kind, keys, (jnp.asarray(step), 0, 0), 1, kind.shape.shape[1])


def _padded(x: Float[Array, "T n"], side: int) -> Float[Array, "T {side}"]:
    return x if x.shape[-1] == side else jnp.pad(x, ((0, 0), (0, side - x.shape[-1])))


def _written(seen: Seen, new: Seen, row: Number) -> Seen:
    """``seen`` with new rows from ``row`` on (unchanged where it has no room, as where nothing
    is ever asked again)."""
    if seen.directions.shape[0] == 0:
        return seen
    if seen.directions.shape[0] == new.directions.shape[0]:
        return new
    return Seen(
        *(
            jax.lax.dynamic_update_slice(array, rows, (row, jnp.zeros_like(row)))
            for array, rows in zip(seen, new, strict=True)
        )
    )
