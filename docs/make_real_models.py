"""Read, predict, measure and judge model families as they are initialised, and write
docs/real_models.csv: a line a family and quantity, the row furthest from its prediction.

    python docs/make_real_models.py [--only gpt2,t5] [--seeds 20,80,240] [--false-alarms 3]

Every family is built from its configuration, or as ``real_model_modules`` has it, at two widths
(nothing is downloaded), measured with 20 fresh networks of each, and judged on a of a + b/n; what
is inconclusive with 80, then 240 (a rejection's 1 % is for each). Families that are in the file are
kept, so that an interrupted run continues: to judge one anew, delete its lines first.
``--false-alarms``: instead, so many times a family, one network beside 20 fresh ones of the same
builder (``sp.compare``), and how many were rejected.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from real_model_modules import HEAD, LAYERS, MODULES, WORDS
from real_model_table import FILE, rms
from scipy.stats import binom
from transformers import AutoConfig  # pyright: ignore[reportMissingImports]

import sigprop as sp
from sigprop.inspection.compared import COMPARED, ROUNDING
from sigprop.reading.sources import from_config

TOKENS = 32
WIDTHS = (512, 1024)
ALARM_WIDTH, ALARM_TOKENS = 256, 8
Fields = dict[str, Any]


def _usual(n: int) -> Fields:
    """Fields that most kinds share."""
    return {
        "hidden_size": n,
        "intermediate_size": 2 * n,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": n // HEAD,
        "vocab_size": WORDS,
    }


def _grouped(**more: Any) -> Callable[[int], Fields]:
    """Those of decoders with two query heads a key head."""
    return lambda n: _usual(n) | {"num_key_value_heads": n // HEAD // 2} | more


FAMILIES: dict[str, Callable[[int], Fields]] = {
    "gpt2": lambda n: {
        "n_embd": n,
        "n_head": n // HEAD,
        "n_layer": LAYERS,
        "vocab_size": WORDS,
    },
    "llama": _grouped(),
    "qwen3": _grouped(head_dim=HEAD),
    "gemma2": _grouped(head_dim=HEAD, query_pre_attn_scalar=HEAD),
    "gemma3_text": _grouped(head_dim=HEAD, query_pre_attn_scalar=HEAD),
    "mixtral": _grouped(),
    "olmo2": _grouped(),
    "gpt_neox": _usual,
    "phi": _usual,
    "falcon": lambda n: {
        "hidden_size": n,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": n // HEAD,
        "num_kv_heads": n // HEAD // 2,
        "new_decoder_architecture": True,
        "vocab_size": WORDS,
    },
    "bert": _usual,
    "vit": lambda n: {
        "hidden_size": n,
        "intermediate_size": 2 * n,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": n // HEAD,
        "image_size": (32, 64),
        "patch_size": 8,
    },
    "t5": lambda n: {
        "d_model": n,
        "d_ff": 2 * n,
        "d_kv": HEAD,
        "num_heads": n // HEAD,
        "num_layers": LAYERS,
        "vocab_size": WORDS,
    },
    "albert": lambda n: _usual(n) | {"embedding_size": 128},
}
"""Kind of Hugging Face configuration to its fields at a width."""
ERRORS = {"mixtral": 0.01}
"""What is asked of a family's predictions, as of ``sp.inspect``: without more draws of routers
their own error would be nearly half of the variance's tolerance. Sampled heads, of which draws buy
no more, leave an error above this at the first attention; intervals hold what is left."""


def builder(family: str, tokens: int) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Return what builds a family at a width, and what it is called with."""
    if family in MODULES:
        return MODULES[family](tokens)

    def named(n: int) -> Any:
        config = AutoConfig.for_model(family, **FAMILIES[family](n))
        return from_config(config, tokens=tokens)

    return lambda n: named(n).build(), lambda n: named(n).example


def judged(
    family: str, widths: Sequence[int], seeds: Sequence[int], tokens: int = TOKENS
) -> tuple[sp.Table, float]:
    """Judge a family, with so many networks, then more; returns the table and the seconds of the
    last."""
    build, example = builder(family, tokens)
    table, begun = None, time.perf_counter()
    for count in seeds:
        if table is None or table.verdict == "inconclusive":
            begun = time.perf_counter()
            table = sp.inspect(build, example, widths=widths, seeds=count, error=ERRORS.get(family))
    assert table is not None
    return table, time.perf_counter() - begun


