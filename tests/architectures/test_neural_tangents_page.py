"""docs/neural-tangents.md: that library's recursions, written out in numpy, against our rows with
the page's factors.

Dense, ntk:       nngp <- W^2 nngp + b^2,  ntk <- nngp(new) + W^2 ntk
Dense, standard:  nngp <- W^2 nngp + b^2,  ntk <- n_in nngp(old) + W^2 ntk (+ 1 with a bias)
activation:       nngp <- E phi phi',      ntk <- E dphi dphi' ntk
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import erf, ndtr

import sigprop as sp
from sigprop.architectures import entries, entry

GRAM = np.array([[1.3, 0.4, -0.2], [0.4, 0.9, 0.5], [-0.2, 0.5, 1.1]])
Kernels = tuple[np.ndarray, np.ndarray]
Map = Callable[[np.ndarray], Kernels]


def relu(k: np.ndarray) -> Kernels:
    """Cho and Saul: arc-cosine kernels of degree 1 and 0."""
    size = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    angle = np.arccos(np.clip(k / size, -1, 1))
    return size * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi), (
        np.pi - angle
    ) / (2 * np.pi)


def error_function(k: np.ndarray) -> Kernels:
    """Williams: arc-sine kernels."""
    scale = np.outer(1 + 2 * np.diag(k), 1 + 2 * np.diag(k))
    return 2 / np.pi * np.arcsin(2 * k / np.sqrt(scale)), 4 / np.pi / np.sqrt(scale - 4 * k**2)


def gelu(k: np.ndarray) -> Kernels:
    """Gauss and Hermite's rule in two dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weight = np.outer(weights, weights) / (2 * np.pi)
    value, slope = np.zeros_like(k), np.zeros_like(k)
    for t, s in np.ndindex(*k.shape):
        x = np.sqrt(k[t, t]) * nodes[:, None] + 0 * nodes[None]
        rest = np.sqrt(max(k[s, s] - k[t, s] ** 2 / k[t, t], 0.0))
        y = k[t, s] / np.sqrt(k[t, t]) * nodes[:, None] + rest * nodes[None]
        value[t, s] = (weight * x * ndtr(x) * y * ndtr(y)).sum()
        dx, dy = (ndtr(u) + u * np.exp(-u * u / 2) / np.sqrt(2 * np.pi) for u in (x, y))
        slope[t, s] = (weight * dx * dy).sum()
    return value, slope


MAPS: dict[str, Map] = {"relu": relu, "erf": error_function, "gelu": gelu}


class Layer(NamedTuple):
    """Of a Dense: W_std^2, b_std^2 (None: no bias), and for the standard parametrisation its
    fan-in."""

    weight: float
    bias: float | None
    fan_in: int | None = None


def dense(nngp: np.ndarray, ntk: np.ndarray, layer: Layer) -> Kernels:
    new = layer.weight * nngp + (layer.bias or 0.0)
    if layer.fan_in is None:
        return new, new + layer.weight * ntk
    return new, layer.fan_in * nngp + layer.weight * ntk + (layer.bias is not None)


def serial(inputs: np.ndarray, layers: list[Layer], phi: Map) -> Kernels:
    """(nngp, ntk) of Dense, (phi, Dense)... inputs: x . x'/d."""
    nngp, ntk = dense(inputs, np.zeros_like(inputs), layers[0])
    for layer in layers[1:]:
        nngp, slope = phi(nngp)[0], phi(nngp)[1]
        nngp, ntk = dense(nngp, slope * ntk, layer)
    return nngp, ntk


def entries_of(table: sp.Table, quantity: str, **where: object) -> np.ndarray:
    """[T, T] of the rows of a quantity."""
    found = np.zeros_like(GRAM)
    for row in table.filter(quantity=quantity, **where):
        t, s = row["token"], row.get("token_2", row["token"])
        found[t, s] = found[s, t] = row["value"]
    return found


def total(arch: sp.Architecture) -> np.ndarray:
    return entries_of(sp.predict(arch, ["ntk"]), "ntk", group=None)


