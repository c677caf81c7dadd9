"""Functions without a rule, tried on Gaussian tokens: what has a rule is the reference.

Stated errors are half-widths of 99 % intervals of independent sets: of all rows of a table the
largest error over its stated one is held below ``FAR``, which Student's t at 15 degrees passes with
probability 1e-5 a row.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import sigprop as sp
from sigprop.errors import InputError, NoRule
from sigprop.language.nodes import Mix

TOKENS, WIDTH, DEPTH = 3, 256, 2
FAR = 2.2  # 6.5 standard errors
FORWARD = ("residual_variance", "token_covariance")
TABLE = np.tril(np.arange(1.0, TOKENS**2 + 1).reshape(TOKENS, TOKENS)) / 5


def relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


def mixed(x: Any) -> Any:
    return TABLE @ x


def multiplied(x: Any, y: Any) -> Any:
    return x * y


U, V = sp.Linear("u", sp.Read(), 2.0), sp.Linear("v", sp.Read(), 0.7, 2)
W = sp.Linear("w", sp.Read(), 1.3)
PAIRS: dict[str, tuple[sp.Vector, sp.Vector]] = {
    "relu": (sp.Sampled("f", relu, U, WIDTH), sp.Activate("relu", U)),
    "of other rows": (sp.Sampled("f", relu, V, WIDTH, 2), sp.Activate("relu", V)),
    "mixed": (sp.Sampled("f", mixed, U, WIDTH), Mix(sp.TokenTable("m", 2), U)),
    "of a read": (
        sp.Sampled("f", mixed, sp.Read(), WIDTH),
        Mix(sp.TokenTable("m", 2), sp.Read()),
    ),
    "of two": (sp.Sampled("f", multiplied, (U, W), WIDTH), sp.Product(U, W)),
    "normalised": (
        sp.Normalise(sp.Sampled("f", relu, U, WIDTH)),
        sp.Normalise(sp.Activate("relu", U)),
    ),
}
"""A function without a rule, and the same with one."""


def network(
    hidden: sp.Vector, tied: bool = False, stem: float = 1.0, read: sp.Vector | None = None
) -> sp.Architecture:
    """h + 0.5 W hidden, twice."""
    out = sp.Linear("out", hidden, 1.5)
    block = sp.SubBlock(read or sp.State(), out, sp.State() + 0.5 * sp.Write())
    slots = {name: [0] * DEPTH if tied else range(DEPTH) for name in block.drawn}
    tables = {"m": TABLE} if "Mix" in repr(hidden) else {}
    gram = stem * (0.6 * np.eye(TOKENS) + 0.4)
    return sp.Architecture(
        "f", (block,), slots, {}, kinds=[0] * DEPTH, input_gram=gram, token_tables=tables
    )


def furthest(found: sp.Table, true: sp.Table) -> float:
    """The largest error over the stated one."""
    return max(
        abs(row["value"] - other["value"]) / (row["error"] + other["error"])
        for row, other in zip(found, true, strict=True)
    )


CASES = [(name, tied) for name in PAIRS for tied in (False, True) if not tied or " " not in name]


@pytest.mark.parametrize(("name", "tied"), CASES)
def test_as_the_rule_has_it(name: str, tied: bool):
    """Within the stated error, whether applications share the function's inputs or not."""
    tried, known = (network(hidden, tied) for hidden in PAIRS[name])
    found, true = (sp.predict(arch, FORWARD) for arch in (tried, known))
    assert furthest(found, true) < FAR
    assert max(row["error"] / row["scale"] for row in found) < 0.03


@pytest.mark.parametrize("tied", [False, True])
def test_another_function_is_told_from_it(tied: bool):
    """The companion: a relu that leaks a tenth."""
    leaky = sp.Sampled("f", lambda x: np.where(x > 0, x, 0.3 * x), U, WIDTH)
    known = network(PAIRS["relu"][1], tied)
    found, true = (sp.predict(arch, FORWARD) for arch in (network(leaky, tied), known))
    assert furthest(found, true) > FAR


def test_states_of_any_size():
    """The function is given what the network would give it: sizes are no mantissas."""
    tried = sp.Sampled("f", lambda x: np.sin(1e-6 * x), U, WIDTH)
    sine = sp.Activation("small sine", _small_sine)
    found = sp.predict(network(tried, stem=1e12), FORWARD)
    true = sp.predict(network(sp.Activate(sine, U), stem=1e12), FORWARD)
    assert furthest(found, true) < FAR


