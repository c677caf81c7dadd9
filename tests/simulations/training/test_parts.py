"""Effective and propagating parts, against a network written out by hand."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import sigprop as sp
from sigprop.simulations.training import trained
from sigprop.simulations.training.parts import Part, Seen, parts_of, squares, unseen

WIDTH, TOKENS = 8, 2


def networks(seed: int = 0) -> tuple[sp.Architecture, dict[str, Any], list[Any], list[Any]]:
    """A looped MLP, its tables, parameters and what modules saw, before a step and after."""
    arch = sp.architectures.looped_mlp(
        depth=1, loops=2, tokens=TOKENS, token_cosine=0.5, residual_scale=0.7
    )
    random, params, seen = np.random.default_rng(seed), [], []
    from sigprop.simulations.network.weights import shapes

    found = shapes(arch, WIDTH)
    for _ in range(2):
        params.append(
            {s.name: jnp.asarray(random.standard_normal((s.slots, *s.shape))) for s in found}
            | {
                "stem": jnp.asarray(random.standard_normal((TOKENS, WIDTH))),
                "readout": jnp.asarray(random.standard_normal(WIDTH)),
            }
        )
        like = unseen(arch, found, WIDTH)
        seen.append(
            Seen(
                jnp.asarray(random.standard_normal(like.read.shape)),
                {n: jnp.asarray(random.standard_normal(x.shape)) for n, x in like.inputs.items()},
            )
        )
    return arch, trained.tables(arch), params, seen


def test_every_part_is_that_of_its_formula():
    """Matrices of one slot used twice, the stem's part and the read-out: written out."""
    arch, tables, (before, now), (then, here) = networks()
    parts = parts_of(arch, detailed=True)
    found = dict(
        zip(parts, squares(arch, parts, (before, now), (then, here), tables).tolist(), strict=True)
    )

    def mean(x: Any) -> float:
        return float((np.asarray(x) ** 2).mean())

    for name in ("w", "x"):
        step, old = np.asarray(now[name] - before[name])[0], np.asarray(before[name])[0]
        x, moved = (np.asarray(one.inputs[name]) for one in (then, here))
        effective = [mean(x[a] @ step.T) for a in range(2)]
        propagating = [mean((moved[a] - x[a]) @ old.T) for a in range(2)]
        uses = (0, 1)
        assert found[Part("effective part", name, uses)] == pytest.approx(np.mean(effective), 1e-5)
        for share, a in (("1/4", 0), ("1/2", 0), ("3/4", 1), ("1", 1)):
            assert found[Part(f"effective part at {share}", name, (a,))] == pytest.approx(
                effective[a], rel=1e-5
            )
            assert found[Part(f"propagating part at {share}", name, (a,))] == pytest.approx(
                propagating[a], rel=1e-5
            )
    stem = tables["inputs"]["stem"] @ np.asarray(now["stem"] - before["stem"])
    assert found[Part("effective part", "stem", ())] == pytest.approx(mean(stem), rel=1e-5)
    theta = np.asarray(then.read) @ np.asarray(now["readout"] - before["readout"])
    assert found[Part("effective part", "readout", ())] == pytest.approx(mean(theta), rel=1e-5)
    assert len(found) == len(arch.groups) + 2 * 2 * 4


def test_parts_are_few_unless_asked_for_and_biases_have_no_input():
    arch = sp.architectures.looped_mlp(depth=1, loops=4)
    assert [part.group for part in parts_of(arch)] == list(arch.groups)
    biased = sp.architectures.residual_mlp(c_b=0.1)
    of_bias = [part.quantity for part in parts_of(biased, True) if part.group == "b"]
    assert of_bias and not any("propagating" in quantity for quantity in of_bias)