@pytest.mark.parametrize("activation", MAPS)
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("bias", [None, 0.3])
def test_the_ntk_parametrisation(activation: str, depth: int, bias: float | None):
    """Factors: each group's own variance, 1 for the stem, 0 for the read-out."""
    factors = {"w": 1.7, "readout": 0} | ({} if bias is None else {"b": bias})
    arch = sp.architectures.mlp(
        depth=depth, activation=activation, c_w=1.7, c_b=bias, input_gram=GRAM, sgd_factors=factors
    )
    layers = [Layer(1.4, 0.2)] + [Layer(1.7, bias)] * depth
    _, expected = serial((GRAM - 0.2) / 1.4, layers, MAPS[activation])
    assert total(arch) == pytest.approx(expected, rel=1e-8)
    assert total(arch) != pytest.approx(
        total(
            sp.architectures.mlp(
                depth=depth, activation=activation, c_w=1.7, c_b=bias, input_gram=GRAM
            )
        ),
        rel=1e-2,
    )


@pytest.mark.parametrize(
    ("activation", "depth", "bias"), [("relu", 1, None), ("erf", 2, 0.3), ("gelu", 2, None)]
)
def test_the_standard_parametrisation(activation: str, depth: int, bias: float | None):
    """Factors: each matrix's fan-in, 1 for biases, d/W_0^2 for the stem without a bias."""
    width, inputs, first = 512, 3, 1.4
    factors = {"w": width, "stem": inputs / first, "readout": 0} | (
        {} if bias is None else {"b": 1}
    )
    arch = sp.architectures.mlp(
        depth=depth, activation=activation, c_w=1.7, c_b=bias, input_gram=GRAM, sgd_factors=factors
    )
    layers = [Layer(first, None, inputs)] + [Layer(1.7, bias, width)] * depth
    assert total(arch) == pytest.approx(serial(GRAM / first, layers, MAPS[activation])[1], rel=1e-8)


def test_a_first_bias_in_the_standard_parametrisation():
    """Entry by entry: the stem's row times [d (G - b_0^2)/W_0^2 + 1]/G."""
    width, inputs, first, bias = 64, 5, 1.4, 0.2
    table = sp.predict(
        sp.architectures.mlp(depth=2, activation="erf", c_w=1.7, c_b=0.3, input_gram=GRAM), ["ntk"]
    )
    stem = entries_of(table, "ntk", group="stem") * (inputs * (GRAM - bias) / first + 1) / GRAM
    ours = width * entries_of(table, "ntk", group="w") + entries_of(table, "ntk", group="b") + stem
    layers = [Layer(first, bias, inputs)] + [Layer(1.7, 0.3, width)] * 2
    assert ours == pytest.approx(serial((GRAM - bias) / first, layers, error_function)[1], rel=1e-8)


def test_nngp_rows_by_application():
    arch = sp.architectures.mlp(depth=2, activation="relu", c_w=1.7, c_b=0.3, input_gram=GRAM)
    table = sp.predict(arch, ["residual_variance", "token_covariance"])
    for depth in range(3):
        layers = [Layer(1.4, 0.2)] + [Layer(1.7, 0.3)] * depth
        expected, _ = serial((GRAM - 0.2) / 1.4, layers, relu)
        ours = entries_of(table, "token_covariance", application=depth)
        ours[np.diag_indices(3)] = np.diag(
            entries_of(table, "residual_variance", application=depth)
        )
        assert ours == pytest.approx(expected, rel=1e-10)


def test_the_read_out_is_one_more_dense_layer():
    factors = {"w": 1.7, "b": 0.3}
    arch = sp.architectures.mlp(
        depth=1, activation="relu", c_w=1.7, c_b=0.3, input_gram=GRAM, sgd_factors=factors
    )
    nngp, ntk = serial((GRAM - 0.2) / 1.4, [Layer(1.4, 0.2), Layer(1.7, 0.3)], relu)
    assert total(arch) == pytest.approx(dense(nngp, ntk, Layer(1.0, None))[1], rel=1e-10)


def test_a_residual_network():
    """FanOut, (Dense, phi, Dense) beside the identity, FanInSum: kernels of the sum are sums."""
    scale, w, x = 0.6, 1.5, 1.3
    given = {
        "depth": 2,
        "norm": "none",
        "residual_scale": scale,
        "c_w": w,
        "c_x": x,
        "input_gram": GRAM,
    }
    arch = sp.architectures.residual_mlp(**given, sgd_factors={"w": w, "x": x, "readout": 0})
    nngp, ntk = dense(GRAM / 1.4, np.zeros_like(GRAM), Layer(1.4, None))
    for _ in range(2):
        inner, tangent = dense(nngp, ntk, Layer(w, None))
        value, slope = relu(inner)
        branch = dense(value, slope * tangent, Layer(scale**2 * x, None))
        nngp, ntk = nngp + branch[0], ntk + branch[1]
    assert total(arch) == pytest.approx(ntk, rel=1e-10)


