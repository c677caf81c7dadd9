"""What a forward pass leaves of units for the way back, and how every step there gets its part."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp


class Record(NamedTuple):
    """What the forward pass left of units at every step: what they read [P, R, K, T], and was drawn
    {matrix or bias: [P, K C, T]}; their lanes before it [P, m, K, T], and their write [P, K, T];
    what they gave {weight: [P, K C, T]}, where steps share weights; their tokens in the stem [K,
    T]. Of members with their axis next to P.
    """

    reads: Any
    outputs: dict[str, Any]
    lanes: Any
    write: Any
    given: dict[str, Any]
    stem: Any


class Tables(NamedTuple):
    """What the forward pass left of all steps, where steps share weights: records of the unit and
    of members, factors {weight: L [P, T, P, T]}."""

    unit: Record
    members: Record
    factors: dict[str, Any]


def record(forward: dict[str, Any]) -> Record:
    """Return what a forward pass left of the unit that was traced beside it."""
    reads, outputs, write, _ = forward["traced"]
    kept = forward["last"].tables
    given = {name: each.unit for name, each in kept["given"].items()}
    lanes = kept["lanes"].unit[:-1]
    return Record(reads.unit, outputs, lanes, write, given, forward["stem"][1])


def by_step(
    forward: dict[str, Any], members: Record, tables: dict[str, Any], bands: Any
) -> dict[str, Any]:
    """Return what every step of the reversed scan is given of the unit and of members, in the
    forward pass's order."""
    reads, _, _, grams = forward["traced"]
    steps = tables["step"].shape[0]
    return {
        "unit": record(forward)._replace(given={}, stem=()),
        "others": reads.others,
        "members": members._replace(given={}, stem=()),
        "averages": forward["averages"],
        "grams": grams,
        "forward_step": jnp.arange(steps),
        "earlier": tables["partners"],
        "ties_earlier": tables["ties"],
        "widths": jnp.broadcast_to(bands, (steps, len(bands))),
        "forward_bands": forward["by_band"],
    }


def of_all_steps(forward: dict[str, Any], members: Record | None) -> dict[str, Any]:
    """Return what a step is given of all steps where some share weights; nothing where no unit is
    traced."""
    if members is None:
        return {}
    return {"asked": Tables(record(forward), members, forward["last"].tables["factors"])}
