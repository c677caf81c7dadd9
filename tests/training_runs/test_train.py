"""Training runs: a task whose entropy is known is learned, chunks of a grid change nothing, what
diverges is kept, and bad input is one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.simulations.learning.grid import Plan
from sigprop.simulations.learning.sizes import member_bytes
from sigprop.training_runs.corpus import HELD_OUT, corpus, standard_library
from sigprop.training_runs.record import Record

WORDS, TOKENS = 6, 8
SHORT = {"steps": 4, "batch": 2, "every": 2, "warmup": 0, "held_out": 2, "width": 8}
TEXT = np.random.default_rng(1).integers(0, 250, 500).astype(np.uint8)


def network(**other: Any) -> sp.Architecture:
    return sp.architectures.looped_transformer(
        **({"depth": 1, "loops": 2, "tokens": TOKENS, "mask": "causal"} | other)
    )


def chain(length: int) -> tuple[np.ndarray, float]:
    """(A text in which each word depends on the one before it, the entropy rate in nats)."""
    draw = np.random.default_rng(0)
    shares = draw.dirichlet(np.full(WORDS, 0.4), size=WORDS)
    text = np.zeros((length // 100, 100), dtype=np.int64)
    ends = np.cumsum(shares, axis=1)
    for t in range(1, 100):  # many chains at once, one after another in the text
        u = draw.random(len(text))[:, None]
        text[:, t] = (u > ends[text[:, t - 1]]).sum(axis=1).clip(max=WORDS - 1)
    flat = text.ravel()
    counts = np.bincount(flat[:-1], minlength=WORDS) / (len(flat) - 1)
    entropies = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
    return flat, float(counts @ entropies)


def test_a_bigram_task_is_learned_to_its_entropy():
    """Within 1 %, and the words alone say far less."""
    text, entropy = chain(400_000)
    table = sp.train(
        network(vocabulary=WORDS),
        text,
        width=16,
        rates=[0.01],
        steps=300,
        batch=64,
        every=150,
        held_out=4000,
    )
    shares = np.bincount(text) / len(text)
    unigram = -(shares * np.log(shares)).sum()
    final = table.filter(quantity="held_out_loss", steps=300)[0]["value"]
    assert final == pytest.approx(entropy, rel=0.01)
    assert final < 0.9 * unigram


def test_the_grid_is_the_same_however_it_is_cut():
    """All at once, or some at a time under a ceiling of 1 MiB."""
    arch, grid = network(), {"rates": (1e-3, 1e-2), "seeds": (0, 1, 2)}
    plan = Plan("adamw", 256, 2, 2, 0, False, "float32")
    assert member_bytes(arch, 8, plan) > 2**20 / 5  # so a ceiling of 1 MiB cuts six
    whole, cut = (sp.train(arch, TEXT, **grid, **SHORT, memory_mib=m) for m in (512, 1))
    keys = ("quantity", "rate", "seed", "steps")
    assert [[row[k] for k in keys] for row in whole] == [[row[k] for k in keys] for row in cut]
    np.testing.assert_allclose(
        [row["value"] for row in whole], [row["value"] for row in cut], rtol=1e-5
    )
    assert len(whole) == 6 * (3 + 2)
    notes = whole.notes or {}
    assert notes["data"]["sha256"] == corpus(TEXT).digest and notes["tokens_per_second"] > 0


def test_what_diverges_is_kept():
    """Its step is a row, and the other rate's losses are as without it."""
    arch = network()
    both = sp.train(arch, TEXT, rates=(1e-3, 1e8), **SHORT)
    alone = sp.train(arch, TEXT, rates=(1e-3,), **SHORT)
    lost = both.filter(quantity="diverged")
    assert [row["rate"] for row in lost] == [1e8] and 1 <= lost[0]["steps"] <= 4
    assert (both.notes or {})["best"]["rate"] == 1e-3
    np.testing.assert_allclose(
        [row["value"] for row in both.filter(rate=1e-3)], [row["value"] for row in alone], rtol=1e-5
    )
    assert "diverged at step" in str(both)


def test_losses_that_are_no_number_are_where_a_network_diverged():
    record = Record()
    members = [(0.1, 0), (0.2, 0)]
    assert record.add(members, 2, np.array([[1.0, 2.0], [3.0, np.nan]]), None)
    assert record.diverged == {(0.2, 0): 2}
    assert not record.add(members, 4, np.array([[np.inf, 2.0], [3.0, 3.0]]), None)
    assert record.diverged == {(0.2, 0): 2, (0.1, 0): 3}
    assert record.best is None


@pytest.mark.parametrize("parametrisation", ["prescribed", {"w": 0.5}])
def test_rates_by_group(parametrisation: Any):
    table = sp.train(network(), TEXT, rates=(1e-2,), parametrisation=parametrisation, **SHORT)
    losses = [row["value"] for row in table.filter(quantity="held_out_loss")]
    assert len(losses) == 3 and np.isfinite(losses).all() and losses[0] != losses[-1]


def test_the_standard_library_is_the_data():
    found = standard_library()
    assert len(found.text) > 5e6 and len(found.held) > 3e5 and len(found.digest) == 64
    assert corpus() is found and len(HELD_OUT) == 3
    assert b"class JSONDecoder" in found.held.tobytes()
    assert b"class JSONDecoder(" not in found.text.tobytes()


