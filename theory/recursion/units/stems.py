"""The stem: the initial lanes as functions of it, and what comes back to it.

Lanes are c s + b 1 of the stem s, c and b functions of its averages where an initial lane is
normalised, which every unit is a part of. Source: derived (tests/theory/fluctuations).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.theory.calculus.linear import ONES
from sigprop.theory.gaussian import field
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.forward import dense, numeric_form
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.units.pulled import Cotangents
from sigprop.theory.recursion.units.unit import among


class Seen(NamedTuple):
    """What the stem's norms see: <s, s> [K, T], and where a unit is traced the mean of s [1, K,
    T]."""

    square: Any
    mean: Any = None


class Start(NamedTuple):
    """Initial lanes (and the stem's own): their coefficients on the stem and on 1 [m, K, T], on the
    scale log [1, T]; gain [T]: log of what lane 0 was divided by."""

    lanes: Any
    ones: Any
    log: Any
    gain: Any


class Stem(NamedTuple):
    """A stem of one structure: its Gram, widths of bands [K], numbers of the first step."""

    structure: Structure
    begin: Begin
    bands: Any
    numbers: dict[str, Any]

    def units(self, normals: Float[Array, "K T"]) -> Float[Array, "K T"]:
        """Return units' tokens in the stem."""
        root = field.cholesky(jnp.asarray(self.begin.gram))
        return jnp.stack([root @ each for each in normals])

    def seen(self, t: Any = 0.0, unit: Any = None) -> Seen:
        """Return what norms see, units of weight t and tokens ``unit`` [K, T] among all."""
        shape = len(self.bands), self.begin.gram.shape[0]
        square = jnp.broadcast_to(jnp.diagonal(jnp.asarray(self.begin.gram))[None], shape)
        if unit is None:
            return Seen(square)
        t = among(t, self.bands)[:, None]
        return Seen((1 - t) * square + t * unit**2, (t * unit)[None])

    def start(self, seen: Seen) -> Start:
        """Return the initial lanes."""
        shape, log = seen.square.shape, self.begin.log[None]
        x = {"numbers": self.numbers} | ({} if seen.mean is None else {"means": seen.mean})

        def gram(i: int, j: int) -> Any:
            if ONES not in (i, j):
                return seen.square
            return jnp.ones_like(seen.square) if i == j else seen.mean[0]

        form = numeric_form(x, gram, lambda leaf: log, 0, self.bands)
        found = [form(lane) for lane in self.structure.initial]
        if self.structure.injects:
            found.append(({0: jnp.ones(shape, dtype=jnp.float64)}, log))
        logs = [jnp.broadcast_to(own, (1, shape[1])) for _, own in found]
        common = functools.reduce(jnp.maximum, logs)
        lanes, ones = (
            jnp.stack(
                [
                    dense({0: c.get(leaf, 0.0) * jnp.exp(own - common)}, [0], shape)[0]
                    for c, own in found
                ]
            )
            for leaf in (0, ONES)
        )
        gain = jnp.broadcast_to(form.gain(self.structure.initial[0]), (1, shape[1]))[0]
        return Start(lanes, ones, common, gain)


def back_to_stem(
    stem: Stem, seen: Seen, t: Any, units: Float[Array, "B K T"], gram: Any, lanes: Cotangents
) -> Float[Array, "T T"]:
    """Return <g, g> of the gradient by the stem, as a network averages it. seen: by norms; units:
    tokens in the stem of the unit, of weight t, and of members; gram [m, m, K, T, T], lanes: the
    cotangents of the initial lanes, their main part's Gram and those of the units."""

    def coefficients(seen: Seen) -> tuple[Any, Any]:
        start = stem.start(seen)
        return start.lanes, start.ones

    (c, _), pull = jax.vjp(coefficients, seen)
    members, widths, t = max(1, len(units) - 1), stem.bands[:, None], among(t, stem.bands)
    seen_by = (lanes.overlap("nikt,nkt->ikt", each, t) for each in (units, jnp.ones_like(units)))
    (back,) = pull(tuple(widths[None] * each for each in seen_by))
    main = jnp.einsum("ikt,ikt->kt", c, lanes.main)
    rest = jnp.einsum("ikt,nikt->nkt", c, lanes.rest)
    rest = rest + (2 * back.square / widths)[None] * units + back.mean / widths[None]
    own = main + rest[0]
    expected = jnp.einsum("ikt,jks,ijkts->kts", c, c, gram)
    expected = expected + jnp.einsum("nkt,nks->kts", rest[1:], rest[1:]) / members
    t = t[:, None, None]
    mixed = (1 - t) * expected + t * own[:, :, None] * own[:, None, :]
    return jnp.einsum("k,kts->ts", stem.bands, mixed)
