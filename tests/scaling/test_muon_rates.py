"""Muon's rules: the table as sympy equalities, and steps by the polar factor of networks written
down here in numpy, forward and backward."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import sympy as sp

from sigprop.architectures import entry
from sigprop.errors import InputError
from sigprop.scaling.rates import rules
from sigprop.scaling.rule import SHAPE_FACTORS
from sigprop.scaling.sizes import C, L, M, N, g, n
from sigprop.theory.exponents.critical import critical

ROOT = sp.Rational(1, 2)
EPS = "1/(N*sqrt(L))"


def equal(one: Any, other: Any) -> bool:
    return sp.simplify(one / other) == 1


# The table: at eps = 1/(N sqrt L), s = 1; every rate over sqrt(L).
TABLE = {
    "original": {"q": 1, "k": 1, "v": 1, "u": 1, "w": M**-ROOT, "x": M**-ROOT},
    "spectral": {"q": 1, "k": sp.sqrt(g), "v": sp.sqrt(g), "u": 1, "w": M**-ROOT, "x": 1},
    "match_rms_adamw": {
        **dict.fromkeys("qkvu", n**-ROOT),
        "w": (M * n) ** -ROOT,
        "x": n**-ROOT / M,
    },
}


@pytest.mark.parametrize("shape_factor", SHAPE_FACTORS)
def test_the_table_entry_by_entry(shape_factor: str):
    arch = entry("looped-transformer").build(depth=2, loops=3, heads=4, kv_heads=2)
    found = rules(arch, "muon", shape_factor=shape_factor)
    adamw = rules(arch, "adamw")
    for group, rate in TABLE[shape_factor].items():
        rule = found[group]
        assert equal(rule.learning_rate, rate / sp.sqrt(L)), group
        # of the papers: rate x decay constant in width
        assert equal(rule.weight_decay, 1 / sp.sympify(rate)), group
        # beside the gradient's norm, not one entry
        shape = rule.muon
        assert shape is not None
        assert equal(rule.epsilon, adamw[group].epsilon * sp.sqrt(shape.rows * shape.inputs))
        assert rule.init_std == adamw[group].init_std
    for group in found.keys() - TABLE[shape_factor].keys():
        assert found[group] == adamw[group] and found[group].muon is None, group


def test_the_family_in_s_and_narrow_layers():
    """s < 1: gradients are n^((1-s)/2) larger; M < 1: the down matrix is the wide one."""
    arch = entry("looped-mlp").build(depth=2, loops=3, residual_scale=EPS)
    for s in (0, 0.5, 1):
        rate = rules(arch, "muon", s)["w"].learning_rate
        assert equal(rate, n ** (-(1 - sp.Rational(str(s))) / 2) / sp.sqrt(L))
    narrow = entry("transformer").build(depth=1, mlp_ratio=0.5, block="mlp")
    found = rules(narrow, "muon")
    assert found["w"].learning_rate * L == 1 and equal(found["x"].learning_rate * L, 1)
    found = rules(narrow, "muon", shape_factor="match_rms_adamw")
    assert equal(found["w"].learning_rate * L, n**-ROOT)
    assert equal(found["x"].learning_rate * L, (M * n) ** -ROOT)


@pytest.mark.parametrize("a", ["0", "1/2", "1", "1.2"])
@pytest.mark.parametrize("b", ["0", "1/2", "1"])
def test_depth_and_loops_are_adams(a: str, b: str):
    arch = entry("looped-mlp").build(depth=3, loops=4, residual_scale=f"N**-({a})*L**-({b})")
    muon, adam = rules(arch, "muon"), rules(arch, "adamw")
    for group in ("w", "x"):
        assert equal(muon[group].learning_rate, adam[group].learning_rate * n)
        expected = N ** (sp.Rational(a) - 1) * L ** (sp.Rational(b) - 1)
        assert equal(muon[group].learning_rate, expected)


def test_criticals_rate_for_muon_is_the_rules():
    """Where writes add order one: eps = 1/(N sqrt L), rate 1/sqrt(L)."""
    arch = entry("looped-mlp").build(depth=3, loops=4)
    rate = rules(arch, "muon")["w"].learning_rate
    for row in critical(arch, ("variance", "muon")):
        symbol = {"depth": L, "loops": N}[row["variable"]]
        assert sp.sympify(row["rate"]) == -sp.diff(sp.log(rate), symbol) * symbol


def test_decay_and_a_factor_of_depth_in_the_stds():
    arch = entry("residual-mlp").build(depth=3)
    product = rules(arch, "muon", decay="product")
    assert all(rule.rate_x_decay in (None, 1) for rule in product.values())
    carried = rules(arch, "muon", output_factor=1 / sp.sqrt(2 * L))
    plain = rules(arch, "muon")
    assert equal(carried["w"].learning_rate, plain["w"].learning_rate)
    # of the last matrix of a branch: the residual multiplier is larger by what its std is smaller
    ratio = carried["x"].learning_rate / plain["x"].learning_rate
    assert equal(ratio * sp.sqrt(2 * L), 1)
    assert not rules(entry("transformer").build(depth=1), "muon")["q"].learning_rate.has(C)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"optimizer": "adamw", "shape_factor": "original"}, "at optimizer='adamw'; accepted: of"),
        ({"optimizer": "muon", "shape_factor": "orginal"}, "did you mean 'original'"),
        ({"optimizer": "moun"}, "optimizer='moun'; accepted: sgd, adam, adamw, muon"),
    ],
)
def test_refusals(options: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says) as caught:
        rules(entry("looped-mlp").build(depth=2), **options)
    assert "\n" not in str(caught.value)


class Sizes(NamedTuple):
    """Of a network written down here."""

    width: int = 64
    depth: int = 2
    loops: int = 2
    ratio: int = 1


class Network:
    """h <- h + eps X relu(W h/rms h), L blocks looped N times, two inputs, labels y = +-1; z =
    v.h/n, and the loss is minus the mean of y z."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        rng = np.random.default_rng([*sizes, seed])
        width, units = sizes.width, sizes.width * sizes.ratio
        self.sizes, self.eps = sizes, 1 / (sizes.loops * math.sqrt(sizes.depth))
        self.w = rng.standard_normal((sizes.depth, units, width)) / math.sqrt(width)
        self.x = rng.standard_normal((sizes.depth, width, units)) * math.sqrt(2 / units)
        self.v = rng.standard_normal(width)
        self.stem = rng.standard_normal((2, width))
        self.y = np.where(rng.standard_normal(2) > 0, 1.0, -1.0)

    def outputs(self, w: np.ndarray, x: np.ndarray) -> tuple[float, list[tuple[np.ndarray, ...]]]:
        """(mean of y z; of each application the state's rms, its direction, the hidden units)."""
        h, trace = self.stem, []
        for a in range(self.sizes.depth * self.sizes.loops):
            slot = a % self.sizes.depth
            rms = np.sqrt((h**2).mean(axis=1, keepdims=True))
            units = np.maximum(h / rms @ w[slot].T, 0)
            trace.append((rms, h / rms, units))
            h = h + self.eps * units @ x[slot].T
        return float(self.y @ (h @ self.v) / 2 / self.sizes.width), trace

    def factors(self) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
        """{group: of each slot (d, x), [uses and inputs, length], whose d^T x is the gradient}."""
        found: dict[str, list[list[tuple[np.ndarray, np.ndarray]]]] = {
            name: [[] for _ in range(self.sizes.depth)] for name in "wx"
        }
        c = self.y[:, None] * self.v / 2 / self.sizes.width
        trace = self.outputs(self.w, self.x)[1]
        for a, (rms, r, units) in reversed(list(enumerate(trace))):
            slot = a % self.sizes.depth
            by_units = self.eps * c @ self.x[slot] * (units > 0)
            found["x"][slot].append((self.eps * c, units))
            found["w"][slot].append((by_units, r))
            by_r = by_units @ self.w[slot]
            c = c + (by_r - r * (by_r * r).mean(axis=1, keepdims=True)) / rms
        return {
            name: [tuple(map(np.concatenate, zip(*uses, strict=True))) for uses in slots]  # type: ignore[misc]
            for name, slots in found.items()
        }