def test_files_and_folders_are_data(tmp_path: Path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "b" / "c.txt").write_bytes(b"abcdefghij")
    (tmp_path / ".hidden").write_bytes(b"!")
    found = corpus(tmp_path)
    assert found.text.tobytes() + found.held.tobytes() == b"0123456789abcdefghij"
    assert corpus(str(tmp_path / "a.txt")).held.tobytes() == b"9"


def test_bad_data_is_one_line(tmp_path: Path):
    (tmp_path / "empty").write_bytes(b"")
    for data, message in (
        (tmp_path / "empty", "it is empty"),
        (tmp_path / "none", "no such file or folder"),
        (b"short", "tokens=8 needs 9"),
        (b"", "0 bytes to learn"),
        ([1, 300], "word 300"),
        ([0.5], "accepted: None"),
    ):
        with pytest.raises(sp.InputError, match=message) as error:
            sp.train(network(), data, **SHORT)
        assert "\n" not in str(error.value)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"rates": ()}, "rates"),
    ({"rates": (0.0,)}, "rates"),
    ({"rates": (1e-3, 1e-3)}, "each once"),
    ({"seeds": (-1,)}, "seeds"),
    ({"steps": 0}, "steps=0"),
    ({"every": 9}, "every=9"),
    ({"clip": 0.0}, "clip"),
    ({"decay": -1.0}, "decay"),
    ({"dtype": "float16"}, "dtype"),
    ({"optimizer": "lion"}, "optimizer"),
    ({"held_out": -1}, "held_out"),
    ({"parametrisation": "mup"}, "parametrisation"),
    ({"parametrisation": {"z": 1.0}}, "group 'z'"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_settings_are_one_line(given: dict[str, Any], message: str):
    with pytest.raises(sp.InputError, match=message):
        sp.train(network(), TEXT, **(SHORT | given))


def test_words_beyond_bytes_and_beyond_the_vocabulary_are_refused():
    with pytest.raises(sp.InputError, match="vocabulary=300"):
        sp.train(network(vocabulary=300), TEXT, **SHORT)
    with pytest.raises(sp.InputError, match="below vocabulary=20"):
        sp.train(network(vocabulary=20), TEXT, **SHORT)


def test_what_measure_looks_at_is_seen_on_the_way():
    """At the start as in networks at initialisation: the stem's mean square is the description's,
    and the write's; nothing has changed yet, and then it has."""
    names = ("residual_variance", "write_variance", "write_cosine", "parameter", "change")
    table = sp.train(network(), TEXT, observe=names, **(SHORT | {"width": 128}))
    start, end = table.filter(steps=0), table.filter(steps=4)
    at_start = network(token_cosine=0)
    measured = sp.measure(at_start, width=64, samples=64, seed=1, quantities=names[:2])
    for name in ("residual_variance", "write_variance"):
        for a in (0, 4) if name == "residual_variance" else (1,):
            (row,) = start.filter(quantity=name, application=a)
            rows = measured.filter(quantity=name, application=a)
            assert row["value"] == pytest.approx(np.mean([r["value"] for r in rows]), rel=0.25)
    change = {row["group"]: row["value"] for row in start.filter(quantity="change")}
    assert set(change) == {*"uqkvxw", "embedding", "position", "readout"}
    assert not any(change.values())
    # Adam's first steps are of the rate's size
    for row in end.filter(quantity="change", group=["u", "w"]):
        assert 1e-3 < row["value"] < 5e-3
    (w,) = start.filter(quantity="parameter", group="w")
    assert w["value"] == pytest.approx(128**-0.5, rel=0.02)
    cosines = end.filter(quantity="write_cosine")
    assert len(cosines) == 3 and all(abs(row["value"]) <= 1 for row in cosines)


def test_what_cannot_be_observed_is_refused():
    for given, message in (
        ({"observe": ("ntk",)}, "observe='ntk'"),
        ({"observe": ("rms",), "held_out": 0}, "held_out from 1 on"),
    ):
        with pytest.raises(sp.InputError, match=message):
            sp.train(network(), TEXT, **(SHORT | given))


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path):
    """Four steps, then on to eight: the rows are those of eight at once."""
    path, arch = tmp_path / "run.npz", network()
    grid = {"rates": (1e-2, 1e8), "observe": ("rms", "change")}
    sp.train(arch, TEXT, **(SHORT | grid), checkpoint=path)
    longer = SHORT | grid | {"steps": 8}
    resumed = sp.train(arch, TEXT, **longer, checkpoint=path)
    assert resumed.rows == sp.train(arch, TEXT, **longer).rows
    again = sp.train(arch, TEXT, **longer, checkpoint=path)
    assert again.rows == resumed.rows
    assert (again.notes or {})["best"] == (resumed.notes or {})["best"]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path):
    path, arch = tmp_path / "run.npz", network()
    sp.train(arch, TEXT, **SHORT, checkpoint=path)
    for given, message in (
        ({"decay": 0.1}, "other settings or data"),
        ({"steps": 2}, "steps from 4 on"),
        ({"seeds": range(50), "memory_mib": 1}, "trained at once"),
    ):
        with pytest.raises(sp.InputError, match=message):
            sp.train(arch, TEXT, **(SHORT | given), checkpoint=path)
    path.write_bytes(b"text")
    with pytest.raises(sp.InputError, match="no checkpoint"):
        sp.train(arch, TEXT, **SHORT, checkpoint=path)
    with pytest.raises(sp.InputError, match="suffix"):
        sp.train(arch, TEXT, **SHORT, checkpoint=tmp_path / "run.bin")
