"""The literature's approximations of E[Omega r Omega'^T], by name. Each takes Gaussian scores of
covariance <q, q'> <k, k'>. ::

    annealed             expectations of numerator and denominator apart (Cowsik et al. 2403.02579):
                         sum_ss' E_ss' r_ss' / sum_ss' E_ss',   E_ss' = E exp(S_ts + S'_t's')
    near-uniform         weights 1/m, and a lognormal excess on equal tokens of one row (Kedia et
                         al. 2403.09635):
                         off + e^v (own - off)/m,   v = <q_t, q_t> (own of k - off of k)
    random-energy        a row's weights are those of m iid Gaussian energies of variance v
                         (Giorlandino, Goldt 2505.24333):
                         off + (own - off) Y,   Y = E sum_s Omega_ts^2 at finite m;   different
                                                rows: uniform
    random-energy-limit  the same for m -> infinity: Y = max(0, 1 - sqrt(2 log m / v))

m: tokens that row t may attend to; own, off: means over them of a Gram's diagonal and of its other
entries (the two entries of an exchangeable state). Nothing here is exact; ``predict`` gives each
row's deviation from the expectation itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.errors import InputError, near_miss
from sigprop.language.expression import Attend
from sigprop.theory.attention.heads import LARGEST, Leg

Mask = Float[Array, "T T"]
Gram = Float[Array, "#B T T"]
Grams = tuple[Gram, Gram, Gram]
"""Of places a, a-b and b."""
Tokens = Float[Array, "#B T"]
Found = dict[str, Float[Array, "B T *T"]]


def approximate(name: str, node: Attend, query: Leg, key: Leg, r: Gram, same: bool) -> Found:
    """{'forward': [B, T, T], 'participation': [B, T]} between places a and b; raises
    ``InputError`` where the approximation says nothing."""
    plain = (
        node.cap is None
        and node.base is None
        and node.rate is None
        and node.bias is None
        and not node.scores.uniform
        and not node.scores.qk_norm
    )
    if not plain:
        raise InputError(
            f"approximation={name}: stated for plain scores; accepted: no cap, positions, "
            f"dropout, bias or qk_norm, score_scale=sqrt"
        )
    if not same and name.startswith("random-energy"):
        raise InputError(
            f"approximation={name} knows one application at a time; accepted: untied attention"
        )
    allowed = jnp.asarray(node.scores.allowed(r.shape[-1]), dtype=jnp.float64)
    # of the scores
    log_a, log_b = (
        jnp.minimum(log, LARGEST / 2) for log in (query.log_a + key.log_a, query.log_b + key.log_b)
    )

    def sized(gram, log):
        return gram * jnp.exp(log)[:, None, None]

    q = sized(query.aa, 2 * log_a), sized(query.ab, log_a + log_b), sized(query.bb, 2 * log_b)
    return APPROXIMATIONS[name](allowed, q, (key.aa, key.ab, key.bb), r)


def check_approximation(name: str) -> str:
    """The name, if there is such an approximation; else ``InputError``."""
    if name not in APPROXIMATIONS:
        raise InputError(f"approximation={name!r}{near_miss(name, APPROXIMATIONS)}")
    return name


def annealed(allowed: Mask, q: Grams, k: Grams, r: Gram) -> Found:
    """Row by row of the output: O(T^4) in all, O(T^3) at a time."""
    (q_a, q_ab, q_b), (k_a, k_ab, k_b) = q, k

    def diagonal(x):
        return jnp.diagonal(x, axis1=-2, axis2=-1)

    def row(t: Any) -> tuple[Any, Any]:
        own = 0.5 * diagonal(q_a)[:, t, None] * diagonal(k_a)  # [B, s]
        other = 0.5 * diagonal(q_b)[:, :, None] * diagonal(k_b)[:, None, :]  # [B, t', s']
        # [B, t', s, s']
        logs = (
            own[:, None, :, None] + other[:, :, None, :] + q_ab[:, t, :, None, None] * k_ab[:, None]
        )
        weight = jnp.where(
            (allowed[t][None, :, None] * allowed[:, None, :])[None] > 0, logs, -jnp.inf
        )
        weight = jax.nn.softmax(weight.reshape(*weight.shape[:2], -1), axis=-1).reshape(
            weight.shape
        )
        return (weight * r[:, None]).sum(axis=(-2, -1)), jnp.trace(weight[:, t], axis1=-2, axis2=-1)

    forward, participation = jax.lax.map(row, jnp.arange(r.shape[-1]))  # [t, B, t'], [t, B]
    return {"forward": jnp.moveaxis(forward, 0, 1), "participation": participation.T}


def near_uniform(allowed: Mask, q: Grams, k: Grams, r: Gram) -> Found:
    """A row's excess is lognormal at one application; at two it has their covariance in place of
    the variance."""
    v = jnp.diagonal(q[1], axis1=-2, axis2=-1) * _apart(allowed, k[1])
    return _rows(allowed, r, jnp.exp(v) / allowed.sum(axis=1)[None])


def random_energy(allowed: Mask, q: Grams, k: Grams, r: Gram) -> Found:
    """Y by one integral over the energies and one over u: Y = m int_0^inf u E[x^2 e^(-u x)]
    E[e^(-u x)]^(m-1) du, x = e^(sqrt(v) z)."""
    v = jnp.maximum(
        jnp.diagonal(q[1], axis1=-2, axis2=-1) * _apart(allowed, k[1]),
        jnp.zeros((), dtype=jnp.float64),
    )
    m = jnp.broadcast_to(allowed.sum(axis=1)[None], v.shape)
    z = jnp.linspace(-9, 9, 301)
    weight = jnp.exp(-z * z / 2) / jnp.exp(-z * z / 2).sum()

    def integral(both: Any) -> Any:
        v, m = both
        # of log u, beyond which the integrand is below rounding
        low, high = -v - 9 * jnp.sqrt(v) - jnp.log(m) - 12, 9 * jnp.sqrt(v) + 4
        log_u = low + (high - low) * jnp.linspace(0, 1, 600)
        x = jnp.sqrt(v) * z[None] + log_u[:, None]
        damped = jnp.exp(-jnp.exp(jnp.minimum(x, jnp.full_like(x, 50.0))))
        first, second = (
            damped @ weight,
            (damped * jnp.exp(2 * jnp.minimum(x, jnp.full_like(x, 50.0)))) @ weight,
        )
        return m * (second * first ** (m - 1)).sum() * (high - low) / 599

    y = jax.lax.map(integral, (v.ravel(), m.ravel())).reshape(v.shape)
    return _rows(allowed, r, y)


def random_energy_limit(allowed: Mask, q: Grams, k: Grams, r: Gram) -> Found:
    """0 above the freezing temperature, 1 - beta_c/beta below: v = beta^2 log m, v_c = 2 log m."""
    v = jnp.diagonal(q[1], axis1=-2, axis2=-1) * _apart(allowed, k[1])
    frozen = 2 * jnp.log(allowed.sum(axis=1))[None]
    ratio = jnp.sqrt(frozen / jnp.where(v > 0, v, jnp.ones_like(v)))
    y = jnp.where((v > frozen) | (frozen == 0), 1 - ratio, jnp.zeros_like(v))
    return _rows(allowed, r, y, rest=0.0)


def _own_off(allowed: Mask, gram: Gram) -> tuple[Tokens, Tokens]:
    """Means of a Gram's diagonal and of its other entries over the tokens each row may attend
    to, [B, T]."""
    m = allowed.sum(axis=1)[None]
    own = jnp.einsum("ts,bss->bt", allowed, gram)
    every = jnp.einsum("ts,bsu,tu->bt", allowed, gram, allowed)
    pairs = jnp.maximum(m * (m - 1), jnp.ones_like(m))
    return own / m, jnp.where(m > 1, (every - own) / pairs, jnp.zeros_like(own))


def _apart(allowed: Mask, gram: Gram) -> Tokens:
    own, off = _own_off(allowed, gram)
    return own - off


def _rows(allowed: Mask, r: Gram, y: Tokens, rest: float | None = None) -> Found:
    """off + (own - off) Y on the diagonal; between rows the mean over both rows' tokens
    (``rest`` = 0: unequal ones only)."""
    own, off = _own_off(allowed, r)
    share = allowed / allowed.sum(axis=1, keepdims=True)
    overlap = jnp.einsum("ts,bsu,vu->btv", share, r, share)
    if rest == 0:  # without what equal tokens of the two rows add, a share of 1/m
        same, weight = (
            jnp.einsum("ts,bss,vs->btv", share, r, share),
            jnp.einsum("ts,vs->tv", share, share)[None],
        )
        overlap = jnp.where(
            weight < 1,
            (overlap - same) / jnp.where(weight < 1, 1 - weight, jnp.ones_like(weight)),
            overlap,
        )
    diagonal = jnp.eye(r.shape[-1], dtype=r.dtype)[None]
    return {
        "forward": overlap * (1 - diagonal) + (off + (own - off) * y)[..., None] * diagonal,
        "participation": y,
    }


Rule = Callable[..., Found]
APPROXIMATIONS: dict[str, Rule] = {
    "annealed": annealed,
    "near-uniform": near_uniform,
    "random-energy": random_energy,
    "random-energy-limit": random_energy_limit,
}
