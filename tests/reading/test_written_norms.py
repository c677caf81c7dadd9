"""Norms written by hand in a network: one description with torch's own module, in reads, after
sums, above the last state and in the stem; the variance over n - 1 by hand; refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from descriptions import assert_alike, assert_same
from refusals import refused
from torch_modules import STDS, WIDTH, F, ids, nn, torch

import sigprop as sp

EPS = 3e-3


class Written(nn.Module):
    """LayerNorm as it is often written. form: of the variance; affine: with gain and bias."""

    def __init__(self, form: str = "var", affine: bool = True) -> None:
        super().__init__()
        self.form = form
        self.gain = nn.Parameter(torch.ones(WIDTH)) if affine else None
        self.bias = nn.Parameter(torch.zeros(WIDTH)) if affine else None

    def forward(self, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        if self.form == "functional":
            return F.layer_norm(x, (WIDTH,), self.gain, self.bias, EPS)
        if self.form == "outside":
            normed = (x - mean) / (x.std(-1, keepdim=True) + EPS)
        elif self.form == "squares":
            normed = (x - mean) * torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + EPS)
        else:
            variance = x.var(-1, keepdim=True, unbiased=self.form == "unbiased")
            normed = (x - mean) / torch.sqrt(variance + EPS)
        return normed if self.gain is None else self.gain * normed + self.bias


def own() -> Any:
    return nn.LayerNorm(WIDTH, eps=EPS)


def network(norm: Callable[[], Any], placed: str = "pre", stem: bool = False) -> Callable[[], Any]:
    """One block, its norms and the last (or the stem's) as given."""

    def make() -> Any:
        block = modules.Block(modules.Attention(), modules.Mlp(), norm, placed)
        words = modules.Words(norm=norm if stem else None)
        last = norm() if placed == "pre" else None
        return modules.initialised(modules.Network(words, [block], last))

    return make


@pytest.mark.parametrize("placed", ["pre", "post", "sandwich"])
@pytest.mark.parametrize("form", ["var", "squares", "functional"])
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_by_hand_is_torchs_own(placed: str, form: str, affine: bool):
    """One description, wherever the norm stands."""
    written = lambda: Written(form, affine)  # noqa: E731
    one, other = (sp.read(network(norm, placed), ids()) for norm in (written, own))
    assert_same(one.architecture, other.architecture)


def test_a_norm_by_hand_in_the_stem():
    """The Gram of normalised embeddings."""
    one, other = (sp.read(network(norm, "post", stem=True), ids()) for norm in (Written, own))
    assert_same(one.architecture, other.architecture)


def by_hand(factor: float, epsilon: float, rule: Any, read: Any) -> Any:
    """c phi(W r), by hand, of a variance over n - 1."""
    n = sp.Number
    hidden = sp.Linear("w", sp.Read(), n("c_w"), 2)
    out = sp.Linear("x", sp.Activate("gelu", hidden), n("c_x"))
    numbers = {"factor": factor, "eps": epsilon}
    numbers |= {"c_w": STDS["w"] ** 2 * WIDTH, "c_x": STDS["x"] ** 2 * 2 * WIDTH}
    same = np.equal.outer(modules.WORDS, modules.WORDS).astype(float)
    gram = STDS["wte"] ** 2 * same + STDS["wpe"] ** 2 * np.eye(len(same))
    return sp.Architecture(
        "by hand",
        (sp.SubBlock(read, out, rule),),
        {"w": [0], "x": [0]},
        numbers,
        input_gram=gram,
    )


class Feedforward(nn.Module):
    def __init__(self, post: bool) -> None:
        super().__init__()
        self.norm, self.mlp, self.post = Written("unbiased"), modules.Mlp(), post

    def forward(self, x: Any) -> Any:
        return self.norm(x + self.mlp(x)) if self.post else x + self.mlp(self.norm(x))


@pytest.mark.parametrize("post", [True, False])
def test_a_variance_over_n_less_one_is_said_as_it_is(post: bool):
    """(x - m)/sqrt(v n/(n-1) + eps): a factor sqrt((n-1)/n) of a norm of epsilon eps (n-1)/n."""
    share = (WIDTH - 1) / WIDTH
    norm = lambda u: sp.Number("factor") * sp.Normalise(u, "layer", sp.Number("eps"))  # noqa: E731
    after = sp.State(0) + sp.Write()
    rule, read = (norm(after), sp.State(0)) if post else (after, norm(sp.State(0)))
    expected = by_hand(share**0.5, EPS * share, rule, read)
    make = lambda: modules.initialised(modules.Network(modules.Words(), [Feedforward(post)]))  # noqa: E731
    found = sp.read(make, ids()).architecture
    assert_alike(found, expected, ("residual_variance", "token_covariance", "gradient_variance"))
    with pytest.raises(AssertionError):
        assert_alike(found, by_hand(1.0, EPS, rule, read), ("residual_variance",))


def test_an_epsilon_outside_the_root_is_refused():
    """std + eps is another function; the module's path and what is accepted are said."""
    make = network(lambda: Written("outside"))
    refused(make, ids(), "blocks.0.norms.0: a mean over features", "eps under the root")


def test_a_norm_over_tokens_too_is_refused():
    """layer_norm over (tokens, features)."""

    class Both(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.layer_norm(x, x.shape[1:])

    refused(network(Both), ids(), "blocks.0.norms.0: operation layer_norm")


@pytest.mark.parametrize("form", ["var", "unbiased"])
def test_a_norm_by_hand_is_judged(form: str):
    """What is predicted of it is what the module computes: no row is rejected, and with another
    epsilon some are."""
    wide = 256

    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(wide, wide), nn.Linear(wide, wide)

        def forward(self, x: Any) -> Any:
            mean, unbiased = x.mean(-1, keepdim=True), form == "unbiased"
            normed = (x - mean) / (x.var(-1, keepdim=True, unbiased=unbiased) + 1e-3).sqrt()
            return x + self.down(torch.tanh(self.up(normed)))

    given = 0.1 * modules.inputs(wide)[None]
    found = sp.read(lambda: nn.Sequential(Wide(), Wide()), given)
    assert sp.inspect(found, seeds=8).verdict != "rejected"
    numbers = {name: 0.03 if "eps" in name else x for name, x in found.architecture.numbers.items()}
    other = replace(found, architecture=replace(found.architecture, numbers=numbers))
    assert sp.inspect(other, seeds=8).verdict == "rejected"