def polar(d: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, float]:
    """(U V^T, nuclear norm) of d^T x, of the rank that uses and inputs give it."""
    (left, a), (right, b) = np.linalg.qr(d.T), np.linalg.qr(x.T)
    u, singular, v = np.linalg.svd(a @ b.T)
    return left @ u @ v @ right.T, float(singular.sum())


def factor(name: str, shape: tuple[int, ...]) -> float:
    rows, inputs = shape
    return {
        "original": math.sqrt(max(1, rows / inputs)),
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, inputs)),
        "spectral": math.sqrt(rows / inputs),
    }[name]


ETA = 1e-4
SEEDS = {"width": 24, "ratio": 24, "depth": 64, "loops": 64}
LADDERS: dict[str, tuple[int, ...]] = {
    "width": (64, 128, 256, 512),
    "ratio": (1, 2, 4, 8),
    "depth": (2, 4, 8, 16),
    "loops": (2, 4, 8, 16),
}
SYMBOLS = {"width": n, "ratio": M, "depth": L, "loops": N}


def responses(
    sizes: Sizes, shape_factor: str, rates: dict[str, float], seeds: int = 4
) -> dict[str, np.ndarray]:
    """{group: [seeds] first-order change of the mean of y z by a step of that group's rate, sum
    over slots of rate f |G|_*}; 'step': the change that both groups' real step makes."""
    found: dict[str, list[float]] = {"w": [], "x": [], "step": []}
    for seed in range(seeds):
        network, moved = Network(sizes, seed), {}
        for name, slots in network.factors().items():
            weight = getattr(network, name)
            size = rates[name] * factor(shape_factor, weight.shape[1:])
            steps = [polar(*both) for both in slots]
            found[name].append(size * sum(norm for _, norm in steps))
            moved[name] = weight + ETA * size * np.stack([step for step, _ in steps])
        before = network.outputs(network.w, network.x)[0]
        found["step"].append((network.outputs(**moved)[0] - before) / ETA)
    return {name: np.array(values) for name, values in found.items()}


