"""Mixture-of-Depths with attention: keys and values of skipped tokens, seen by the others or
dropped."""

from __future__ import annotations

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError

A = sp.architectures
RATE = 0.4
SKIPPING = {
    "block": "attention",
    "modulator": "learned",
    "directions": 1,
    "mod_rate": RATE,
    "mod_threshold": "layer",
}
THREE = {
    "depth": 1,
    "tokens": 3,
    "token_cosine": 0.0,
    "mask": "causal",
    "score_scale": "zero_query",
    **SKIPPING,
}


def covariance(kv: str) -> tuple[float, float, float]:
    """<h_1[t], h_1[s]> of the last two of three independent tokens under uniform causal
    attention: predicted, measured, standard error."""
    arch = A.nag(**THREE, skipped_kv=kv)
    (predicted,) = (
        row
        for row in sp.predict(arch, ["token_covariance"], [1])
        if (row["token"], row["token_2"]) == (1, 2)
    )
    measured = sp.measure(
        arch, width=512, samples=8000, seed=5, quantities=["token_covariance"], applications=[1]
    )
    (found,) = (row for row in measured if (row["token"], row["token_2"]) == (1, 2))
    return predicted["value"], found["value"], found["se"]


def test_what_others_write_without_the_skipped_tokens():
    """Where both tokens act, their writes have cosine sqrt(2/3) with the first token's key and
    sqrt(1/2) without it, which is a share r of networks: the covariance falls by (1 - r) + r
    sqrt(3)/2. Predicted to the draws' error, measured within five standard errors."""
    (keep, keep_measured, error), (drop, drop_measured, _) = covariance("keep"), covariance("drop")
    assert drop / keep == pytest.approx(1 - RATE + RATE * np.sqrt(3) / 2, abs=2e-3)
    assert abs(keep_measured - keep) < 5 * error and abs(drop_measured - drop) < 5 * error
    # the same networks
    assert keep_measured / drop_measured == pytest.approx(keep / drop, abs=0.01)


def test_tied_networks_remember_whose_keys_were_seen():
    """One block twice, of which nothing is skipped in effect (a rate of 10^-6): keys dropped or
    kept, the same."""
    few = THREE | {"mod_rate": 1e-6, "tokens": 2}
    rows = [
        sp.predict(A.looped_nag(**few, loops=2, skipped_kv=kv), ["state_cosine"])
        for kv in ("keep", "drop")
    ]
    assert [row["value"] for row in rows[0]] == pytest.approx(
        [row["value"] for row in rows[1]], rel=1e-9
    )


def test_costs_of_dropped_keys():
    """A skipped token then costs its modulator alone: matrices times 1 - r, scores times (1 -
    r)^2, cache times 1 - r."""
    n, s = 256, 128
    table = {
        row["quantity"]: row["value"]
        for row in sp.costs(A.nag(**THREE, skipped_kv="drop"), width=n, sequence=s)
    }
    kept = 1 - RATE
    assert table["flops"] == pytest.approx(
        2 * s * 4 * n * n * kept + 4 * s * s * n * kept**2 + 2 * s * n, rel=1e-9
    )
    assert table["kv_cache"] == pytest.approx(2 * n * kept, rel=1e-9)


def test_nothing_to_drop_is_refused():
    with pytest.raises(
        InputError,
        match="skipped_kv=drop at mod_rate=0, block=attention; accepted: a rate above 0 and a "
        "block with attention",
    ):
        A.nag(**THREE | {"mod_rate": 0.0}, skipped_kv="drop")
    with pytest.raises(InputError, match="skipped_kv=drop at mod_rate=0.4, block=mlp"):
        A.nag(**THREE | {"block": "mlp"}, skipped_kv="drop")
