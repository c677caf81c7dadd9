"""derive and predict are one: the derived equations, iterated as numbers, are the predictions; a
broken rule breaks both."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy
from networks import having_rows

import sigprop as sp
from sigprop.language.expression import Linear
from sigprop.theory.calculus import rules as calculus
from sigprop.theory.recursion import passes


def load(name: str, path: Path):
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HELPERS = Path(__file__).parents[2] / "helpers"
Iterated = load("iterate", HELPERS / "iterate.py").Iterated
NETWORKS = load("networks", HELPERS / "networks.py").NETWORKS
A = sp.architectures
TWO = {"tokens": 2, "token_cosine": 0.3}
CASES = {
    "untied relu": A.residual_mlp(depth=3),
    "tied relu": A.looped_mlp(depth=1, loops=4),
    "looped tanh, no norm, biases": A.looped_mlp(
        depth=2, loops=2, activation="tanh", norm="none", c_b=0.2
    ),
    "tied gelu, post-norm": A.looped_mlp(
        depth=1, loops=3, activation="gelu", norm="post", residual_scale=0.5, matrices=1
    ),
    "tied erf, sandwich, regulated": A.looped_mlp(
        depth=1, loops=3, activation="erf", norm="sandwich", residual_scale=0.5, norm_eps=0.1
    ),
    "feed-forward silu": A.mlp(depth=3, activation="silu", c_b=0.1),
    "two tokens": A.looped_mlp(depth=2, loops=2, activation="gelu", **TWO),
    **{name: build() for name, build in NETWORKS.items() if name in ("momentum", "second-order")},
    "half-tied-parallel": NETWORKS["half-tied-parallel"](2),
    "two reads": NETWORKS["two-reads"](3),
    "two reads, tied": NETWORKS["two-reads"](3, [0, 0, 0]),
}


@pytest.mark.parametrize("name", CASES)
def test_iterated_equations_are_the_predictions(name: str):
    arch = CASES[name]
    it = Iterated(arch, sp.derive(arch))
    several = arch.tokens > 1
    state = "G" if f"{'G'}" in it.equations else "G_00"
    gradient = "H" if "H" in it.equations else "H_00"
    for row in sp.predict(
        arch,
        having_rows(
            arch, ["residual_variance", "token_covariance", "state_cosine", "gradient_variance"]
        ),
    ):
        a, t = row["application"], row["token"]
        s = row.get("token_2", t)

        def g(i, j, t=t, s=s):
            return it(state, max(i, j), min(i, j), *((t, s) if several else ()))

        if row["quantity"] == "state_cosine":
            b = row["application_2"]
            found = g(a, b) / np.sqrt(g(a, a) * g(b, b))
        elif row["quantity"] == "gradient_variance":
            found = it(gradient, a, a, *((t, s) if several else ()))
        else:
            found = g(a, a)
        assert found == pytest.approx(row["value"], rel=1e-10, abs=1e-10), row


@pytest.mark.parametrize("name", ["untied relu", "tied relu", "looped tanh, no norm, biases"])
def test_weight_gradients_and_ntk(name: str):
    """The derived sums over a slot's applications, term by term."""
    arch = CASES[name]
    derivation = sp.derive(arch)
    it = Iterated(arch, derivation)
    numbers = {sympy.Symbol(n, positive=True): table[0] for n, table in arch.number_tables.items()}
    q0 = {
        sympy.Symbol("q_0", positive=True): arch.input_gram[0, 0],
        sympy.Symbol("D", integer=True, nonnegative=True): arch.depth,
    }
    for row in sp.predict(arch, ["weight_gradient"]):
        slot = arch.slots[row["group"]][row["application"]] if row["group"] in arch.weights else 0
        rhs = derivation[f"weight_gradient[{row['group']}]"].rhs.subs(
            numbers | q0 | {sympy.Symbol("sigma", integer=True): slot}
        )
        assert it._number(rhs.doit()) == pytest.approx(row["value"], rel=1e-10)
    total = next(row["value"] for row in sp.predict(arch, ["ntk"]) if "group" not in row)
    assert it._number(derivation["ntk"].rhs.subs(numbers | q0).doit()) == pytest.approx(
        total, rel=1e-10
    )


def test_a_broken_rule_breaks_both(monkeypatch: pytest.MonkeyPatch):
    """<W x, W' y> = C_W <x, y> made 1.1 C_W <x, y>: derivation and prediction change, and still
    agree."""
    arch = A.looped_mlp(depth=1, loops=3, c_w=0.7)
    right, equation = sp.predict(arch, ["residual_variance"]), sp.derive(arch)["write"]
    rule = calculus.RULES[Linear, Linear]
    monkeypatch.setitem(
        calculus.RULES, (Linear, Linear), lambda u, i, v, j, env: 1.1 * rule(u, i, v, j, env)
    )
    passes.run.programs.clear()
    try:
        wrong, derivation = sp.predict(arch, ["residual_variance"]), sp.derive(arch)
        it = Iterated(arch, derivation)
    finally:
        passes.run.programs.clear()
    assert derivation["write"] != equation
    assert wrong.rows[-1]["value"] > right.rows[-1]["value"] + 0.05
    assert it("G", 3, 3) == pytest.approx(wrong.rows[-1]["value"], rel=1e-10)