def slope(sizes: tuple[int, ...], values: list[np.ndarray]) -> tuple[float, float]:
    """Slope of ln of the mean in ln size, and its standard error."""
    x = np.log(sizes) - np.mean(np.log(sizes))
    logs = np.log([value.mean() for value in values])
    errors = np.array([v.std(ddof=1) / math.sqrt(len(v)) / v.mean() for v in values])
    return float(logs @ x / (x @ x)), float(np.sqrt(errors**2 @ x**2) / (x @ x))


def measured(over: str, shape_factor: str, rates: Any) -> dict[str, tuple[float, float]]:
    found: dict[str, list[np.ndarray]] = {}
    for size in LADDERS[over]:
        sizes = Sizes()._replace(**{over: size})
        for name, values in responses(sizes, shape_factor, rates(sizes), SEEDS[over]).items():
            found.setdefault(name, []).append(values)
    return {name: slope(LADDERS[over], values) for name, values in found.items()}


def ones(sizes: Sizes) -> dict[str, float]:
    return {"w": 1.0, "x": 1.0}


def known(shape_factor: str) -> dict[str, sp.Expr]:
    arch = entry("looped-transformer").build(
        depth=2, loops=2, block="mlp", mlp_ratio=2, residual_scale=EPS
    )
    found = rules(arch, "muon", shape_factor=shape_factor)
    return {name: found[name].learning_rate for name in "wx"}


def test_a_step_changes_the_output_by_the_nuclear_norms():
    """To first order: dz = sum of rate f |G|_*."""
    found = responses(Sizes(loops=3, ratio=2), "original", {"w": 1.0, "x": 0.5})
    np.testing.assert_allclose(found["step"], found["w"] + found["x"], rtol=2e-3)


@pytest.mark.parametrize("over", LADDERS)
@pytest.mark.parametrize("shape_factor", SHAPE_FACTORS)
def test_responses_of_finite_networks_follow_the_rules(over: str, shape_factor: str):
    """Every group's change at rate 1 ~ 1/rate: slopes to 0.06, the approach to their limit, plus 4
    standard errors."""
    found, rule = measured(over, shape_factor, ones), known(shape_factor)
    for name in "wx":
        value, error = found[name]
        expected = -float(sp.diff(sp.log(rule[name]), SYMBOLS[over]) * SYMBOLS[over])
        assert abs(value - expected) < 0.06 + 4 * error, (name, value, expected, error)
        assert error < 0.02


def prescribed(shape_factor: str, power: float = 0.0) -> Any:
    """Rates as the rules have them, times n^power."""
    rule = known(shape_factor)

    def rates(sizes: Sizes) -> dict[str, float]:
        at = {n: sizes.width, M: sizes.ratio, L: sizes.depth, N: sizes.loops}
        return {name: float(rule[name].subs(at)) * sizes.width**power for name in "wx"}

    return rates


@pytest.mark.parametrize("over", LADDERS)
def test_real_steps_at_prescribed_rates_change_the_output_alike(over: str):
    value, error = measured(over, "original", prescribed("original"))["step"]
    assert abs(value) < 0.06 + 4 * error and error < 0.02, value


def test_the_companion_a_rate_that_is_off_by_the_root_of_n():
    value, error = measured("width", "original", prescribed("original", -0.5))["step"]
    assert abs(value + 0.5) < 0.06 + 4 * error


def test_muons_virtue_one_rate_for_hidden_matrices_of_every_width():
    """With sqrt(n_out/n_in), or its default; with 0.2 sqrt(n) the change grows as sqrt(n)."""
    for shape_factor, expected in (("spectral", 0), ("original", 0), ("match_rms_adamw", 0.5)):
        value, error = measured("width", shape_factor, ones)["step"]
        assert abs(value - expected) < 0.04 + 4 * error, (shape_factor, value)
