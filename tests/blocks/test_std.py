"""One standard deviation of all entries instead of a variance for every matrix."""

from __future__ import annotations

import pytest
from refusals import refused

import sigprop as sp

STD, WIDTH, RATIO = 0.03, 128, 3


def test_a_standard_deviation_is_n_std_squared_for_every_matrix():
    """Of the MLP's last matrix by its own fan-in, of the embedding by entry; what is given wins."""
    short = sp.architectures.transformer(
        gated=True, mlp_ratio=RATIO, experts=3, std=STD, model_width=WIDTH, c_q=0.7
    )
    own = dict.fromkeys(("c_k", "c_v", "c_u", "c_w", "c_g", "c_r"), STD**2 * WIDTH)
    own |= {"c_q": 0.7, "c_x": RATIO * STD**2 * WIDTH}
    assert {name: short.numbers[name] for name in own} == pytest.approx(own, rel=1e-12)
    assert short.input_gram[0, 0] == pytest.approx(STD**2, rel=1e-12)


def test_it_follows_the_width():
    """Its numbers are formulas in n, as those of an initialisation are."""
    short = sp.architectures.transformer(std=STD, model_width=WIDTH)
    assert short.formulas["c_k"].used == {"n"}


@pytest.mark.parametrize("given", [{}, {"init": "gpt2", "model_width": WIDTH}])
def test_what_it_does_not_say_alone_is_refused(given: dict[str, object]):
    refused(
        lambda: sp.architectures.transformer(std=STD, **given),
        "accepted: std and model_width, no init",
    )
