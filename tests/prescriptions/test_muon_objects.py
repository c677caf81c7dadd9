"""Muon of torch and of optax as prescribed: matrices in branches move by their rate, shape factor
and polar factor, everything else by AdamW."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError
from sigprop.prescriptions.prescription import Prescription
from sigprop.scaling.rule import SHAPE_FACTORS

WIDTH, DEPTH, RATIO = 16, 3, 4
LANGUAGE = {"words": "0,1,0", "vocabulary": 10, "residual_scale": "1/sqrt(L)", "mlp_ratio": RATIO}
PATTERNS = {
    **{name: f"blocks/{name}" for name in "qkvuwx"},
    "bias": "blocks/b",
    "embedding": "embed",
    "readout": "head",
}
GIVEN = {"learning_rate": {"muon": 0.02, "adamw": 1e-3}, "weight_decay": 0.1}


@pytest.fixture(autouse=True)
def promotion_that_optax_needs(strict_numerics: None) -> Iterator[None]:
    """Its bias correction raises a float to an integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def made(shape_factor: str | None = None, optimizer: str = "muon", **given: Any) -> Prescription:
    return sp.prescribe(
        "transformer",
        base={"width": 8, "depth": 2},
        target={"width": WIDTH, "depth": DEPTH},
        optimizer=optimizer,
        shape_factor=shape_factor,
        **{**GIVEN, **given},
        **LANGUAGE,
    )


def shapes() -> dict[str, Any]:
    """Matrices of all blocks stacked, [block, n_in, n_out]."""
    blocks: dict[str, tuple[int, ...]] = {name: (DEPTH, WIDTH, WIDTH) for name in "qkvu"}
    blocks |= {"w": (DEPTH, WIDTH, RATIO * WIDTH), "x": (DEPTH, RATIO * WIDTH, WIDTH)}
    return {"blocks": blocks | {"b": (DEPTH, WIDTH)}, "embed": (10, WIDTH), "head": (WIDTH, 10)}


def drawn(seed: int) -> Any:
    keys = iter(jax.random.split(jax.random.key(seed), 20))
    return jax.tree.map(
        lambda shape: jax.random.normal(next(keys), shape),
        shapes(),
        is_leaf=lambda x: isinstance(x, tuple),
    )


def factor(name: str, rows: int, inputs: int) -> float:
    return {
        "original": math.sqrt(max(1, rows / inputs)),
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, inputs)),
        "spectral": math.sqrt(rows / inputs),
    }[name]


def check_polar(update: np.ndarray, gradient: np.ndarray, size: float) -> None:
    """``update`` is -size U V^T of the gradient: directions the gradient's own, and five
    Newton-Schulz iterations make of any singular value above 0.002 of the norm 0.68 to 1.20."""
    left, singular, right = np.linalg.svd(gradient, full_matrices=False)
    values = left.T @ -update @ right.T / size
    np.testing.assert_allclose(values, np.diag(np.diag(values)), atol=1e-3)
    reached = np.diag(values)[singular > 0.002 * np.linalg.norm(gradient)]
    assert 0.68 < reached.min() < reached.max() < 1.21
    assert len(reached) >= len(singular) - 1


def labelled(plan: Prescription, group: str) -> tuple[float, float]:
    return plan.value(group, "learning_rate"), plan.value(group, "weight_decay")


@pytest.mark.parametrize("shape_factor", SHAPE_FACTORS)
def test_one_step_of_optax(shape_factor: str):
    """The polar factor of each matrix of a stack, not of the stack; decay beside it."""
    optax = pytest.importorskip("optax")
    plan, params, gradients = made(shape_factor), drawn(0), drawn(1)
    transform = sp.optax_transform(params, plan, PATTERNS)
    updates, _ = transform.update(gradients, transform.init(params), params)
    assert optax.__version__
    for group in "qkvuwx":
        rate, decay = labelled(plan, group)
        for block in range(DEPTH):
            weight, gradient, update = (
                np.asarray(tree["blocks"][group][block]) for tree in (params, gradients, updates)
            )
            size = rate * factor(shape_factor, *weight.shape[::-1])
            check_polar(update + rate * decay * weight, gradient, size)
    for group, leaf in (("embedding", "embed"), ("readout", "head")):
        rate, decay = labelled(plan, group)
        expected = -rate * (np.sign(gradients[leaf]) + decay * params[leaf])
        np.testing.assert_allclose(updates[leaf], expected, rtol=1e-3, atol=1e-7)


