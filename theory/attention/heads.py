"""One head of attention at two places: the Grams it is sampled from, and the weights and Grams it
has once it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from sigprop.language.scores import Scores
from sigprop.theory.attention.positions import Angle

LARGEST = 300.0  # of the scores' log scale: beyond it a softmax has long been a maximum
SINGULAR = 1e-7  # of the largest root of an eigenvalue: below it lies rounding


Number = Float[Array, "1 1 1"]
Bias = Float[Array, "#C #B #T T"]
Omega = Float[Array, "C B T T"]
Coordinates = Float[Array, "C B T d"]
Factor = Float[Array, "B R R"]
"""A with A A^T a Gram of tokens, or of both places' tokens."""


class Leg(NamedTuple):
    """Gram of queries or keys at two places: own a [B, T, T], cross a-b, own b; log: of each
    place's scale, [B] each."""

    aa: Float[Array, "B T T"]
    ab: Float[Array, "B T T"]
    bb: Float[Array, "B T T"]
    log_a: Float[Array, " B"]
    log_b: Float[Array, " B"]


class Drawn(NamedTuple):
    """A drawn bias at two places: which of a head's numbers a pair of tokens gets, static; the
    standard deviations there; tie: 1 where both places have one draw, else 0."""

    numbers: Int[np.ndarray, "T T"]
    sd_a: Number
    sd_b: Float[Array, "#B 1 1"]
    tie: Float[Array, "#B 1 1"] | int


class Form(NamedTuple):
    """Beside ``Scores``, how scores become weights: the soft cap and the rotary base [1, 1, 1];
    the biases at a and b, one for each kind of heads [kinds, B, T or 1, T]; a drawn bias; or
    None; smooth: whether heads move smoothly with their Grams, point by point; seen: of scores that
    vanish with the width, what a unit adds to them at a [1, T, T] and b [B, T, T]."""

    cap: Number | None = None
    base: Number | None = None
    bias_a: Bias | None = None
    bias_b: Bias | None = None
    drawn: Drawn | None = None
    smooth: bool = False
    seen: tuple[Any, Any] | None = None

    @property
    def kinds(self) -> int:
        """How many kinds of heads the biases tell apart."""
        return 1 if self.bias_a is None else self.bias_a.shape[0]


class Norms(NamedTuple):
    """The factors nu (1/rms) of normalised queries and keys [C, B, T] at a and b."""

    query_a: Float[Array, "C B T"]
    query_b: Float[Array, "C B T"]
    key_a: Float[Array, "C B T"]
    key_b: Float[Array, "C B T"]


class Side(NamedTuple):
    """Queries and keys of heads at one place [C, B, T, d], before positions turn them; with norms
    those of length sqrt(d); and x = <q_t, k_s>/d [C, B, T, T] of the turned ones."""

    queries: Coordinates
    keys: Coordinates
    x: Omega


class Head(NamedTuple):
    """omega_a, omega_b [C, B, T, T]; slope: Omega times the cap's slope; queries, keys: <q_a,
    q_b>, <k_a, k_b> of the very head (law d) or their Grams (inf). Where positions or norms turn
    them, the vectors themselves in their place: sides, at a and b, and angle [d/2, T]."""

    omega_a: Omega
    omega_b: Omega
    slope_a: Omega
    slope_b: Omega
    queries: Omega | None = None
    keys: Omega | None = None
    norms: Norms | None = None
    sides: tuple[Side, Side] | None = None
    angle: Angle | None = None

    @property
    def same(self) -> bool:
        """Tell if a and b are one place."""
        return self.omega_a is self.omega_b


def factor(leg: Leg, same: bool, smooth: bool = False) -> Factor:
    """[B, T or 2T, same]: A with A A^T = the (stacked) Gram; singular Grams too. Leading columns
    carry most; smooth: instead the symmetric root, which does not turn where eigenvalues meet."""
    if same:
        gram = leg.aa
    else:
        turned = jnp.swapaxes(leg.ab, -1, -2)
        gram = jnp.concatenate(
            [jnp.concatenate([leg.aa, leg.ab], -1), jnp.concatenate([turned, leg.bb], -1)], -2
        )
    gram = (gram + jnp.swapaxes(gram, -1, -2)) / 2
    if smooth:
        return _root(gram)
    sizes, vectors = _spectrum(gram)
    return (vectors * sizes[..., None, :])[..., ::-1]


def _spectrum(gram: Factor) -> tuple[Float[Array, "B K"], Factor]:
    """Return the roots of eigenvalues, and eigenvectors. One by one: on two cores, two batches at
    once wait for each other's threads for ever (jaxlib)."""
    values, vectors = jax.lax.map(jnp.linalg.eigh, gram)
    return jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values))), vectors


@jax.custom_jvp
def _root(gram: Factor) -> Factor:
    """Return the symmetric root S."""
    sizes, vectors = _spectrum(gram)
    return (vectors * sizes[..., None, :]) @ jnp.swapaxes(vectors, -1, -2)


@_root.defjvp
def _root_derivative(at: tuple[Factor], along: tuple[Factor]) -> tuple[Factor, Factor]:
    """Solve S dS + dS S = dG; what has no size does not move. (Of eigenvectors there is no
    derivative where eigenvalues meet.)"""
    (gram,), (change,) = at, along
    sizes, vectors = _spectrum(gram)
    turned = jnp.swapaxes(vectors, -1, -2)
    both = sizes[..., :, None] + sizes[..., None, :]
    alive = both > SINGULAR * jnp.max(sizes, axis=-1)[..., None, None]
    inside = jnp.where(alive, turned @ change @ vectors / jnp.where(alive, both, 1.0), 0.0)
    root = (vectors * sizes[..., None, :]) @ turned
    return root, vectors @ inside @ turned


def softmax(
    scores: Scores,
    cap: Number | None,
    s: Omega,
    log: Float[Array, " #B"],
    bias: Bias | None = None,
) -> tuple[Omega, Omega]:
    """Omega [C, B, T, T] of scores exp(log) s, capped, plus the bias, over the allowed tokens;
    and Omega times the cap's slope."""
    s = s * jnp.exp(jnp.minimum(log, LARGEST))[None, :, None, None]
    if cap is not None:
        s = cap[None] * jnp.tanh(s / cap[None])
    biased = s if bias is None else s + bias
    allowed = jnp.asarray(scores.allowed(s.shape[-1]))[None, None]
    omega = jax.nn.softmax(jnp.where(allowed, biased, -jnp.inf), axis=-1)
    return omega, omega if cap is None else omega * (1 - (s / cap[None]) ** 2)
