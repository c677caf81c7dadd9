"""The same networks written out by hand in torch, with torch's AdamW: losses before each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.description.architecture import Architecture
from sigprop.simulations.learning import batches, grid, network
from sigprop.simulations.training.steps import Setting

torch: Any = pytest.importorskip("torch")

WIDTH, WORDS, TOKENS, BATCH, HEAD, DECAY, STEPS = 16, 11, 8, 4, 8, 0.1, 10
TEXT = np.random.default_rng(0).integers(0, WORDS, 400).astype(np.uint8)
Logits = Callable[[Any, Architecture, Any], Any]


def rms(x: Any) -> Any:
    return x.square().mean(-1, keepdim=True).sqrt()


def attention(p: Any, block: int, r: Any, bias: Any = 0.0, factor: Any = 1.0) -> Any:
    """Causal attention of one block, its scores with a bias, its outputs times a factor."""
    q, k, v = ((r @ p[m][block].T).reshape(BATCH, TOKENS, -1, HEAD).transpose(1, 2) for m in "qkv")
    scores = q @ k.transpose(-1, -2) / HEAD**0.5 + bias
    later = torch.triu(torch.ones(TOKENS, TOKENS, dtype=torch.bool), 1)
    mixed = scores.masked_fill(later, -torch.inf).softmax(-1) @ v
    return (factor * mixed.transpose(1, 2).reshape(BATCH, TOKENS, -1)) @ p["u"][block].T


def transformer(p: Any, arch: Architecture, h: Any) -> Any:
    scale = 1 / (2 * 2**0.5)
    gelu = torch.nn.functional.gelu
    for a in range(4):
        h = h + scale * attention(p, a % 2, torch.nn.functional.layer_norm(h, (WIDTH,), eps=0.0))
        r = torch.nn.functional.layer_norm(h, (WIDTH,), eps=0.0)
        h = h + scale * (gelu(r @ p["w"][a % 2].T) @ p["x"][a % 2].T)
    return h


def nag(p: Any, arch: Architecture, h: Any) -> Any:
    """Steps along great circles; the read-out has the temperature that norms took away."""
    alphas = np.broadcast_to(arch.number_tables["alpha"], (arch.depth,))
    log, h = rms(h).log(), h / rms(h)
    for a in range(arch.depth):
        if a % 2 == 0:
            f = attention(p, a // 2, h)
        else:
            f = torch.relu(h @ p["w"][a // 2].T) @ p["x"][a // 2].T
        f = f - f.mean(-1, keepdim=True)
        f = f - (f * h).sum(-1, keepdim=True) / (h * h).sum(-1, keepdim=True) * h
        moved = h + float(alphas[a]) * f / rms(f)
        log, h = log + rms(moved).log(), moved / rms(moved)
    return h * log.exp()


def e_spa(p: Any, arch: Architecture, h: Any) -> Any:
    """Attention without skips: the bias and the factors that preserve the signal."""
    tables = arch.tables_by_application
    for a in range(arch.depth):
        bias, factor = (
            torch.tensor(np.asarray(tables[f"attention_{name}"][a], dtype=np.float32))
            for name in ("bias", "rescale")
        )
        h = attention(p, a, h, bias, factor[:, None])
    return h


NETWORKS: dict[str, tuple[Callable[[], Architecture], Logits]] = {
    "looped": (
        lambda: sp.architectures.looped_transformer(depth=2, loops=2, tokens=TOKENS, mask="causal"),
        transformer,
    ),
    "nag": (
        lambda: sp.architectures.nag(depth=2, block="transformer", tokens=TOKENS, mask="causal"),
        nag,
    ),
    "e-spa": (lambda: sp.architectures.e_spa(depth=3, tokens=TOKENS), e_spa),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_ten_steps_are_torchs(name: str):
    """The losses before and after one step to 1e-5, of ten to 1e-3."""
    build, body = NETWORKS[name]
    arch = build()
    plan = grid.Plan("adamw", WORDS, BATCH, STEPS, 0, False, "float32")
    groups = dict.fromkeys(grid.groups(arch), Setting(1.0, 1e-8, DECAY))
    ours = grid.Learning(
        arch, WIDTH, plan, TEXT, groups=groups, spread=network.variances(arch, WIDTH)
    )
    members = ours.members([3e-3], [3])
    start = ours.start(members)
    _, losses = ours.steps(members, start, 0, STEPS)
    params = {
        group: torch.nn.Parameter(torch.tensor(np.asarray(x[0])))
        for group, x in start.params.items()
    }
    optimizer = torch.optim.AdamW(params.values(), lr=3e-3, eps=1e-8, weight_decay=DECAY)
    expected = []
    for step in range(STEPS):
        drawn = batches.batch(
            jnp.asarray(TEXT), members.data[0], jnp.int32(step), BATCH, TOKENS + 1
        )
        words = torch.tensor(np.asarray(drawn)).long()
        h = params["embedding"][words[:, :-1]] + params["position"]
        logits = body(params, arch, h) @ params["readout"].T
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, WORDS), words[:, 1:].reshape(-1)
        )
        expected.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(losses[0][:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(losses[0], expected, rtol=1e-3)
