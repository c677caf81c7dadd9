"""Time and memory of ``predict`` for a long transformer: 24 sub-blocks, forward and backward,
without and with the NTK.

    python benchmarks/attention.py [--tokens 128] [--depth 12] [--json FILE]

Seconds include compilation; memory is the process's peak. The stated error of the last state's
variance is printed beside them.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import sigprop as sp

STREAM = ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"]


def main() -> None:
    """Predict once per row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    rows = []
    for head_dim in (64, "inf"):
        arch = sp.architectures.transformer(
            depth=given.depth, tokens=given.tokens, head_dim=head_dim, mask="causal"
        )
        started = time.monotonic()
        table = sp.predict(arch, STREAM, [0, arch.depth])
        seconds = time.monotonic() - started
        last = next(
            row
            for row in table
            if row["quantity"] == "residual_variance"
            and row["application"] == arch.depth
            and row["token"] == given.tokens - 1
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        rows.append(
            {
                "head_dim": head_dim,
                "seconds": seconds,
                "peak_mib": peak,
                "value": last["value"],
                "error": last["error"],
            }
        )
        print(
            f"head_dim {head_dim!s:>4}: {seconds:6.1f} s, peak {peak:7.0f} MiB, residual_variance "
            f"{last['value']:.4f} +- {last['error']:.1g}"
        )
    if given.json:
        given.json.write_text(
            json.dumps(
                {"tokens": given.tokens, "sub_blocks": 2 * given.depth, "rows": rows}, indent=2
            )
        )


if __name__ == "__main__":
    main()
