"""Networks described outside the package: nothing in sigprop knows of them."""

import sigprop as sp
from sigprop import Activate, Linear, Normalise, Number, Read, State, Stem, SubBlock, Write
from sigprop.description.rows import select

EPS, MU, C_W, C_X = (
    Number("epsilon", r"\varepsilon"),
    Number("mu", r"\mu"),
    Number("c_w", "C_W"),
    Number("c_x", "C_X"),
)
UNIT = {"c_w": 1.0, "c_x": 2.0}  # unit gain for relu


def branch(activation="relu", w="w", x="x"):
    """X phi(W r)."""
    return Linear(x, Activate(activation, Linear(w, Read(), C_W)), C_X)


def momentum(depth=6, slots=None):
    """Momentum residual: v' = mu v + (1 - mu) f(norm h), h' = h + eps v'; lanes h, v with v_0 =
    0."""
    velocity = MU * State(1) + (1 - MU) * Write()
    block = SubBlock(
        reads=Normalise(State(0)), branch=branch(), rule=(State(0) + EPS * velocity, velocity)
    )
    return sp.Architecture(
        "momentum",
        (block,),
        slots or range(depth),
        numbers={"epsilon": depth**-0.5, "mu": 0.6} | UNIT,
        initial=(Stem(), 0 * Stem()),
    )


def second_order(depth=6, slots=None):
    """A wave equation: h_{a+1} = 2 h_a - h_{a-1} + eps^2 f(h_a), from rest; lanes h_a, h_{a-1}."""
    block = SubBlock(
        reads=State(0),
        branch=branch("tanh"),
        rule=(2 * State(0) - State(1) + EPS * EPS * Write(), State(0)),
    )
    return sp.Architecture(
        "second-order",
        (block,),
        slots or range(depth),
        numbers={"epsilon": 0.4} | UNIT,
        initial=(Stem(), Stem()),
    )


def half_tied_parallel(blocks=4):
    """Blocks of two parallel branches that read one state; even blocks share their weights, odd
    ones have their own.

    The second branch reads what the first one read: lane 1 keeps it.
    """
    first = SubBlock(
        Normalise(State(0)), branch("relu", "w", "x"), (State(0) + EPS * Write(), State(0))
    )
    second = SubBlock(
        Normalise(State(1)), branch("gelu", "v", "u"), (State(0) + EPS * Write(), State(0))
    )
    slots = [0 if block % 2 == 0 else block for block in range(blocks) for _ in range(2)]
    return sp.Architecture(
        "half-tied-parallel",
        (first, second),
        slots,
        numbers={"epsilon": 0.5} | UNIT,
        initial=(Stem(), Stem()),
        input_gram=[[1.0, 0.3], [0.3, 1.0]],
    )


def two_reads(depth=5, slots=None):
    """X (phi(W r_0) * G r_1): units read the state behind a norm, their gates what it was before
    (lane 1)."""
    units = Activate("tanh", Linear("w", Read(), C_W))
    block = SubBlock(
        (Normalise(State(0)), MU * State(1)),
        Linear("x", sp.Product(units, Linear("g", Read(1), C_W)), C_X),
        (State(0) + EPS * Write(), State(0)),
    )
    return sp.Architecture(
        "two-reads",
        (block,),
        slots or range(depth),
        numbers={"epsilon": 0.5, "mu": 0.8} | UNIT,
        initial=(Stem(), Stem()),
        input_gram=[[1.0, 0.4], [0.4, 1.2]],
    )


NETWORKS = {
    "momentum": momentum,
    "second-order": second_order,
    "half-tied-parallel": half_tied_parallel,
    "two-reads": two_reads,
}


def having_rows(arch, quantities):
    """Of the quantities those that the network has rows of (one token has no covariances)."""
    return [name for name in quantities if select(arch, [name])]
