"""The averages that a network sees, in its own units, and rows' derivatives by sources at them, as
compiled programs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from sigprop.runtime.compiling import jit
from sigprop.theory.calculus.environment import Fineness
from sigprop.theory.fluctuations.running import resolution
from sigprop.theory.gaussian.begin import Begin
from sigprop.theory.recursion.passes import FORWARD, Network, forward_pass
from sigprop.theory.recursion.program import Structure
from sigprop.theory.recursion.sources.sources import Sources

AT_ONCE = 16  # rows
READ = ("states", "writes", "crossed")
"""What rows are read off."""


@jit(static=(0, 1))
def run_seen(structure: Structure, coupled: bool, sources: Sources, *given: Any) -> dict[str, Any]:
    """Everything that ``controls`` puts together."""
    return _seen(structure, coupled, sources, *given)


@jit(static=(0, 1))
def run_rows(
    structure: Structure,
    coupled: bool,
    sources: Sources,
    slopes: tuple[Any, Any, Any],
    *given: Any,
) -> Sources:
    """Derivatives of rows by sources, each array once a row, in front; slopes: of every row, by
    what ``READ`` names."""

    def read(sources: Sources) -> tuple[Any, ...]:
        seen = _seen(structure, coupled, sources, *given)
        return seen["states"][:, 0, 0], seen["writes"], seen["crossed"]

    back = jax.vjp(read, sources)[1]
    return jax.lax.map(lambda row: back(row)[0], slopes, batch_size=AT_ONCE)


def _seen(
    structure: Structure,
    coupled: bool,
    sources: Sources,
    fineness: Fineness,
    points: Any,
    tables: dict[str, Any],
    begin: Begin,
    bands: Any,
    columns: Any,
) -> dict[str, Any]:
    """Run the forward pass. Averages by the names of ``description.averages``, of the scan's steps
    and boundaries; coefficients of the lanes by those of ``Controls``."""
    network = Network(
        structure,
        coupled,
        FORWARD,
        resolution(structure, fineness, points),
        tables,
        begin,
        bands,
        None,
        sources,
    )
    kernels, forward, initial = forward_pass(network, columns, None)
    log, write_log = kernels["state_log"], kernels["write_log"]
    inputs, pairs = forward["given"]
    first = jnp.einsum("ikt,jks,ts->ijts", initial, initial, begin.gram)
    first = first + sources.states[0] / _both(log[0], log[0])[None, None]
    states = jnp.concatenate([first[None], forward["gram"][:, :, :, 0]])
    size = jnp.exp(log)
    now, after = size[:-1], size[1:]
    crossed = jnp.diagonal(kernels["crossed"], axis1=-2, axis2=-1)
    return {
        "states": states * _both(log, log)[:, None, None],
        "crossed": crossed * size[:, None] * size[columns][None],
        "overlaps": forward["overlaps"] * (jnp.exp(write_log) * now)[:, None],
        "writes": kernels["writes"] * _both(write_log, write_log),
        "stem": jnp.diagonal(begin.gram) * jnp.exp(2 * begin.log),
        "inputs": inputs,
        "pairs": pairs,
        "initial": initial[:, 0] * jnp.exp(log[0] - begin.log)[None],
        "reads": forward["reads"][:, :, :, 0]
        * (jnp.exp(forward["read_log"]) / now[:, None])[:, :, None],
        "transition": forward["transition"][:, :, :, 0] * (after / now)[:, None, None],
        "into": forward["into"][:, :, 0, 0] * (after * jnp.exp(-write_log))[:, None],
        "kernels": kernels,
    }


def _both(left: Float[Array, "*p T"], right: Float[Array, "*p T"]) -> Float[Array, "*p T T"]:
    """Return exp(left[t] + right[s])."""
    return jnp.exp(left[..., :, None] + right[..., None, :])
