"""Every rule of the calculus is right or refuses: all nestings of two nodes, forward and backward,
against plain numpy neurons.

A branch is X outer(inner(leaf)), leaf the read or a matrix's output. Two tokens; 2^16 neurons in 32
batches, whose scatter is the standard error. About 1,500 numbers are compared, each within seven
standard errors (Student's t, 31 degrees of freedom: a false alarm in about 10^-4 of runs; the seed
is fixed besides).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from neurons import Neurons, gaussian

import sigprop as sp
from sigprop.language.expression import Vector
from sigprop.language.nodes import Gate, Mix
from sigprop.theory.attention import rules as attention_rules
from sigprop.theory.calculus import rules as calculus
from sigprop.theory.calculus.independence import check_writes
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import Cotangent, transpose
from sigprop.theory.recursion.arrays import ArrayEnvironment

assert attention_rules
NEURONS, BATCHES, FAR = 2**16, 32, 7.0
FINITE = BATCHES / NEURONS
"""1/n of a batch: what norms and chance overlaps add to a mean."""
R, DELTA = np.array([[1.0, 0.4], [0.4, 1.5]]), np.array([[1.0, -0.3], [-0.3, 0.7]])
NUMBERS = {"c": 1.3, "b": 0.4, "p": 0.5, "share": 0.5, "gamma": -0.7, "eps": 0.2}
TABLES = {"row": np.array([0.5, 2.0]), "mixed": np.array([[0.6, 0.4], [-0.3, 1.0]])}
C, B, P, SHARE, GAMMA, EPS = map(sp.Number, NUMBERS)
ROW, MIXED = sp.TokenTable("row"), sp.TokenTable("mixed", 2)
UNIFORM = sp.Scores(scale="linear", heads=2, mask="causal")
ZERO = sp.Scores(head_dim=8, scale="zero_query")

Node = Callable[[Vector, str], Vector]
NODES: dict[str, Node] = {
    "linear": lambda u, k: sp.Linear(f"m{k}", u, C),
    "bias": lambda u, k: u + sp.Bias(f"b{k}", B),
    "relu": lambda u, k: sp.Activate("relu", u),
    "gelu": lambda u, k: sp.Activate("gelu", u),
    "gated": lambda u, k: sp.Product(u, sp.Linear(f"g{k}", sp.Read(), C)),
    "gated by relu": lambda u, k: sp.Product(
        sp.Activate("relu", sp.Linear(f"g{k}", sp.Read(), C)), u
    ),
    "squared": lambda u, k: sp.Product(u, u),
    "truncated product": lambda u, k: sp.Product(
        sp.Truncate(u, SHARE), sp.Truncate(sp.Linear(f"g{k}", sp.Read(), C), SHARE)
    ),
    "rms": lambda u, k: sp.Normalise(u, "rms", EPS),
    "layer": lambda u, k: sp.Normalise(u, "layer", EPS),
    "dropout": lambda u, k: sp.Dropout(f"d{k}", u, P),
    "scale": lambda u, k: GAMMA * u,
    "gate": lambda u, k: Gate(GAMMA, u, f"gate{k}"),
    "rescale": lambda u, k: sp.Rescale(ROW, u),
    "mix": lambda u, k: Mix(MIXED, u),
    "truncate": lambda u, k: sp.Truncate(u, SHARE),
    "attend": lambda u, k: sp.Attend(
        sp.Linear(f"q{k}", sp.Read(), C), sp.Linear(f"k{k}", sp.Read(), C), u, UNIFORM
    ),
}
LEAVES: dict[str, Vector] = {"read": sp.Read(), "matrix": sp.Linear("w", sp.Read(), C)}
REFUSED = (sp.NoRule, sp.InputError)


def theory(u: Vector, delta: bool = False) -> np.ndarray:
    """<u, u> [T, T] by the calculus, eagerly: nothing is compiled."""
    with jax.enable_x64(True):
        zero = jnp.zeros((1, 2), dtype=jnp.float64)
        numbers = {name: jnp.asarray([value], dtype=jnp.float64) for name, value in NUMBERS.items()}
        numbers |= {
            name: jnp.asarray(table[None], dtype=jnp.float64) for name, table in TABLES.items()
        }
        at = (
            {("a", "a"): ((jnp.asarray(R[None], dtype=jnp.float64),),)},
            {("a", "a"): jnp.asarray(DELTA[None], dtype=jnp.float64)},
        )
        logs = {(leaf, "a"): zero for leaf in (sp.Read(), Cotangent())}
        env = ArrayEnvironment(
            *at, {"a": numbers}, lambda weight: jnp.ones(1, dtype=jnp.float64), logs
        )
        return np.asarray(env.block(inner(u, "a", u, "a", env), "a", "a"))[0]


def neurons(branch: Vector, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[BATCHES, T, T]: Grams of the branch and of the gradient that comes back to its read."""
    forward, backward = [], []
    for batch in range(BATCHES):
        rng = np.random.default_rng([seed, batch])
        read, delta = (gaussian(rng, gram, NEURONS // BATCHES) for gram in (R, DELTA))
        value, pull = Neurons(rng, read, NUMBERS, TABLES, np.tril(np.ones((2, 2))))(branch)
        for found, x in ((forward, value), (backward, pull(delta))):
            found.append(x @ x.T / x.shape[1])
    return np.array(forward), np.array(backward)


def far(measured: np.ndarray, expected: np.ndarray) -> float:
    """The largest deviation in standard errors."""
    se = np.maximum(
        measured.std(axis=0, ddof=1) / np.sqrt(len(measured)),
        FINITE * np.sqrt(np.outer(np.diag(expected), np.diag(expected))),
    )
    return float(np.abs((measured.mean(axis=0) - expected) / se).max())


def check(branch: Vector, seed: int) -> str:
    """'refused', or 'right'; raises where a number is wrong."""
    arch = sp.Architecture(
        "x",
        (sp.SubBlock(sp.State(0), branch, (sp.Write(),)),),
        range(1),
        numbers=NUMBERS,
        token_tables=TABLES,
        input_gram=R,
    )
    check_writes(arch)
    forward, backward = neurons(branch, seed)
    assert far(forward, theory(branch)) < FAR, f"forward: {branch}"
    turned = transpose(branch).by_read()
    assert turned is not None
    assert far(backward, theory(turned)) < FAR, f"backward: {branch}"
    return "right"


def outcome(branch: Callable[[], Vector], seed: int) -> str:
    try:
        return check(branch(), seed)
    except REFUSED as error:
        text = str(error)
        assert (
            "\n" not in text
            and len(text) < 320
            and "accepted:" in text
            and "(activation=" not in text
        ), text
        return "refused"


def nest(outer: str, inside: str, leaf: str) -> Callable[[], Vector]:
    return lambda: sp.Linear("x", NODES[outer](NODES[inside](LEAVES[leaf], "1"), "2"), C)


@pytest.mark.parametrize("outer", NODES)
def test_right_or_refused(outer: str):
    """Each node around each node around each leaf."""
    found = {
        (inside, leaf): outcome(nest(outer, inside, leaf), k)
        for k, inside in enumerate(NODES)
        for leaf in LEAVES
    }
    assert list(found.values()).count("right") >= {
        "squared": 0,
        "truncated product": 0,
        "attend": 2,
    }.get(outer, 4), found


@pytest.mark.parametrize(
    ("outer", "inside", "leaf"),
    [
        ("relu", "relu", "matrix"),
        ("gelu", "relu", "matrix"),
        ("relu", "bias", "matrix"),
        ("gelu", "mix", "matrix"),
        ("gelu", "attend", "matrix"),
        ("gelu", "gate", "read"),
        ("gated", "gelu", "matrix"),
        ("gated by relu", "dropout", "matrix"),
        ("layer", "gated", "matrix"),
        ("rms", "gelu", "matrix"),
        ("gelu", "layer", "matrix"),
        ("truncate", "gated", "matrix"),
        ("dropout", "dropout", "matrix"),
        ("attend", "linear", "matrix"),
    ],
)
def test_what_has_a_rule_is_not_refused(outer: str, inside: str, leaf: str):
    assert outcome(nest(outer, inside, leaf), 1) == "right"


@pytest.mark.parametrize(
    ("outer", "inside", "node"),
    [
        ("gelu", "gated", "w r * g1 r is not Gaussian"),
        ("gelu", "dropout", "dropout(w r) is not Gaussian"),
        ("relu", "truncate", "first(share, w r) is not Gaussian"),
        ("truncate", "truncate", "truncated twice"),
        ("layer", "relu", "the mean of relu(w r) over coordinates does not vanish"),
        ("squared", "relu", "share a matrix"),
        ("truncated product", "linear", "zero at the same coordinates"),
    ],
)
def test_a_refusal_names_the_node_and_the_reason(outer: str, inside: str, node: str):
    with pytest.raises(sp.NoRule) as error:
        check(nest(outer, inside, "matrix")(), 0)
    assert node in str(error.value)


def test_a_rule_that_does_not_ask_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The companion: were activations not to ask whether their argument is Gaussian, gelu(w r *
    g r) would come out wrong."""
    branches = [nest("gelu", inside, "matrix")() for inside in ("gated", "dropout", "truncate")]
    for branch in branches:
        # nor does any number pass
        assert far(neurons(branch, 0)[0], np.array([[4.0, 1.0], [1.0, 4.0]])) > FAR
    monkeypatch.setattr(calculus, "not_gaussian", lambda u: None)
    for branch in branches:
        assert far(neurons(branch, 0)[0], theory(branch)) > FAR


def test_the_smallest_inputs():
    """One application, a read of variance 1, c = 1: relu(relu(W r)) has second moment 1/2; the
    others have no rule."""
    w, g, one = (
        sp.Linear("w", sp.Read(), sp.Number("c")),
        sp.Linear("g", sp.Read(), sp.Number("c")),
        {"c": 1.0, "p": 0.5},
    )

    def network(units: Vector) -> sp.Architecture:
        return sp.Architecture(
            "x",
            (sp.SubBlock(sp.State(0), sp.Linear("x", units, sp.Number("c")), (sp.Write(),)),),
            range(1),
            numbers=one,
        )

    (row,) = sp.predict(
        network(sp.Activate("relu", sp.Activate("relu", w))), ["residual_variance"], [1]
    )
    assert row["value"] == pytest.approx(0.5, abs=1e-12)
    for units in (
        sp.Activate("gelu", sp.Product(w, g)),
        sp.Activate("gelu", sp.Dropout("d", w, sp.Number("p"))),
    ):
        with pytest.raises(sp.NoRule, match="is not Gaussian; accepted: "):
            sp.predict(network(units), ["residual_variance"], [1])


def test_dropout_of_writes_and_an_activation_of_the_state():
    """States that dropped-out writes are added to are not Gaussian: W phi(h) has no rule there,
    X phi(W h) has."""
    write = sp.Dropout("d", sp.Linear("x", sp.Activate("relu", sp.Read()), C), P)
    inside = sp.Dropout(
        "d", sp.Linear("x", sp.Activate("relu", sp.Linear("w", sp.Read(), C)), C), P
    )
    for branch, refused in ((write, True), (inside, False)):
        arch = sp.Architecture(
            "x",
            (sp.SubBlock(sp.State(0), branch, (sp.State(0) + sp.Write(),)),),
            range(2),
            numbers={"c": 1.0, "p": 0.5},
        )
        if refused:
            with pytest.raises(sp.NoRule, match="states are not Gaussian"):
                check_writes(arch)
        else:
            check_writes(arch)


def test_zero_queries_are_zero():
    """Scores said to be zero of queries that are not: uniform attention would be a wrong number."""
    branch = sp.Linear(
        "u",
        sp.Attend(
            sp.Linear("q", sp.Read(), sp.Number("q")),
            sp.Linear("k", sp.Read(), C),
            sp.Linear("v", sp.Read(), C),
            ZERO,
        ),
        C,
    )
    for variance in (0.0, 1.0):
        arch = sp.Architecture(
            "x",
            (sp.SubBlock(sp.State(0), branch, (sp.Write(),)),),
            range(1),
            numbers={"c": 1.0, "q": variance},
            input_gram=R,
        )
        if variance:
            with pytest.raises(
                sp.NoRule, match="score_scale=zero_query, and the variance of q is not 0"
            ):
                sp.predict(arch)
        else:
            check_writes(arch)


def test_a_mask_stands_once():
    """Two nodes of one mask: m^2/(1 - p)^2 is no dropout."""
    with pytest.raises(sp.InputError, match="occurs twice"):
        twice = sp.Dropout("d", sp.Dropout("d", sp.Read(), P), P * 1.0)
        sp.Architecture(
            "x",
            (sp.SubBlock(sp.State(0), sp.Linear("x", twice, C), (sp.Write(),)),),
            range(1),
            numbers=NUMBERS,
        )
