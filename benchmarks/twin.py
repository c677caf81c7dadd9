"""What a twin saves: the variance of one network's rows, plain over with the twin's deviations
taken off, by width.

    python benchmarks/twin.py [--networks 2000] [--widths 64 256 1024] [--gradients]

Small networks of every kind, at the last state; with --gradients rows of the pass back, at the
first. An error of about sqrt(2/networks) is in every ratio. Ratios grow with the width.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import sigprop as sp
from sigprop.agreement.finite_width.controlled import has_form, twin_of
from sigprop.description.rows import known, select
from sigprop.description.shapes import Row
from sigprop.simulations.engines.monte_carlo import engine_for, sample

A = sp.architectures
GELU = {"depth": 3, "activation": "gelu", "matrices": 2}
NETWORKS: dict[str, Any] = {
    "one matrix, tanh, no norm": A.residual_mlp(depth=3, activation="tanh", norm="none"),
    "the same, tied": A.looped_mlp(loops=3, activation="tanh", norm="none", matrices=1),
    "one matrix, relu, RMS": A.residual_mlp(depth=3),
    "two matrices, gelu, RMS, 3 tokens": A.residual_mlp(**GELU, tokens=3),
    "two matrices, gelu, RMS, tied": A.looped_mlp(loops=3, activation="gelu"),
    "transformer block, 3 tokens": A.transformer(depth=1, tokens=3),
    "looped transformer, 3 tokens": A.looped_transformer(tokens=3),
    "NAG, 3 tokens": A.nag(),
}
FORWARD = ("residual_variance", "token_cosine", "state_cosine", "write_variance")
GRADIENTS = ("gradient_variance", "weight_gradient")


def rows_of(arch: sp.Architecture, gradients: bool) -> tuple[Row, ...]:
    """Rows at the last state, or gradients' at the first; of the first token or pair."""
    names = GRADIENTS if gradients else FORWARD
    quantities = [name for name in known(arch, names) if select(arch, (name,), None)]
    at = [0] if gradients else [0, arch.depth]
    rows = [row for row in select(arch, quantities, at) if has_form(arch, row)]
    kept = {(row.quantity, row.group): row for row in rows if row.application == at[-1]}
    return tuple(kept.values())


def ratios(arch: sp.Architecture, rows: tuple[Row, ...], width: int, count: int) -> np.ndarray:
    """Variance of one network, plain over with its twin [R]; NaN of rows that do not move."""
    engine = engine_for("auto", arch, rows, width, 1024, typical=count, twin=twin_of(arch, rows))
    plain, without = np.split(sample(engine, count, 0), 2, axis=1)
    still = plain.std(axis=0) < 1e-5 * np.abs(plain.mean(axis=0))
    return np.where(still, np.nan, plain.var(axis=0) / np.maximum(without.var(axis=0), 1e-30))


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--gradients", action="store_true")
    given = parser.parse_args()
    print(f"{given.networks} networks of each width: {given.widths}")
    for name, arch in NETWORKS.items():
        rows = rows_of(arch, given.gradients)
        found = [ratios(arch, rows, width, given.networks) for width in given.widths]
        for k, row in enumerate(rows):
            what = row.quantity + (f" {row.group}" if row.group else "")
            print(f"{name:36} {what:26}", *(f"{each[k]:8.0f}" for each in found), flush=True)


if __name__ == "__main__":
    main()