def test_optax_by_dimension_numbers_and_a_schedule():
    """[heads, head_dim, n_in] of queries: as the matrix they make; and half of every rate."""
    contrib = pytest.importorskip("optax").contrib
    plan, size = made(), (4, WIDTH // 4, WIDTH)
    params = {"q": jax.random.normal(jax.random.key(0), size)}
    gradients = {"q": jax.random.normal(jax.random.key(1), size)}
    given = {"q": contrib.MuonDimensionNumbers(2, (0, 1))}
    transform = sp.optax_transform(
        params, plan, {"q": "q"}, dimension_numbers=given, schedule=lambda step: 0.5
    )
    updates, _ = transform.update(gradients, transform.init(params), params)
    rate, decay = labelled(plan, "q")
    update, gradient, weight = (
        np.asarray(tree["q"]).reshape(WIDTH, WIDTH) for tree in (updates, gradients, params)
    )
    check_polar(update + 0.5 * rate * decay * weight, gradient, 0.5 * rate)


@pytest.mark.parametrize(
    ("group", "shape", "says"),
    [
        ("q", (4, 4, WIDTH), "whose last two axes are not n_in=16 and n_out=16"),
        ("w", (RATIO * WIDTH, WIDTH), "n_out=16, n_in=64, where n_out/n_in = 64/16"),
        ("q", (WIDTH,), "1 axes, and Muon takes matrices"),
    ],
)
def test_optax_matrices_that_lie_otherwise_are_refused(group: str, shape: Any, says: str):
    pytest.importorskip("optax")
    with pytest.raises(InputError, match=says) as caught:
        sp.optax_transform({"p": jnp.ones(shape)}, made(), {group: "p"})
    assert "\n" not in str(caught.value) and "accepted" in str(caught.value)


def test_an_optax_whose_muon_takes_no_dimension_numbers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    contrib = pytest.importorskip("optax").contrib
    monkeypatch.setattr(contrib, "muon", lambda learning_rate: None)
    with pytest.raises(InputError, match="optax .* has no optax.contrib.muon with"):
        sp.optax_transform({"p": jnp.ones((WIDTH, WIDTH))}, made(), {"q": "p"})


def torch_model(torch: Any) -> Any:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(WIDTH)
            self.w = torch.nn.Linear(WIDTH, RATIO * WIDTH)
            self.x = torch.nn.Linear(RATIO * WIDTH, WIDTH)

        def forward(self, h: Any) -> Any:
            return h + self.x(torch.nn.functional.gelu(self.w(self.norm(h))))

    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(10, WIDTH),
            "blocks": torch.nn.Sequential(Block(), Block()),
            "head": torch.nn.Linear(WIDTH, 10, bias=False),
        }
    )


TORCH = {
    "embedding": "embed.weight",
    "norm": "*.norm.*",
    "w": "*.w.weight",
    "x": "*.x.weight",
    "bias": ["*.w.bias", "*.x.bias"],
    "readout": "head.weight",
}


def torch_step(torch: Any, model: Any, optimizers: list[Any]) -> None:
    tokens = torch.arange(10)
    torch.nn.functional.cross_entropy(
        model["head"](model["blocks"](model["embed"](tokens))), tokens.flip(0)
    ).backward()
    for optimizer in optimizers:
        optimizer.step()


@pytest.mark.parametrize("shape_factor", SHAPE_FACTORS)
def test_one_step_of_torch(shape_factor: str):
    """torch iterates in bfloat16, so the update's norm is compared: within 0.6 to 1.25 of a
    matrix's of as many directions as the batch gives."""
    torch = pytest.importorskip("torch")
    model, plan = torch_model(torch), made(shape_factor, weight_decay=None)
    optimizers = sp.torch_optimizers(model, plan, TORCH)
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Muon", "AdamW"]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch_step(torch, model, optimizers)
    for name, p in model.named_parameters():
        moved = (p.detach() - before[name]).numpy().astype(np.float64)
        group = next(g for g, globs in TORCH.items() if name.split(".")[-2:] and _is(name, globs))
        rate = plan.value(group, "learning_rate")
        if group not in plan.muon:
            largest = abs(moved).max()
            assert largest == pytest.approx(rate, rel=1e-2), name
            continue
        values = np.linalg.svd(moved, compute_uv=False)[:5]
        size = rate * factor(shape_factor, *p.shape)
        assert 0.6 * size < values.min() < values.max() < 1.25 * size, (name, values / size)


def _is(name: str, globs: Any) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, glob) for glob in ([globs] if isinstance(globs, str) else globs))


def test_decay_of_torch_is_the_prescribed_one_under_every_shape_factor():
    torch = pytest.importorskip("torch")
    for shape_factor in SHAPE_FACTORS:
        plan = made(shape_factor)
        for entry in sp.torch_param_groups(torch_model(torch), plan, TORCH):
            rate, decay = labelled(plan, entry["name"])
            assert entry["lr"] * entry["weight_decay"] == pytest.approx(rate * decay)
            assert entry["use_muon"] == (entry["name"] in "wx")
            ratio = plan.row(entry["name"], "epsilon")["ratio"]
            assert entry["eps"] == (1e-7 if entry["use_muon"] else 1e-8) * ratio


def test_other_optimizers_of_torch_are_one():
    torch = pytest.importorskip("torch")
    model = torch_model(torch)
    for name, kind in (("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")):
        plan = made(optimizer=name, learning_rate=1e-3)
        (one,) = sp.torch_optimizers(model, plan, TORCH)
        assert type(one).__name__ == kind and len(one.param_groups) == len(TORCH)
        assert not any("use_muon" in entry for entry in one.param_groups)


def test_torch_refusals(monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    model = torch_model(torch)
    with pytest.raises(InputError, match="1 axes, and torch.optim.Muon takes matrices"):
        sp.torch_param_groups(model, made(), {**TORCH, "w": ["*.w.*"], "bias": "*.x.bias"})
    turned = {**TORCH, "w": "*.x.weight", "x": "*.w.weight"}
    with pytest.raises(InputError, match=r"n_out=64, n_in=16, where n_out/n_in = 16/64"):
        sp.torch_param_groups(model, made(), turned)
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match="has no torch.optim.Muon; accepted: torch 2.9 or newer"):
        sp.torch_optimizers(model, made(), TORCH)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"torch is not installed; accepted: after pip install"):
        sp.torch_optimizers(model, made(), TORCH)