def _small_sine(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.sin(1e-6 * x)


def test_rows_behind_it_say_so():
    """The stem's rows, and those of states before the first such function, do not."""
    table = sp.predict(network(PAIRS["relu"][0]), FORWARD)
    assert {row["status"] for row in table if row["application"] == 0} == {"quadrature"}
    assert {row["status"] for row in table if row["application"] > 0} == {"sampled"}
    assert all(row["error"] > 0 for row in table)


def test_draws_are_seeded_and_bought():
    """The same numbers again; with ``error`` more draws, and less error."""
    arch = network(PAIRS["relu"][0])
    first, again = (sp.predict(arch, FORWARD) for _ in range(2))
    assert list(first) == list(again)
    worst = max(row["error"] / row["scale"] for row in first)
    finer = sp.predict(arch, FORWARD, error=worst / 2)
    assert max(row["error"] / row["scale"] for row in finer) <= worst / 2


REFUSED: dict[str, tuple[sp.Vector, str]] = {
    "an activation of it": (sp.Activate("relu", PAIRS["relu"][0]), "not Gaussian"),
    "a product of it": (sp.Product(PAIRS["relu"][0], W), "need not be alike"),
    "of what is not Gaussian": (
        sp.Sampled("f", relu, sp.Activate("relu", U), WIDTH),
        "not Gaussian",
    ),
    "of inputs that overlap": (
        sp.Sampled("f", multiplied, (U, U + W), WIDTH),
        "overlap",
    ),
    "truncated": (sp.Truncate(PAIRS["relu"][0], 0.5), "need not be alike"),
    "with an activation": (
        PAIRS["relu"][0] + sp.Activate("tanh", W),
        "no rule for its inner product",
    ),
    "with the read": (PAIRS["relu"][0] + sp.Read(), "no rule for its inner product"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_with_it(name: str):
    hidden, text = REFUSED[name]
    with pytest.raises((NoRule, InputError), match=text):
        sp.predict(network(hidden), FORWARD)


def test_a_branch_that_ends_in_it():
    """It may overlap with the state."""
    block = sp.SubBlock(sp.State(), PAIRS["relu"][0], sp.State() + sp.Write())
    arch = sp.Architecture("f", (block,), {"u": [0]}, {}, kinds=[0], input_gram=np.eye(2))
    with pytest.raises(NoRule, match="does not end in a zero-mean matrix"):
        sp.predict(arch, FORWARD)


FAILING: dict[str, tuple[Callable[..., Any], str]] = {
    "another number of tokens": (lambda x: x[1:], r"returned \[2, 256\]; accepted"),
    "a number": (lambda x: 0.0, r"returned \[\]; accepted"),
    "an error": (lambda x: x @ x, "ValueError"),
    "two arguments": (lambda x, y: x, "TypeError"),
}


@pytest.mark.parametrize("name", FAILING)
def test_functions_that_fail(name: str):
    function, text = FAILING[name]
    with pytest.raises(InputError, match=text):
        sp.predict(network(sp.Sampled("f", function, U, WIDTH)), FORWARD)


def test_no_number_is_undefined():
    """A function that returns none has rows without a value, and says so."""
    table = sp.predict(
        network(sp.Sampled("f", lambda x: np.where(x > 0, x, np.nan), U, WIDTH)), FORWARD
    )
    assert {row["status"] for row in table if row["application"] > 0} == {"diverged"}


@pytest.mark.parametrize(
    "ask",
    [
        lambda arch: sp.predict(arch, ["gradient_variance"]),
        lambda arch: sp.derive(arch),
        lambda arch: sp.measure(arch, width=8, samples=2),
        lambda arch: sp.costs(arch),
        lambda arch: sp.exponents(arch),
    ],
    ids=["gradients", "derive", "measure", "costs", "exponents"],
)
def test_who_needs_more_than_its_gram(ask: Callable[[sp.Architecture], Any]):
    with pytest.raises((InputError, NoRule)):
        ask(network(PAIRS["relu"][0]))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"function": 3}, "function"),
        ({"of": 3}, "of"),
        ({"width": 0}, "width"),
        ({"rows": 0}, "rows"),
        ({"of": sp.Linear("u", sp.Read(), 1.0, Fraction(1, 3))}, "width"),
    ],
)
def test_bad_fields(given: dict[str, Any], text: str):
    fields = {"name": "f", "function": relu, "of": U, "width": WIDTH} | given
    with pytest.raises(InputError, match=text):
        sp.Sampled(**fields)
