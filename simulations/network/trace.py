"""What a pass through one network leaves, forward (``Trace``) and, as gradients of zeros added
on the way, in reverse (``Probes``)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

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
    where a token was skipped (1 without modulators)."""

    lanes: Any
    writes: Any
    inputs: Any
    taps: Any
    participation: Any
    grams: Any
    input_grams: Any
    finite: Any
    log_norm: Any
    modulators: Any


class Probes(NamedTuple):
    """Zeros added on the way, whose gradients are dz/dh: before [D, T, n] the applications and
    after [T, n] the last one (lane 0), outputs {weight: [D, T, n_out]}, stem [T, n]. Where one
    listens (``listen``), the "gradients" are those gradients' Grams: grams [D + 1, T, T] of lane
    0, output_grams {weight: [D, T, T]}."""

    before: Any
    after: Any
    outputs: Any
    stem: Any
    grams: Any
    output_grams: Any

    @property
    def states(self) -> Any:
        """[D + 1, T, n]."""
        return jnp.concatenate([self.before, self.after[..., None, :, :]], axis=-3)


def zero_probes(
    arch: Architecture, shapes: tuple[Shape, ...], width: int, dtype: Any = SINGLE
) -> Probes:
    """The probes of a pass."""

    def zeros(*shape):
        return jnp.zeros(shape, dtype=dtype)

    return Probes(
        zeros(arch.depth, arch.tokens, width),
        zeros(arch.tokens, width),
        {s.name: zeros(arch.depth, arch.tokens, s.shape[0]) for s in shapes},
        zeros(arch.tokens, width),
        zeros(arch.depth + 1, arch.tokens, arch.tokens),
        {s.name: zeros(arch.depth, arch.tokens, arch.tokens) for s in shapes},
    )


@jax.custom_vjp
def listen(x: Any, probe: Any) -> Any:
    """x; in reverse the probe's cotangent is the Gram of x's."""
    return x


listen.defvjp(lambda x, probe: (x, None), lambda _, g: (g, dot(g, g)))
