"""nanoGPT's own module, read and held against sigprop's transformer by hand, in every form that it
has."""

from __future__ import annotations

from typing import Any

import pytest
from descriptions import assert_alike
from nanogpt import GPT, Config
from torch_modules import ids

import sigprop as sp

WORDS = (3, 7, 3, 9)


def hand(config: Config) -> Any:
    """The same network: normal entries of 0.02, output matrices divided by sqrt(2 layers)."""
    n, c = config.n_embd, 0.02**2
    written = c / (2 * config.n_layer)
    return sp.architectures.transformer(
        depth=config.n_layer,
        activation="gelu",
        head_dim=n // config.n_head,
        mask="causal",
        words=WORDS,
        norm_eps=1e-5,
        final_norm=True,
        c_we=c,
        c_pe=c,
        c_u=written * n,
        c_x=written * 4 * n,
        **{f"c_{name}": c * n for name in "qkvw"},
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("flash", [True, False])
@pytest.mark.parametrize("loss", [True, False])
def test_nanogpt_is_the_transformer_by_hand(bias: bool, flash: bool, loss: bool):
    """Logits of all tokens beside a loss, or of the last token alone: one description."""
    config = Config(bias=bias, flash=flash)
    example = {"idx": ids(), "targets": ids()} if loss else ids()
    found = sp.read(lambda: GPT(config), example)
    assert found.width == config.n_embd
    assert found.paths == tuple(
        f"transformer.h.{k}.{part}.c_proj" for k in range(2) for part in ("attn", "mlp")
    )
    assert_alike(found.architecture, hand(config), ("residual_variance", "gradient_variance"))


def test_output_matrices_that_are_not_scaled_are_another_network():
    """The companion: nanoGPT of another depth has other output matrices, and predictions differ."""
    found = sp.read(lambda: GPT(Config(n_layer=2)), ids()).architecture
    with pytest.raises(AssertionError):
        assert_alike(found, hand(Config(n_layer=3)), ("residual_variance",))
