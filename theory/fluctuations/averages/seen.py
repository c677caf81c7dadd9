"""The averages that a network sees, in its own units, and rows' derivatives by sources at them, as
compiled programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.runtime.compiling import jit
from sigprop.theory.fluctuations.running import Given
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.passes import FORWARD
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.sources import Sources

AT_ONCE = 16  # rows


@jit(static=(0, 1, 2))
def run_seen(
    structure: Structure, coupled: bool, reach: int, sources: Sources, given: Given
) -> dict[str, Any]:
    """Everything that ``controls`` puts together."""
    return _seen(structure, coupled, reach, sources, given)


@jit(static=(0, 1, 2))
def run_rows(
    structure: Structure,
    coupled: bool,
    reach: int,
    sources: Sources,
    slopes: dict[str, Any],
    given: Given,
) -> Sources:
    """Derivatives of rows by sources, each array once a row, in front; slopes: of every row, by
    what it is read off (``reading.slopes``)."""

    def read(sources: Sources) -> dict[str, Any]:
        seen = _seen(structure, coupled, reach, sources, given)
        seen["states"] = seen["states"][:, 0, 0]
        return {name: seen[name] for name in slopes}

    back = jax.vjp(read, sources)[1]
    return jax.lax.map(lambda row: back(row)[0], slopes, batch_size=AT_ONCE)


def _seen(
    structure: Structure, coupled: bool, reach: int, sources: Sources, given: Given
) -> dict[str, Any]:
    """Run the passes. Averages by the names of ``description.averages``, of the scan's steps and
    boundaries; coefficients of the lanes by those of ``Controls``."""
    network = given.network(structure, coupled, reach, sources=sources)
    kernels, forward, initial = given.forward(network)
    found = _forward(kernels, forward, initial, sources, given.begin, given.columns)
    if coupled:
        later = jnp.exp(kernels["write_log"])
        scale = later[:, None] * later[jnp.minimum(given.tables["partners"], len(later) - 1)]
        overlaps = jnp.diagonal(kernels["write_pairs"], axis1=-2, axis2=-1)
        found["write_pairs"] = overlaps * scale
    if reach == FORWARD:
        return found
    return found | _backward(kernels, given.backward(network, forward, initial))


def _forward(
    kernels: dict[str, Any],
    forward: dict[str, Any],
    initial: Any,
    sources: Sources,
    begin: Begin,
    columns: Any,
) -> dict[str, Any]:
    """Return what the forward pass left, in the units of the network."""
    log, write_log = kernels["state_log"], kernels["write_log"]
    inputs, pairs = forward["given"]
    first = jnp.einsum("ikt,jks,ts->ijts", initial, initial, begin.gram)
    first = first + sources.states[0] / _both(log[0], log[0])[None, None]
    states = jnp.concatenate([first[None], forward["gram"][:, :, :, 0]])
    size = jnp.exp(log)
    now, after = size[:-1], size[1:]
    crossed = jnp.diagonal(kernels["crossed"], axis1=-2, axis2=-1)
    into, read = after * jnp.exp(-write_log), jnp.exp(forward["read_log"]) / now[:, None]
    return {
        "states": states * _both(log, log)[:, None, None],
        "crossed": crossed * size[:, None] * size[columns][None],
        "overlaps": forward["overlaps"] * (jnp.exp(write_log) * now)[:, None],
        "writes": kernels["writes"] * _both(write_log, write_log),
        "log_norm": kernels["log_norm"],
        "stem": jnp.diagonal(begin.gram) * jnp.exp(2 * begin.log),
        "inputs": inputs,
        "pairs": pairs,
        "initial": initial[:, 0] * jnp.exp(log[0] - begin.log)[None],
        "reads": forward["reads"][:, :, :, 0] * read[:, :, None],
        "transition": forward["transition"][:, :, :, 0] * (after / now)[:, None, None],
        "into": forward["into"][:, :, 0, 0] * into[:, None],
        "kernels": kernels,
    }


def _backward(kernels: dict[str, Any], back: dict[str, Any]) -> dict[str, Any]:
    """Return what the pass back left, in the units of the network and the forward pass's order."""
    log = back["gradient_log"][::-1] - kernels["state_log"]
    cotangents, later = back.pop("given")
    stem_log = back["stem_log"].reshape(log.shape[1:])
    return {
        "gradients": back["gradients"][::-1] * _both(log, log),
        "groups": {
            name: (gram * _both(own, own))[::-1] for name, (gram, own) in back["groups"].items()
        },
        "gradient_stem": back["stem"] * _both(stem_log, stem_log),
        "cotangents": cotangents,
        "later": later,
        "kernels": kernels | back,
    }


def _both(left: Float[Array, "*p T"], right: Float[Array, "*p T"]) -> Float[Array, "*p T T"]:
    """Return exp(left[t] + right[s])."""
    return jnp.exp(left[..., :, None] + right[..., None, :])
