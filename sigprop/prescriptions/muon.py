"""Muon as torch and optax have it: what a prescription sets, in the terms of either library.

    W <- W - lr f O - lr decay W     O the momentum after five Newton-Schulz iterations, close to U
                                     V^T (of singular values above 0.002 of its norm 0.68 to 1.20,
                                     of smaller ones less), f the shape factor

    original          sqrt(max(1, n_out/n_in))     default of both
    match_rms_adamw   0.2 sqrt(max(n_in, n_out))   torch: adjust_lr_fn, optax: consistent_rms=0.2
    spectral          sqrt(n_out/n_in)             neither's: here lr sqrt(min(1, n_out/n_in)) at
                                                   'original', and decay over the same

Source: torch.optim.Muon and optax.contrib.muon; tests/prescriptions/test_muon_objects.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from sigprop.errors import InputError
from sigprop.prescriptions.prescription import Prescription
from sigprop.runtime.optax import contrib_with_muon, is_variable

MOMENTUM = 0.95
"""What torch and optax start from."""
EPSILONS = {"torch": 1e-7, "optax": 1e-8}
"""Beside the gradient's norm, where the prescription was not given one: as each starts from."""
CONSISTENT_RMS = 0.2


class Sides(NamedTuple):
    """n_out and n_in of one matrix."""

    rows: int
    inputs: int


def adjusted(numbers: Mapping[str, float], factor: str, sides: Sides) -> dict[str, float]:
    """Return a group's numbers as the libraries' own shape factors need them for one matrix."""
    less = math.sqrt(min(1.0, sides.rows / sides.inputs)) if factor == "spectral" else 1.0
    return dict(numbers) | {
        "learning_rate": numbers["learning_rate"] * less,
        "weight_decay": numbers["weight_decay"] / less,
    }


def check_sides(name: str, sides: Sides, expected: Sides, accepted: str) -> None:
    """Raise ``InputError`` for a matrix that lies the other way round than is prescribed for."""
    straight = sides.rows * expected.inputs == sides.inputs * expected.rows
    turned = sides.rows * expected.rows == sides.inputs * expected.inputs
    if turned and not straight:
        raise InputError(
            f"{name}: n_out={sides.rows}, n_in={sides.inputs}, where n_out/n_in = "
            f"{expected.rows}/{expected.inputs} is prescribed for; accepted: {accepted}"
        )


def torch_entries(
    parameters: Mapping[str, Any], numbers: Mapping[str, float], group: str, plan: Prescription
) -> list[dict[str, Any]]:
    """Return torch.optim.Muon's parameter groups of one group: one, or one a shape where the rate
    depends on it. Raises ``InputError`` for a parameter that is no matrix [n_out, n_in]."""
    factor, entries = plan.parameters["shape_factor"], {}
    for name, parameter in parameters.items():
        if parameter.ndim != 2:
            raise InputError(
                f"{name} of {group}: {parameter.ndim} axes, and torch.optim.Muon takes matrices; "
                f"accepted: patterns that give others to a group such as bias or norm"
            )
        sides = Sides(*parameter.shape)
        check_sides(name, sides, Sides(*plan.muon[group]), "weights [n_out, n_in]")
        own = adjusted(numbers, factor, sides)
        entry = {
            "params": [],
            "name": group,
            "lr": own["learning_rate"],
            "weight_decay": own["weight_decay"],
            "eps": own["epsilon"],
            "adjust_lr_fn": "match_rms_adamw" if factor == "match_rms_adamw" else "original",
            "use_muon": True,
        }
        entries.setdefault(own["learning_rate"], entry)["params"].append(parameter)
    return list(entries.values())


def torch_muon() -> Any:
    """Return torch.optim.Muon; raises ``InputError`` where torch has none."""
    import torch

    if not hasattr(torch.optim, "Muon"):
        raise InputError(
            f"torch {torch.__version__} has no torch.optim.Muon; accepted: torch 2.9 or newer, or "
            f"torch_param_groups (entries with use_muon) for a Muon of one's own"
        )
    return torch.optim.Muon


def dimensions(name: str, leaf: Any, given: Any, expected: Sides) -> tuple[Any, Sides]:
    """Return a leaf's MuonDimensionNumbers and its sides: as given, else its last two axes, n_in
    and n_out, those before them counting matrices. Raises ``InputError`` where they are not."""
    numbers = given or contrib_with_muon().MuonDimensionNumbers(-2, -1)
    if leaf.ndim < 2:
        raise InputError(
            f"{name}: {leaf.ndim} axes, and Muon takes matrices; accepted: patterns that give "
            f"others to a group such as bias or norm"
        )
    inputs, rows = (_length(leaf, axes) for axes in numbers)
    accepted = "dimension_numbers={group: optax.contrib.MuonDimensionNumbers(axes in, axes out)}"
    if given is None and leaf.ndim > 2 and (rows, inputs) != expected:
        raise InputError(
            f"{name}: shape {tuple(leaf.shape)}, whose last two axes are not n_in={expected.inputs}"
            f" and n_out={expected.rows}; accepted: {accepted}"
        )
    check_sides(name, Sides(rows, inputs), expected, accepted)
    return numbers, Sides(rows, inputs)


def _length(leaf: Any, axes: Any) -> int:
    """Return the product of a leaf's lengths along these axes."""
    return math.prod(leaf.shape[axis] for axis in ((axes,) if isinstance(axes, int) else axes))


def optax_transform_of(
    rate: Any,
    numbers: Mapping[str, float],
    *,
    factor: str,
    momentum: float | None,
    dimension_numbers: Any,
) -> Any:
    """Return optax.contrib.muon for matrices of these dimension numbers. rate: a number or a
    schedule, ``adjusted``, as the numbers are."""
    import jax

    def of_each(params: Any) -> Any:
        return jax.tree.map(lambda _: dimension_numbers, params, is_leaf=is_variable)

    return contrib_with_muon().muon(
        rate,
        beta=MOMENTUM if momentum is None else momentum,
        eps=numbers["epsilon"],
        weight_decay=numbers["weight_decay"],
        muon_weight_dimension_numbers=of_each,
        consistent_rms=CONSISTENT_RMS if factor == "match_rms_adamw" else None,
    )
