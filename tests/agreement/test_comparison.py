"""``verify`` on small cases: right theories confirmed, a wrong one rejected, and networks that
the package never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from networks import NETWORKS, UNIT, branch

import sigprop as sp
from sigprop import (
    Activate,
    Bias,
    Linear,
    Normalise,
    Number,
    Product,
    Read,
    Readout,
    State,
    Stem,
    SubBlock,
    Write,
)
from sigprop.agreement import verify as comparison
from sigprop.agreement.against import theory_of
from sigprop.description.rows import select
from sigprop.description.shapes import Row
from sigprop.errors import InputError
from sigprop.simulations.engines.monte_carlo import engine_for, sample
from sigprop.simulations.network.weights import least_width, shapes
from sigprop.theory.predictions.evaluate import evaluate, unscaled

QUANTITIES = ("residual_variance", "state_cosine", "gradient_variance", "weight_gradient")
EPS = Number("epsilon", r"\varepsilon")


def gated(
    depth: int = 4,
    numbers: Sequence[float] | None = None,
    slots: dict[str, Sequence[int]] | None = None,
) -> sp.Architecture:
    """h + eps_a X_a (relu(W r) * G r): W and G tied, X shared by pairs, eps_a per application;
    the mean of all states is read through tanh."""
    gate = Product(
        Activate("relu", Linear("w", Read(), Number("c_w"))), Linear("g", Read(), Number("c_w"))
    )
    block = SubBlock(
        Normalise(State(0)), Linear("x", gate, Number("c_x")), (State(0) + EPS * Write(),)
    )
    tables = slots or {"w": [0] * depth, "g": [0] * depth, "x": [a // 2 for a in range(depth)]}
    scales = numbers or [0.8 / (a + 1) for a in range(depth)]
    readout = Readout(at=tuple(range(depth + 1)), branch=Activate("tanh", Read()))
    return sp.Architecture(
        "gated",
        (block,),
        tables,
        numbers={"epsilon": scales, "c_w": 1.5, "c_x": 2.0},
        readout=readout,
    )


def three_matrices(
    depth: int = 3, slots: Sequence[int] | None = None, eps: float = 0.6
) -> sp.Architecture:
    """LayerNorm(h + eps Y gelu(X relu(W h) + b)), tied, two tokens, the last one read."""
    hidden = Activate(
        "gelu",
        Linear("x", Activate("relu", Linear("w", Read(), Number("c_w"))), Number("c_x"))
        + Bias("b", Number("c_b")),
    )
    block = SubBlock(
        State(0),
        Linear("y", hidden, Number("c_y")),
        (Normalise(State(0) + EPS * Write(), "layer"),),
    )
    numbers = {"epsilon": eps, "c_w": 1.0, "c_x": 2.0, "c_y": 1.7, "c_b": 0.2}
    gram = [[1.0, 0.4], [0.4, 0.7]]
    return sp.Architecture(
        "three-matrices",
        (block,),
        slots or [0] * depth,
        numbers=numbers,
        input_gram=gram,
        readout=Readout("last"),
    )


def injected(depth: int = 4, slots: dict[str, Sequence[int]] | None = None) -> sp.Architecture:
    """h' = 0.7 h + 0.3 w_0 + eps f / |f|: the stem injected at every step, the write normalised,
    W shared by pairs, X tied."""
    rule = 0.7 * State(0) + 0.3 * Stem() + EPS * Normalise(Write())
    tables = slots or {"w": [a // 2 for a in range(depth)], "x": [0] * depth}
    return sp.Architecture(
        "injected",
        (SubBlock(State(0), branch("gelu"), (rule,)),),
        tables,
        numbers={"epsilon": 0.5} | UNIT,
        readout=Readout("mean"),
    )


# Whole verdicts
# --------------------------------------------------------------------------------------------------


def test_a_tied_relu_stack_is_confirmed():
    table = sp.verify(sp.architectures.looped_mlp(depth=1, loops=4, matrices=1), tolerance=0.05)
    assert table.verdict == "confirmed", table
    assert all(
        row["verdict"] == "confirmed" and -0.05 < row["lower"] <= row["upper"] < 0.05
        for row in table
    )
    assert {row["quantity"] for row in table} == {*QUANTITIES, "write_cosine"}


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
@pytest.mark.parametrize("scale", ["1/(N*sqrt(L))", "1/sqrt(N*L)"])
def test_the_untied_theory_of_a_tied_network_is_rejected(scale: str, seed: int):
    """The companion of every confirmation: at 5 % a looped network judged by the theory of
    independent weights fails, at any seed."""
    looped = sp.architectures.looped_mlp(depth=1, loops=4, residual_scale=scale)
    theory = theory_of(looped, "residual-mlp")
    table = sp.verify(
        looped, theory=theory, tolerance=0.05, quantities=["residual_variance"], seed=seed
    )
    assert table.verdict == "rejected", table
    assert [row for row in table if row["application"] == 4][0]["lower"] > 0.2


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_a_network_that_the_package_never_saw_is_confirmed(build: Callable[..., sp.Architecture]):
    # A true theory is confirmed with probability 0.95 (sizing.CONFIRM_POWER) by design; the seed is
    # fixed.
    arch = build(blocks=3) if build is NETWORKS["half-tied-parallel"] else build(depth=4)
    table = sp.verify(arch, tolerance=0.05, quantities=QUANTITIES)
    assert table.verdict == "confirmed", (table.notes, table)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"tolerance": 1.5}, "tolerance=1.5"),
        (
            {"width": 33},
            "width=33; accepted: the smallest width of the ladder, a multiple of 2 up to 1024",
        ),
        (
            {"width": 256, "engine": "dense"},
            "width=256; accepted: the smallest width of the ladder, a multiple of 2 up to 128",
        ),
        ({"samples": 1}, "samples=1"),
        ({"engine": "sparse"}, "engine='sparse'"),
        ({"quantities": ["ntks"]}, "quantity='ntks'; did you mean 'ntk'"),
        ({"quantities": ["token_covariance"]}, "quantity=token_covariance has no row in mlp"),
        ({"applications": [9]}, "applications=9"),
    ],
)
def test_bad_input_names_the_parameter(given: dict, says: str):
    with pytest.raises(InputError) as caught:
        sp.verify(sp.architectures.mlp(depth=2), **given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_that_overflows_is_inconclusive_or_diverged():
    """Never confirmed, never rejected: no finite network says anything."""
    from sigprop.errors import Diverged

    arch = sp.architectures.residual_mlp(depth=4, norm="none", residual_scale=1e12)
    try:
        table = sp.verify(arch, tolerance=0.05, quantities=["residual_variance"])
    except Diverged as error:
        assert error.application == 2
    else:
        assert table.verdict == "inconclusive" and "diverged at application 2" in str(
            (table.notes or {})["reason"]
        )


@pytest.mark.parametrize(
    ("head_dim", "given", "says"),
    [
        (64, {"width": 32, "engine": "dense"}, "a multiple of 128 up to 128"),
        (
            128,
            {"engine": "dense"},
            "multiples of 128; accepted for a ladder up to 1024: at most 64",
        ),
        ("inf", {}, "head_dim=inf is a limit"),
    ],
)
def test_ladders_keep_whole_heads(head_dim: Any, given: dict, says: str):
    with pytest.raises(sp.InputError, match=says):
        sp.verify(sp.architectures.transformer(block="attention", head_dim=head_dim), **given)


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({"head_dim": 64}, 64),
        ({"head_dim": 8, "heads": 4, "kv_heads": 2}, 16),
        ({"head_dim": 6}, 6),
    ],
)
def test_every_allowed_width_is_a_multiple_of_the_least(given: dict, least: int):
    arch = sp.architectures.transformer(**given)
    assert least_width(arch, 128) == least
    shapes(arch, 3 * least)
    with pytest.raises(sp.InputError, match=f"accepted: a multiple of {least}"):
        shapes(arch, 3 * least + 1)


# Two widths and standard errors, where a whole verdict would take long
# -----------------------------------------------

WIDTHS, SAMPLES, ERRORS = (64, 128), (800, 500), 4.5


def distance(
    network: sp.Architecture, theory: sp.Architecture
) -> tuple[list[Row], np.ndarray, np.ndarray]:
    """(rows, (extrapolated mean - theory)/scale, its standard error): 2 x(128) - x(64) cancels
    the 1/n term."""
    rows = tuple(
        row
        for row in select(
            network, [*QUANTITIES, "token_covariance", "gradient_covariance"], [0, 1, network.depth]
        )
    )
    values, scales, *_ = evaluate(theory, rows)
    scale = np.array([unscaled(*s) or 1.0 for s in scales])
    expected = np.array([unscaled(*v) for v in values])
    found = [
        (sample(engine_for("auto", network, rows, n, 1024), m, seed=5) - expected) / scale
        for n, m in zip(WIDTHS, SAMPLES, strict=True)
    ]
    mean = [x.mean(axis=0) for x in found]
    error = [x.std(axis=0, ddof=1) / np.sqrt(len(x)) for x in found]
    return list(rows), 2 * mean[1] - mean[0], np.sqrt(4 * error[1] ** 2 + error[0] ** 2)


@pytest.mark.parametrize("build", [gated, three_matrices, injected])
def test_predictions_agree_with_networks(build: Callable[..., sp.Architecture]):
    # 4.5 standard errors on at most 30 rows: false alarm 2e-4 a network, and the seed is fixed.
    # 0.01: the next order, O(1/64^2).
    rows, off, error = distance(build(), build())
    assert len(rows) > 8 and np.median(error) < 0.05
    far = [
        f"{row}: {a:.3g} +- {e:.2g}"
        for row, a, e in zip(rows, off, error, strict=True)
        if abs(a) > ERRORS * e + 0.01
    ]
    assert not far, far


@pytest.mark.parametrize(
    ("build", "slots"),
    [
        (gated, dict.fromkeys("wgx", range(4))),
        (three_matrices, range(3)),
        (injected, dict.fromkeys("wx", range(4))),
    ],
)
def test_predictions_of_the_untied_network_do_not(
    build: Callable[..., sp.Architecture], slots: object
):
    """The companion: the same network judged as if every application had weights of its own."""
    _, off, error = distance(build(), build(slots=slots))
    # Rows named differently (weight gradients of other slots) are evaluated for the slot's first
    # application.
    assert (abs(off) > ERRORS * error + 0.01).sum() >= 3


def test_a_row_that_is_zero_by_symmetry_is_measured_as_it_is():
    """Rounding next to its quantity's largest scale is no scale: 1 stands for it, quantity by
    quantity."""
    rows = [
        Row("ntk", group="k", token=0, token_2=0),
        Row("ntk", group="k", token=1, token_2=1),
        Row("gradient_variance", 0, token=0),
        Row("ntk", token=0),
    ]
    assert comparison._rulers(rows, [1e-17, 0.4, 1e-17, None]).tolist() == [1.0, 0.4, 1e-17, 1.0]
