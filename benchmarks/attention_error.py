"""What sampled heads cost and how exact they are: Hugging Face configurations as they are
initialised, T = 32 tokens, forward and backward.

    python benchmarks/attention_error.py [--tokens 32] [--layers 4] [--error 0.005] [--json FILE]
    python benchmarks/attention_error.py --kinds gpt2 --layers 12

Seconds of processor time, compilation included, and the largest and the median stated error over
rows (relative; of cosines absolute). `independent` is the same number of heads without antithetic
pairs: the ratio of errors is what the pairs are worth, and carries over to another machine.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import sigprop as sp
from sigprop.reading.sources import from_config
from sigprop.theory.attention.draws import Points, head_draws
from sigprop.theory.recursion import kernels

QUANTITIES = ["residual_variance", "token_cosine", "gradient_variance"]
SIZES = {"hidden_size": "512", "intermediate_size": "1024", "num_attention_heads": "8"}
GROUPED = SIZES | {"num_key_value_heads": "4"}
CHANGES = {
    "gpt2": {"n_embd": "512", "n_head": "8"},
    "llama": GROUPED,
    "qwen3": GROUPED | {"head_dim": "64"},
}
DEPTH = {"gpt2": "n_layer"}


def independent(law: Any, tokens: int, seed: int, amount: Any) -> Points:
    """As many heads as ``head_draws`` has, none the mirror of another."""
    every = head_draws(law, tokens, seed, amount._replace(finer=2 * amount.finer))
    return Points(*(None if part is None else part[::2] for part in every))


def predicted(arch: sp.Architecture, error: float | None) -> dict[str, Any]:
    """Processor seconds, and the stated errors of all rows."""
    start = time.process_time()
    table = sp.predict(arch, QUANTITIES, error=error)
    seconds = time.process_time() - start
    errors = np.array([row["error"] / row["scale"] for row in table if row["scale"]])
    return {
        "seconds": seconds,
        "largest": float(errors.max()),
        "median": float(np.median(errors)),
        "remarks": (table.notes or {}).get("remarks", []),
    }


def run(kind: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """One kind of configuration: as it comes, with independent heads, to the error asked for."""
    changes = CHANGES[kind] | {DEPTH.get(kind, "num_hidden_layers"): str(given.layers)}
    named = from_config(kind, tokens=given.tokens, changes=changes)
    arch = sp.read(named.build, named.example).architecture
    ways: list[tuple[str, Any, float | None]] = [("pairs", head_draws, None)]
    ways.append(("independent", independent, None))
    if given.error is not None:
        ways.append((f"error={given.error:g}", head_draws, given.error))
    rows = []
    for name, drawn, error in ways:
        kernels.head_draws = drawn
        rows.append({"kind": kind, "heads": name} | predicted(arch, error))
        print(
            "{kind:>6} {heads:<12} {seconds:7.1f} s  {largest:.2e}  {median:.2e}".format(**rows[-1])
        )
    print(f"{kind:>6} independent/pairs: error {rows[1]['median'] / rows[0]['median']:.1f}")
    return rows


def main() -> None:
    """Predict each kind in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--error", type=float, default=None)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rows = [row for kind in given.kinds for row in run(kind, given)]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
