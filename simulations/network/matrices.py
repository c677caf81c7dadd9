"""How a network's forward pass uses its matrices: the one thing that engines differ in."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jax import Array
from jaxtyping import Float, Int, Integer

Slots = Integer[Array, "*E"] | int


@runtime_checkable
class Matrices(Protocol):
    """The matrices of one network. A state goes along with the pass, application by application,
    where they have one.

    place: of an application {'step': which, 'slots': {weight: slot}, 'uses': {weight: which use of
    the slot it is}}.
    """

    def start(self) -> Any:
        """The state before the first application: a pytree of arrays of the network's precision,
        or one without leaves."""
        ...

    def take(self, state: Any, place: Any) -> tuple[Any, Any]:
        """(what an application needs of the state, the state)."""
        ...

    def put(self, state: Any, place: Any, local: Any) -> Any:
        """The state after an application that left ``local``."""
        ...

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "*E T n_in"]
    ) -> tuple[Float[Array, "*E T n_out"], Any]:
        """(W x for every token [T, n_in] -> [T, n_out], local), entries of W of variance 1;
        differentiable in x and local. Of weights that E experts have: [E, T, n_in] -> [E, T,
        n_out], each by its own."""
        ...

    def bias(self, weight: str, slot: Slots) -> Float[Array, "*E n_out"]:
        """[n_out] of variance 1, of every slot that is asked for."""
        ...

    def normals(
        self, weight: str, steps: Int[np.ndarray, "slots U"], asked: Float[Array, "slots U T n_in"]
    ) -> Float[Array, "slots U T n_out"]:
        """The independent standard normals that the forward answers over every slot's uses are
        made of: those of a slot are L of the Gram of what was asked, times these, times the root
        of n_in, L its lower-triangular root of positive diagonal.

        steps: the applications that use each slot, in order, -1 where it has fewer (and asked is
        zero: any normals)."""
        ...

    def transposed_normals(
        self,
        weight: str,
        steps: Int[np.ndarray, "slots U"],
        asked: Float[Array, "slots U T n_in"],
        came: Float[Array, "slots U T n_out"],
    ) -> Float[Array, "slots U T n_in"]:
        """Those that the transposed answers to the first cotangents pulled are made of, outside of
        the span of what was asked (inside they are drawn for this alone): likewise, with L of the
        Gram of what came, times the root of n_out.

        came, steps: in the order in which they came, the last use first."""
        ...

    def pull(self, vjp: Any, cotangents: Any, state: Any) -> Any:
        """vjp((c, cotangent of the last state)) -> (gradients, cotangent of the first), for
        every c of ``cotangents`` [C, ...]: [C, gradients]."""
        ...
