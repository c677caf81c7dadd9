"""A mean over coordinates: a matrix of r + m 1 is one of what has the Gram of r plus m m^T, in
every prediction, and in finite networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sigprop as sp

MEANS = np.array([1.5, -0.4, 0.3])
GRAM = np.array([[1.0, 0.2, 0.1], [0.2, 0.8, 0.3], [0.1, 0.3, 1.2]])
ROWS = ("write_variance", "weight_gradient", "token_covariance", "gradient_variance")


def seen(means: bool) -> Any:
    return sp.Read() + sp.Rescale(sp.TokenTable("means"), sp.Ones()) if means else sp.Read()


def mlp(read: Any) -> Any:
    return sp.Linear("x", sp.Activate("tanh", sp.Linear("w", read, 1.7, 2)), 0.9)


def heads(read: Any) -> Any:
    legs = (sp.Linear(name, read, 1.2) for name in "qkv")
    return sp.Linear("u", sp.Attend(*legs, sp.Scores(8, mask="causal")), 0.8)


def network(branch: Any, means: bool, gram: Any) -> Any:
    """f alone, so that nothing but the branch sees the stem."""
    block = sp.SubBlock(sp.State(0), branch(seen(means)), sp.Write())
    tables = {"means": MEANS} if means else {}
    return sp.Architecture("ones", (block,), [0], token_tables=tables, input_gram=gram)


KEYS = ("quantity", "application", "application_2", "token", "token_2", "group")


def values(arch: Any) -> dict[tuple[Any, ...], float]:
    """Every row but those of the stem itself, whose Gram differs by the mean."""
    rows = {tuple(row.get(key) for key in KEYS): row["value"] for row in sp.predict(arch, ROWS)}
    stem = {key for key in rows if key[:2] == ("token_covariance", 0) or key[-1] == "stem"}
    return {key: value for key, value in rows.items() if key not in stem}


@pytest.mark.parametrize("branch", [mlp, heads])
def test_a_mean_is_a_gram_of_rank_one(branch: Any):
    """Two descriptions of one branch: with the mean apart, and in the stem's Gram."""
    apart = network(branch, True, GRAM)
    whole = network(branch, False, GRAM + np.outer(MEANS, MEANS))
    found, expected = values(apart), values(whole)
    assert found == {key: pytest.approx(value, rel=1e-9) for key, value in expected.items()}
    assert len({key[0] for key in found}) == len(ROWS)


def test_without_the_mean_predictions_differ():
    """The companion."""
    one, other = (
        sp.predict(network(mlp, means, GRAM), ["write_variance"]) for means in (True, False)
    )
    gaps = [abs(a["value"] / b["value"] - 1) for a, b in zip(one, other, strict=True)]
    assert max(gaps) > 0.1


def test_networks_agree():
    """Finite networks of a residual rule: confirmed."""
    block = sp.SubBlock(
        sp.State(0), mlp(seen(True)), sp.Normalise(sp.State(0) + sp.Write(), "layer", 1e-5)
    )
    arch = sp.Architecture("ones", (block,), [0], token_tables={"means": MEANS}, input_gram=GRAM)
    table = sp.verify(arch, quantities=["token_covariance", "gradient_variance", "weight_gradient"])
    assert table.verdict == "confirmed", str(table)


REFUSED = {
    "an activation": lambda u: sp.Linear("w", sp.Activate("tanh", u), 1.0),
    "a layer norm": lambda u: sp.Linear("w", sp.Normalise(u, "layer"), 1.0),
    "a write": lambda u: (
        sp.Linear("w", sp.Read(), 1.0) + sp.Rescale(sp.TokenTable("means"), sp.Ones())
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_centred_coordinates_is_refused(name: str):
    """Not Gaussian around 0, not centred, not a zero-mean write."""
    with pytest.raises(sp.NoRule):
        sp.predict(network(REFUSED[name], True, GRAM))
