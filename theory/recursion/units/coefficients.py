"""What comes back through coefficients: reads and rules hold averages (norms, projections), which
every unit is a part of, so their derivatives add overlaps of the gradient with what they multiply,
times states.

For S' = M S + B w + c 1, M, B, c functions of averages K: <g', dS'> has <g'_i, S_j> dM_ij and the
like, and dK_jk = <dS_j, S_k> + <S_j, dS_k>. The derivatives are jax's own, of the very functions
that the forward pass evaluates. Source: derived (tests/theory/fluctuations).
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.theory.recursion.units.behind import Pulling
from sigprop.theory.recursion.units.pulled import Cotangents, together
from sigprop.theory.recursion.units.unit import among


@runtime_checkable
class Kind(Protocol):
    """A forward step, as ``gram_scan.Kind``."""

    def read(self, x: Any, gram: Any, log: Any) -> tuple[Any, Any]: ...
    def shift(self, x: Any, gram: Any, log: Any) -> Any: ...
    def rule(
        self, x: Any, gram: Any, log: Any, cross: Any, own: Any, write_log: Any
    ) -> tuple[Any, Any, Any, dict[str, Any]]: ...


def through_rule(
    kind: Kind, x: Any, pulling: Pulling
) -> tuple[Float[Array, "B m K T"], Float[Array, "B K T"]]:
    """Return what the rule's coefficients add to the rest of the lanes' cotangents, on the scale of
    those after the step, and of the write's."""
    at, (t, widths) = x["averages"], _weights(pulling)
    states, writes = _bundle(pulling, "lanes"), _bundle(pulling, "write")
    lanes = states.shape[1]
    after = Cotangents(pulling.lanes.main[:lanes], pulling.lanes.rest[:, :lanes])

    def rule(grams: tuple[Any, Any, Any], means: Any, mean_write: Any) -> tuple[Any, Any, Any]:
        gram, cross, own = grams
        given = x | {"means": means, "mean_write": mean_write}
        m, b, _, facts = kind.rule(given, gram, at.log, cross, own, at.write_log)
        return m, b[:, 0], facts["shift"][0]

    seen = (
        after.overlap("nikt,njkt->ijkt", states, t),
        after.overlap("nikt,nkt->ikt", writes, t),
        after.overlap("nikt,n->ikt", jnp.ones_like(writes[:, 0, 0]), t),
    )
    pull = jax.vjp(rule, at.grams, at.means, at.mean_write)[1]
    (gram, cross, own), means, mean_write = pull(
        tuple(jnp.einsum("...kt,k,t->...kt", each, widths, at.unit) for each in seen)
    )
    # an average of a band is one over a share of the units
    cross, own = (jnp.einsum("ijkts,k->ijkts", each, 1 / widths) for each in (cross, own))
    to_lanes = _of_states(gram, means, states, widths)
    to_lanes = to_lanes + jnp.einsum("jkts,nkt->njks", cross[0], writes)
    to_write = jnp.einsum("jkts,njks->nkt", cross[0], states)
    to_write = to_write + (mean_write / widths[:, None])[None]
    both = own[0, 0] + jnp.swapaxes(own[0, 0], -1, -2)
    return to_lanes, to_write + jnp.einsum("kts,nks->nkt", both, writes)


def through_reads(kind: Kind, x: Any, pulling: Pulling, y: Cotangents) -> Float[Array, "R B m K T"]:
    """Return what the reads' coefficients add to the rest of the lanes' cotangents, of each on the
    scale of its y [R, T]."""
    at, (t, widths) = x["averages"], _weights(pulling)
    states = _bundle(pulling, "lanes")

    def read(gram: Any, means: Any) -> tuple[Any, Any]:
        given = x | {"means": means}
        return kind.read(given, gram, at.log)[0], kind.shift(given, gram, at.log)

    pull = jax.vjp(read, at.grams[0], at.means)[1]
    rho = y.overlap("nrkt,nikt->rikt", states, t) * widths[None, None, :, None]
    shift = y.overlap("nrkt,n->rkt", jnp.ones_like(states[:, 0, 0, 0]), t)
    shift = jnp.einsum("k,rkt->rt", widths, shift)
    each = []
    for r in range(len(rho)):
        alone = (jnp.arange(len(rho)) == r).astype(rho.dtype)
        gram, means = pull(
            (jnp.einsum("rikt,r->rikt", rho, alone), jnp.einsum("rt,r->rt", shift, alone))
        )
        each.append(_of_states(gram, means, states, widths))
    return jnp.stack(each)


def _bundle(pulling: Pulling, name: str) -> Any:
    """Return what the forward pass left of the unit, and of the members, as one array."""
    return together(getattr(pulling.unit, name), getattr(pulling.members, name))


def _of_states(gram: Any, means: Any, states: Any, widths: Any) -> Float[Array, "B m K T"]:
    """Return what derivatives by <S, S> and by means of the bands give to every unit."""
    both = gram + jnp.transpose(gram, (1, 0, 2, 4, 3))
    found = jnp.einsum("jlkts,nlks->njkt", both, states) + means[None]
    return found / widths[None, None, :, None]


def _weights(pulling: Pulling) -> tuple[Any, Any]:
    """Return the units' weights among their bands, and the bands' widths."""
    widths = pulling.tracing.bands.widths
    return among(pulling.tracing.t, widths), widths