def test_no_rule_is_never_zero():
    """A branch that does not end in a matrix, and factors that share one, are refused with the
    expression."""
    from sigprop import Activate, Read, State, SubBlock, Write

    bare = sp.Architecture(
        "bare",
        (
            SubBlock(
                State(), Activate("relu", Linear("w", Read(), sp.Number("c"))), (State() + Write(),)
            ),
        ),
        [0],
        {"c": 1.0},
    )
    with pytest.raises(sp.NoRule, match="zero-mean matrix"):
        sp.predict(bare)
    w = Linear("w", Read(), sp.Number("c"))
    squared = Linear("x", sp.Product(w, Activate("relu", w)), sp.Number("c"))
    with pytest.raises((sp.NoRule, sp.InputError)):
        sp.predict(
            sp.Architecture(
                "squared", (SubBlock(State(), squared, (State() + Write(),)),), [0], {"c": 1.0}
            )
        )


def test_closed_forms_satisfy_their_recursions():
    for arch in (
        A.mlp(depth=5, c_w=1.7, c_b=0.3),
        A.residual_mlp(depth=5, norm="none", c_w=0.7),
        A.residual_mlp(depth=5),
        A.residual_mlp(depth=5, activation="leaky-relu", norm="none", skip_scale=0.8),
        A.mlp(depth=4, activation="linear", c_w=1.2, c_b=None),
        A.looped_mlp(
            depth=1, loops=6, norm="none", activation="linear", matrices=1, skip_scale=0.9
        ),
        A.looped_mlp(depth=1, loops=6, norm="none", activation="linear", c_w=1.3),
    ):
        derivation = sp.derive(arch)
        numbers = {
            sympy.Symbol(n, positive=True): table[0] for n, table in arch.number_tables.items()
        } | {sympy.Symbol("q_0", positive=True): 1}
        for quantity in ("residual_variance", "gradient_variance"):
            if quantity not in {e.name for e in derivation.closed_form}:
                assert quantity == "gradient_variance"
                continue
            closed = derivation.closed_form[
                [e.name for e in derivation.closed_form].index(quantity)
            ].equation.rhs.subs(numbers)
            for row in sp.predict(arch, [quantity]):
                at = {
                    sympy.Symbol("a", integer=True, nonnegative=True): row["application"],
                    sympy.Symbol("D", integer=True, nonnegative=True): arch.depth,
                }
                assert float(closed.subs(at).doit()) == pytest.approx(row["value"], rel=1e-10)


def test_tied_linear_limit_is_bessel():
    """eps = lambda/N: q_N -> I_0(2 lambda), 2.2796 at lambda = 1."""
    arch = A.looped_mlp(depth=1, loops=400, norm="none", activation="linear", matrices=1)
    derivation = sp.derive(arch)
    limit = next(e for e in derivation.closed_form if e.name == "limit").equation.rhs
    limit = float(
        limit.subs(
            {
                sympy.Symbol("c_w", positive=True): 1,
                sympy.Symbol("lambda", positive=True): 1,
                sympy.Symbol("q_0", positive=True): 1,
            }
        )
    )
    assert limit == pytest.approx(2.2796, abs=5e-5)
    # O(1/N)
    assert sp.predict(arch, ["residual_variance"]).rows[-1]["value"] == pytest.approx(
        limit, rel=3e-3
    )


def test_mean_field_of_feed_forward_networks():
    """Schoenholz: tanh, c_w = 1.5^2..., at criticality chi_1 = 1; the depth scale is how the
    correlation really decays."""
    arch = A.mlp(depth=160, activation="tanh", c_w=1.5, c_b=0.05, **TWO)
    field = sp.derive(arch).mean_field
    assert field is not None and field["chi_1"] < 1 and field["c_star"] == pytest.approx(1)
    rows = {
        (r["quantity"], r["application"], r["token"], r.get("token_2")): r["value"]
        for r in sp.predict(arch, ["residual_variance", "token_covariance"], [150, 160])
    }

    def gap(a):
        return 1 - rows["token_covariance", a, 0, 1] / rows["residual_variance", a, 0, None]

    assert rows["residual_variance", 150, 0, None] == pytest.approx(field["q_star"], rel=1e-9)
    assert -1 / np.log(gap(160) / gap(150)) * 10 == pytest.approx(field["depth_scale_c"], rel=1e-3)
    # relu at c_w = 2 is critical
    assert sp.derive(A.mlp(depth=4)).mean_field["depth_scale_c"] == np.inf
    assert sp.derive(A.mlp(depth=4, c_w=3.0)).mean_field == {"q_star": np.inf}
    assert sp.derive(A.residual_mlp(depth=4)).mean_field is None


def test_notebooks_show_the_equations():
    """As mathematics that needs no other package: one display, every equation in it."""
    derivation = sp.derive(sp.architectures.mlp())
    for shown in (derivation._repr_latex_(), derivation._repr_html_()):
        assert (
            shown.count("gathered") == 2 and "gather*" not in shown and shown.count("$") in (2, 4)
        )
    assert all(equation.latex in derivation._repr_latex_() for equation in derivation.equations)


def test_routers_stand_in_the_equations_by_both_places():
    """A mixture of experts: one expert's Gram times what the router gives both tokens; tokens are
    then no longer alike."""
    arch = sp.architectures.transformer(experts=3)
    derivation = sp.derive(arch)
    written = next(e for e in derivation.equations if e.name.startswith("write|1"))
    assert "pi_router(a, t, b, s)" in str(written.equation.rhs)
    assert not any("_tt" in e.name for e in derivation.equations)
