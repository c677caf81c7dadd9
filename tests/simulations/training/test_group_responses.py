"""Rates times responses of every group of a transformer do not grow with the width: 2304.02034's
factors on real gradients, s = 0 and 1.

SGD: lambda_G sum |dz/dtheta|^2, Adam: lambda_G sum |dz/dtheta|, over all entries of a group; rms
entries fall as n^-(1+s)/2, the read-out's not at all.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.scaling.rates import rules
from sigprop.scaling.sizes import sizes_of
from sigprop.simulations.engines.engine import base_key
from sigprop.simulations.network.weights import shapes
from sigprop.simulations.training import trained

WIDTHS, NETWORKS = (64, 128, 256, 512), {64: 768, 128: 512, 256: 256, 512: 96}
GROUPS = ("q", "k", "v", "u", "w", "x", "embedding", "position", "readout")


def network(width: int) -> sp.Architecture:
    given = {
        "depth": 2,
        "tokens": 4,
        "mlp_ratio": 2,
        "head_dim": 16,
        "mask": "causal",
        "words": (0, 1, 2, 1),
        "c_pe": 0.5,
    }
    return sp.architectures.transformer(**given)


@functools.cache
def responses(width: int) -> dict[str, np.ndarray]:
    """group -> [networks, 3]: sum |g|, sum g^2, rms of the entries that are touched, of the last
    token's z = theta . o at s = 0."""
    arch = network(width)
    found = shapes(arch, width)
    bare, table, scales = (
        trained.bare(arch, width),
        trained.tables(arch),
        trained.scales(arch, width),
    )

    def one(key: jax.Array) -> dict[str, jax.Array]:
        params, _ = trained.start(
            arch,
            found,
            width,
            key,
            size=scales,
            readout=np.float32(width**-0.5),
            by_part=table["inputs"],
        )
        last = jnp.zeros(arch.tokens, dtype=jnp.float32).at[-1].set(1)
        gradients = trained.passed(
            bare,
            found,
            params,
            table,
            width=width,
            cotangent=lambda z: last,
            at=(1,),
            key=key,
        ).gradients
        sums = {
            name: jnp.stack([jnp.abs(g).sum(), (g * g).sum(), (g != 0).sum().astype(jnp.float32)])
            for name, g in gradients.items()
        }
        return sums

    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        base_key(arch, width, 5, 0), jnp.arange(NETWORKS[width], dtype=jnp.uint32)
    )
    out = jax.lax.map(jax.jit(one), keys, batch_size=4)
    return {name: np.asarray(values, dtype=np.float64) for name, values in out.items()}


def slope(group: str, value, power: float = 0.0) -> tuple[float, float]:
    """(slope, standard error) of ln mean value(responses) - power ln n over the widths."""
    logs, errors = [], []
    for n in WIDTHS:
        x = value(responses(n)[group])
        logs.append(math.log(x.mean()) + power * math.log(n))
        errors.append(x.std(ddof=1) / math.sqrt(len(x)) / x.mean())
    x, w = np.log(WIDTHS), 1 / np.maximum(errors, 1e-4) ** 2
    c = w * (x - (w * x).sum() / w.sum())
    c = c / (c * x).sum()
    return float(c @ np.array(logs)), float(np.sqrt((c**2 * np.array(errors) ** 2).sum()))


def rate_power(group: str, optimizer: str, s: int) -> float:
    """Power of n of the group's rate, from the rules themselves."""
    at = [
        rules(network(n), optimizer, s)[group].learning_rate.subs(sizes_of(network(n), n))
        for n in (64, 128)
    ]
    return float(math.log2(float(at[1] / at[0])))


@pytest.mark.parametrize("s", [0, 1])
@pytest.mark.parametrize(("optimizer", "column", "order"), [("sgd", 1, 2), ("adamw", 0, 1)])
@pytest.mark.parametrize("group", GROUPS)
def test_rate_times_response_is_flat(
    group: str, optimizer: str, column: int, order: int, s: int
) -> None:
    """Within 0.05, three standard errors; s only turns what is not the read-out's by n^(-s
    order/2). A rate half a power off would be seen."""
    turned = 0.0 if group == "readout" else -s * order / 2
    found, se = slope(group, lambda x: x[:, column], rate_power(group, optimizer, s) + turned)
    assert abs(found) < 0.05, (found, se)
    assert se < 0.017 and abs(found + 0.5) > 0.3


@pytest.mark.parametrize("group", GROUPS)
def test_entries_fall_as_the_table_says(group: str) -> None:
    """rms of the entries of parameters that are touched (words that occur): n^-1/2 for every
    group at s = 0, n^0 for the read-out."""
    found, se = slope(group, lambda x: x[:, 1] / x[:, 2])
    assert abs(found / 2 - (0.0 if group == "readout" else -0.5)) < 0.05, (found / 2, se)