def test_the_pages_numbers():
    """0.942332 (float32 there) = c_w ntk[w] + ntk[stem], and our total of 2.24683 with the
    read-out and a bias of variance 0."""
    unit = np.array([[1.0, 0.5], [0.5, 1.0]])
    theirs = serial(unit / 2, [Layer(2.0, None), Layer(2.0, None)], relu)[1][0, 1]
    assert theirs == pytest.approx(0.942332, abs=1.5e-6)
    rows = sp.predict(sp.architectures.mlp(depth=1, tokens=2, token_cosine=0.5), ["ntk"]).filter(
        token=0, token_2=1
    )
    values = {row.get("group"): row["value"] for row in rows}
    assert 2 * values["w"] + values["stem"] == pytest.approx(theirs, rel=1e-12)
    assert values[None] == pytest.approx(2.24683, abs=5e-6)
    assert values[None] == pytest.approx(
        values["w"] + 1 + values["readout"] + values["stem"], rel=1e-12
    )


# Factors of groups, in every architecture
# --------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(entries()))
def test_every_architecture_takes_factors_and_keeps_them_at_other_sizes(name: str):
    groups = entry(name).build().groups
    factors = {group: float(i) for i, group in enumerate(groups)}
    arch = entry(name).build(
        sgd_factors=",".join(f"{group}={factor}" for group, factor in factors.items())
    )
    assert arch.sgd_factors == factors and arch.groups == groups
    assert arch.family is not None and arch.family.build(6, 1).sgd_factors == factors
    assert not entry(name).build().sgd_factors


@pytest.mark.parametrize("name", ["residual-mlp", "looped-mlp", "vanilla", "variable-width"])
def test_factors_multiply_rows_drop_groups_and_the_total_is_their_sum(name: str):
    sizes = {"depth": 2, "tokens": 2, "token_cosine": 0.4} | (
        {"loops": 2} if name == "looped-mlp" else {}
    )
    sizes |= {"schedule": (32, 16), "reference_width": 16} if name == "variable-width" else {}
    plain = sp.predict(entry(name).build(**sizes), ["ntk"])
    groups = entry(name).build(**sizes).groups
    factors = dict.fromkeys(groups, 1.0) | {groups[0]: 2.5, "readout": 0.0}
    scaled = sp.predict(entry(name).build(**sizes, sgd_factors=factors), ["ntk"])
    one = {(row.get("group"), row["token"], row["token_2"]): row["value"] for row in plain}
    for row in scaled:
        group, *pair = key = row.get("group"), row["token"], row["token_2"]
        expected = (
            factors[group] * one[key] if group else sum(factors[g] * one[g, *pair] for g in groups)
        )
        assert row["value"] == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_finite_networks_take_them_too():
    sizes = {"depth": 1, "tokens": 2, "token_cosine": 0.5, "input_gram": None}
    given = {"width": 32, "samples": 4, "quantities": ["ntk"]}
    plain, scaled = (
        sp.measure(sp.architectures.mlp(**sizes, sgd_factors=f), **given)
        for f in (None, "w=2,b=0,readout=0")
    )
    one = {(row.get("group"), row["token"], row["token_2"]): row["value"] for row in plain}
    for row in scaled.filter(group=None):
        pair = row["token"], row["token_2"]
        assert row["value"] == pytest.approx(2 * one["w", *pair] + one["stem", *pair], rel=1e-5)


def test_erf_is_erf():
    """The closed forms above, against sums over samples that have nothing to do with them."""
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(np.zeros(2), GRAM[:2, :2], 400_000)
    for phi, closed in (
        (erf, error_function),
        (lambda u: np.maximum(u, 0), relu),
        (lambda u: u * ndtr(u), gelu),
    ):
        products = phi(x[:, 0]) * phi(x[:, 1])
        assert abs(products.mean() - closed(GRAM[:2, :2])[0][0, 1]) < 4 * products.std() / np.sqrt(
            len(products)
        )
