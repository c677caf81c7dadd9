"""What a pass through one network leaves, forward (``Trace``) and, as gradients of zeros added
on the way, in reverse (``Probes``)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from sigprop.description.architecture import Architecture
from sigprop.simulations.network.inner import dot
from sigprop.simulations.network.precision import SINGLE
from sigprop.simulations.network.weights import Shape


class Trace(NamedTuple):
    """What a forward pass leaves: lanes [m] of [D + 1, T, n], writes [D, T, n], inputs {weight:
    [D, T, n_in]}, taps [A, T, n], participation [D, T]: sum_s Omega_ts^2 of attention, 0
    elsewhere; made while the vectors are at hand, so that a program whose rows ask for no more
    need not keep them: grams [D + 1, T, T] of lane 0, input_grams {weight: [D, T, T]}, finite [D
    + 1]; log_norm [D + 1, T]: log of all that norms have divided lane 0 by; modulators [D, T], 0
    where a token was skipped (1 without modulators). What weights of experts see and give has an
    axis of experts behind D."""

    lanes: tuple[Float[Array, "states T n"], ...]
    writes: Float[Array, "D T n"]
    inputs: dict[str, Float[Array, "D *E T n_in"]]
    taps: Float[Array, "A T n"]
    participation: Float[Array, "D T"]
    grams: Float[Array, "states T T"]
    input_grams: dict[str, Float[Array, "D *E T T"]]
    finite: Bool[Array, " states"]
    log_norm: Float[Array, "states T"]
    modulators: Float[Array, "D T"]


class Probes(NamedTuple):
    """Zeros added on the way, whose gradients are dz/dh: before [D, T, n] the applications and
    after [T, n] the last one (lane 0), outputs {weight: [D, T, n_out]}, stem [T, n]. Where one
    listens (``listen``), the "gradients" are those gradients' Grams: grams [D + 1, T, T] of lane
    0, output_grams {weight: [D, T, T]}; None of ``silent`` ones."""

    before: Float[Array, "*C D T n"]
    after: Float[Array, "*C T n"]
    outputs: dict[str, Float[Array, "*C D T n_out"]]
    stem: Float[Array, "*C T n"]
    grams: Float[Array, "*C states T T"]
    output_grams: dict[str, Float[Array, "*C D T T"]]

    @property
    def states(self) -> Float[Array, "*C states T n"]:
        """[D + 1, T, n]."""
        return jnp.concatenate([self.before, self.after[..., None, :, :]], axis=-3)


def zero_probes(
    arch: Architecture, shapes: tuple[Shape, ...], width: int, dtype: DTypeLike = SINGLE
) -> Probes:
    """The probes of a pass."""

    def zeros(*shape):
        return jnp.zeros(shape, dtype=dtype)

    def of(s: Shape, *shape: int) -> Array:
        return zeros(arch.depth, *s.together, arch.tokens, *shape)

    return Probes(
        zeros(arch.depth, arch.tokens, width),
        zeros(arch.tokens, width),
        {s.name: of(s, s.shape[0]) for s in shapes},
        zeros(arch.tokens, width),
        zeros(arch.depth + 1, arch.tokens, arch.tokens),
        {s.name: of(s, arch.tokens) for s in shapes},
    )


def silent(probes: Probes) -> Probes:
    """The same without those that listen: a pass with them has a forward mode."""
    return probes._replace(grams=None, output_grams=dict.fromkeys(probes.output_grams))


def listen(
    x: Float[Array, "*E T n"], probe: Float[Array, "*E T T"] | None
) -> Float[Array, "*E T n"]:
    """x; in reverse the probe's cotangent, where there is a probe, is the Gram of x's."""
    return x if probe is None else _listen(x, probe)


@jax.custom_vjp
def _listen(x: Float[Array, "*E T n"], probe: Float[Array, "*E T T"]) -> Float[Array, "*E T n"]:
    return x


_listen.defvjp(lambda x, probe: (x, None), lambda _, g: (g, dot(g, g)))