def z(row: dict[str, Any]) -> float:
    """The deviation over its standard error, the theory's own error and what float32 leaves of a
    sum taken off (a norm's output has no scatter)."""
    scale = 1.0 if COMPARED[row["quantity"]].absolute else abs(row["theory"])
    se = row["se"] / scale
    over = max(abs(row["deviation"]) - row["error"] / scale - ROUNDING, 0.0)
    return over / se if se > 0 else 0.0


def lines(family: str, table: sp.Table, seconds: float) -> list[dict[str, Any]]:
    """A line a quantity: of its rows the one whose 90 % interval reaches furthest."""
    found: list[dict[str, Any]] = []
    for quantity in dict.fromkeys(row["quantity"] for row in table):
        rows = [row for row in table if row["quantity"] == quantity]
        furthest = max(rows, key=lambda row: max(row["upper"], -row["lower"]))
        verdicts = {row["verdict"] for row in rows}
        worst = next(v for v in ("rejected", "inconclusive", "confirmed") if v in verdicts)
        found.append(
            {
                "family": family,
                "widths": " ".join(map(str, table.notes["widths"])),  # type: ignore[index]
                "seeds": table.notes["samples"],  # type: ignore[index]
                "tokens": TOKENS,
                "quantity": quantity,
                "rows": len(rows),
                "verdict": worst,
                "tolerance": furthest["tolerance"],
                "module": furthest["module"],
                "theory": f"{furthest['theory']:.6g}",
                "error": f"{furthest['error']:.2g}",
                "deviation": f"{furthest['deviation']:.4f}",
                "lower": f"{furthest['lower']:.4f}",
                "upper": f"{furthest['upper']:.4f}",
                "rms_z": f"{math.sqrt(sum(z(row) ** 2 for row in rows) / len(rows)):.2f}",
                "seconds": f"{seconds:.0f}",
            }
        )
    return found


def write(every: list[dict[str, Any]]) -> None:
    with FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(every[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)


def main() -> int:
    """The families, a line each; exit code 1 where one is rejected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join([*FAMILIES, *MODULES]))
    parser.add_argument("--seeds", default="20,80,240")
    parser.add_argument("--false-alarms", type=int, default=0)
    given = parser.parse_args()
    families = given.only.split(",")
    known = {*FAMILIES, *MODULES}
    if unknown := [family for family in families if family not in known]:
        parser.error(f"--only {unknown[0]}; accepted: {', '.join(sorted(known))}")
    if given.false_alarms:
        return alarms(families, given.false_alarms)
    every = list(csv.DictReader(FILE.read_text().splitlines())) if FILE.exists() else []
    kept = {row["family"] for row in every}
    for family in families:
        if family not in kept:
            table, seconds = judged(family, WIDTHS, [*map(int, given.seeds.split(","))])
            every += lines(family, table, seconds)
            write(every)
        for row in every:
            if row["family"] == family:
                print(*row.values(), flush=True)
    print(f"{len({row['family'] for row in every})} families, rms z {rms(every):.2f}")
    return int(any(row["verdict"] == "rejected" for row in every))


def alarms(families: Sequence[str], times: int) -> int:
    """One unplanted network beside 20 others, ``times`` a family; 1 where more are rejected than a
    binomial at 1 % allows at 99 %."""
    rejected = 0
    for family in families:
        build, example = builder(family, ALARM_TOKENS)
        reading = sp.read(lambda build=build: build(ALARM_WIDTH), example(ALARM_WIDTH))
        tables = [sp.compare(reading, against=reading, first_seed=1000 * k) for k in range(times)]
        found = sum(table.verdict == "rejected" for table in tables)
        rejected += found
        print(f"{family}: {found} of {times} rejected", flush=True)
    most = int(binom.ppf(0.99, times * len(families), 0.01))
    print(f"{rejected} of {times * len(families)} rejected; at 1 % up to {most} are allowed")
    return int(rejected > most)


if __name__ == "__main__":
    raise SystemExit(main())
