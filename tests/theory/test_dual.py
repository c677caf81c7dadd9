"""theory/dual: closed forms against quadrature, the series against closed forms, and the laws both obey."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import fp

from sigprop.activation import Activation, find
from sigprop.theory.dual import Features, dual, features, numeric, series, status, symbols
from sigprop.theory.dual.closed import CLOSED, HOMOGENEOUS

Point = tuple[float, float, float]
POINTS: list[Point] = [(1.0, 0.5, 1.0), (0.3, -0.2, 2.0), (1.7, 1.1, 0.9), (4.0, -3.5, 4.0)]
SERIES = ["tanh", "silu", "gelu-tanh"]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with strict():
        yield


class strict:
    """64 bit, no implicit promotion of dtypes or ranks."""

    def __enter__(self) -> None:
        self.contexts = [jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise")]
        for context in self.contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self.contexts):
            context.__exit__(None, None, None)


def hard_tanh(x: Any) -> Any:
    return jnp.clip(x, -1, 1)


def soft_plus(x: Any) -> Any:
    return jax.nn.softplus(x)


def renamed(name: str) -> Activation:
    """The registered function under a name of the user's: goes through the series."""
    return Activation(f"my-{name}", find(name).function)


def pair(activation: str | Activation, order: int, qa: Any, c: Any, qb: Any, sa: Any = 0.0, sb: Any = 0.0, /, **options: int) -> Any:
    """V or V' at one point; every argument an array without dimensions."""
    fa, fb = features(activation, qa[None], sa, **options), features(activation, qb[None], sb, **options)
    return dual(activation, order, fa, c[None, None], fb)[0, 0]


@functools.cache
def compiled(activation: str | Activation, order: int, options: tuple[tuple[str, int], ...] = ()) -> Callable[..., Any]:
    return jax.jit(functools.partial(pair, activation, order, **dict(options)))


def at(activation: str | Activation, order: int, point: Point, /, *logs: float, **options: int) -> float:
    """V or V' at one point (order 0: its mantissa if there are logs)."""
    return float(compiled(activation, order, tuple(options.items()))(*(jnp.asarray(float(v)) for v in (*point, *logs))))


def gradients(activation: str, order: int, points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """The values at the points, [P], and their gradients by (qa, c, qb), [3, P]."""
    function = jax.vmap(jax.value_and_grad(functools.partial(pair, activation, order, degree=64), argnums=(0, 1, 2)))
    values, slopes = function(*(jnp.asarray(v) for v in zip(*points, strict=True)))
    return np.asarray(values), np.asarray(jnp.stack(slopes))


def normal(x: float) -> float:
    return float(fp.exp(-x * x / 2) / fp.sqrt(2 * fp.pi))


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


SLOPE = {"linear": 1.0, "relu": 0.0, "leaky-relu": 0.01}
FUNCTIONS: dict[tuple[str, int], Callable[[float], float]] = {
    **{(name, 0): lambda x, s=s: x if x > 0 else s * x for name, s in SLOPE.items()},
    **{(name, 1): lambda x, s=s: 1.0 if x > 0 else s for name, s in SLOPE.items()},
    ("erf", 0): fp.erf,
    ("erf", 1): lambda x: 2 / fp.sqrt(fp.pi) * fp.exp(-x * x),
    ("gelu", 0): lambda x: x * fp.ncdf(x),
    ("gelu", 1): lambda x: fp.ncdf(x) + x * normal(x),
    ("tanh", 0): np.tanh,
    ("tanh", 1): lambda x: 1 / np.cosh(x) ** 2,
    ("silu", 0): lambda x: x * logistic(x),
    ("silu", 1): lambda x: logistic(x) * (1 + x * (1 - logistic(x))),
}
"""phi and phi' written out again, in plain floats: they share nothing with the package."""


def integral(name: str, order: int, point: Point) -> float:
    """E[phi(x) phi(y)] by mpmath's double-exponential rule, nested: x, then y given x; both split at the kink."""
    qa, c, qb = point
    phi, width, spread = FUNCTIONS[name, order], np.sqrt(qa), np.sqrt(qb - c * c / qa)

    def inner(x: float) -> float:
        mean = c / qa * x
        ends = [mean - 9 * spread, mean + 9 * spread]
        ends = [ends[0], 0.0, ends[1]] if ends[0] < 0 < ends[1] else ends
        return phi(x) * normal(x / width) / width * fp.quad(lambda y: phi(y) * normal((y - mean) / spread) / spread, ends, maxdegree=5)

    return fp.quad(inner, [-9 * width, 0, 9 * width], maxdegree=5)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", CLOSED)
def test_closed_form_is_the_integral(name: str, order: int, point: Point) -> None:
    assert at(name, order, point) == pytest.approx(integral(name, order, point), abs=1e-10)


@pytest.mark.parametrize("point", POINTS[:3])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_series_is_the_integral(name: str, order: int, point: Point) -> None:
    assert at(name, order, point) == pytest.approx(integral(name, order, point), abs=1e-11)


@pytest.mark.parametrize(
    ("name", "order", "error"),
    [("linear", 0, 1e-13), ("linear", 1, 1e-13), ("relu", 0, 1e-9), ("relu", 1, 1e-7), ("leaky-relu", 0, 1e-9), ("erf", 0, 1e-13),
     ("erf", 1, 1e-13), ("gelu", 0, 1e-13), ("gelu", 1, 1e-13)],
)  # fmt: skip
def test_series_agrees_with_closed_form(name: str, order: int, error: float) -> None:
    """|rho| <= 0.9 and variances <= 4; a kink at 0 (relu) leaves 6e-11, its derivative's jump 3e-8."""
    for qa, qb in [(0.1, 0.1), (1.0, 1.0), (1.0, 4.0)]:
        for rho in (-0.9, -0.5, 0.0, 0.3, 0.9):
            point = (qa, rho * np.sqrt(qa * qb), qb)
            assert at(renamed(name), order, point) == pytest.approx(at(name, order, point), abs=error * max(1, qb))


@pytest.mark.parametrize("rho", [0.99, 0.999, -0.999])
@pytest.mark.parametrize("name", ["relu", "erf"])
@pytest.mark.parametrize("order", [0, 1])
def test_truncation_is_bounded(name: str, order: int, rho: float) -> None:
    """Where the series has not converged (variance 50, rho near 1) the error is within ``series.bound``."""
    q, activation = jnp.asarray([50.0]), renamed(name)
    f = features(activation, q)
    a = jnp.moveaxis(f.value if order == 0 else f.slope, -1, 0)[..., None]
    stated = float(series.bound(a, jnp.asarray([[rho]]), a)[0, 0])
    error = abs(at(activation, order, (50.0, 50 * rho, 50.0)) - at(name, order, (50.0, 50 * rho, 50.0)))
    assert 0 < error <= stated + 1e-12


def test_a_kink_anywhere() -> None:
    """Hard tanh (kinks at +-1): its truth is E[E[phi(y)|x] phi(x)] with the inner mean in closed form."""
    activation = Activation("hard-tanh", hard_tanh)
    qa, c, qb = 1.3, 0.8, 0.7
    width, spread = np.sqrt(qa), np.sqrt(qb - c * c / qa)

    def mean_of_clip(m: float) -> float:
        up, down = (1 - m) / spread, (-1 - m) / spread
        middle = m * (fp.ncdf(up) - fp.ncdf(down)) - spread * (normal(up) - normal(down))
        return middle + (1 - fp.ncdf(up)) - fp.ncdf(down)

    ends = [-9 * width, -1, 1, 9 * width]
    truth = fp.quad(lambda x: np.clip(x, -1, 1) * normal(x / width) / width * mean_of_clip(c / qa * x), ends)
    f = [features(activation, jnp.asarray([q])) for q in (qa, qb)]
    a, b = (jnp.moveaxis(g.value, -1, 0)[..., None] for g in f)
    stated = float(series.bound(a, jnp.asarray([[c / np.sqrt(qa * qb)]]), b)[0, 0])
    coarse = at(activation, 0, (qa, c, qb), order=12)
    value = at(activation, 0, (qa, c, qb))
    assert abs(value - truth) <= stated + 3 * abs(value - coarse)
    assert value == pytest.approx(truth, abs=1e-4)


@pytest.mark.parametrize("name", ["tanh", "silu", "relu"])
@pytest.mark.parametrize("q", [0.3, 40.0])
@pytest.mark.parametrize("degree", [9, 32])
def test_exact_at_both_ends(name: str, q: float, degree: int) -> None:
    """rho = 1 and -1 with qa = qb: E[phi^2] and E[phi(x) phi(-x)], at any degree."""
    from sigprop.activation import gaussian_nodes

    activation = renamed(name)
    z, weight = gaussian_nodes()
    x = jnp.asarray(np.sqrt(q) * z)
    for order, phi in enumerate((activation.function, activation.derivative)):
        for sign in (1, -1):
            expected = float(np.sum(weight * np.asarray(phi(x)) * np.asarray(phi(sign * x))))
            assert at(activation, order, (q, sign * q, q), degree=degree) == pytest.approx(expected, rel=1e-13, abs=1e-14 * q)


@pytest.mark.parametrize("name", [*CLOSED, *SERIES])
def test_zero_variance(name: str) -> None:
    assert at(name, 0, (0.0, 0.0, 0.0)) == 0
    assert at(name, 0, (0.0, 0.0, 2.0)) == pytest.approx(0, abs=1e-16)
    assert np.isfinite([at(name, 1, (0.0, 0.0, 0.0)), at(name, 1, (0.0, 0.0, 2.0))]).all()


def test_zero_variance_with_a_constant() -> None:
    assert at(Activation("softplus", soft_plus), 0, (0.0, 0.0, 0.0)) == pytest.approx(np.log(2) ** 2, rel=1e-14)


@pytest.mark.parametrize("name", [*CLOSED, *SERIES])
def test_finite_on_the_diagonal_and_price(name: str) -> None:
    """dV_phi/dc = V_phi' (Price), inside and where rho is 1 or -1 up to rounding; every value and gradient is finite."""
    edges: list[Point] = [(1.0, c, 1.0) for c in (1.0, 1 + 2**-52, 1 - 2**-53, 1 + 1e-12, -1 - 2**-52)]
    _, slopes = gradients(name, 0, POINTS + edges)
    values, more = gradients(name, 1, POINTS + edges)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    assert np.isfinite(more).all()
    np.testing.assert_allclose(slopes[1], values, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("name", CLOSED)
def test_expression_and_array_agree(name: str, order: int, point: Point) -> None:
    qa, c, qb = sympy.symbols("q_a c q_b", real=True)
    expression = dual(name, order, features(name, qa), c, features(name, qb))
    value = float(expression.subs({qa: point[0], c: point[1], qb: point[2]}))
    assert value == pytest.approx(at(name, order, point), rel=1e-12)


def test_derivation_of_the_diagonal() -> None:
    q = sympy.Symbol("q", positive=True)
    half = sympy.Rational(1, 2)
    assert dual("relu", 0, features("relu", q), q, features("relu", q)) == q / 2
    assert dual("relu", 1, features("relu", q), q, features("relu", q)) == half
    assert dual("linear", 1, features("linear", q), q, features("linear", q)) == 1
    assert isinstance(features("tanh", q), Features)


@pytest.mark.parametrize("order", [0, 1])
def test_unevaluated(order: int) -> None:
    """An activation without closed form: an unevaluated function with LaTeX, evaluated by lambdify with ``numeric``."""
    qa, c, qb = sympy.symbols("q_a c q_b")
    expression = dual("tanh", order, features("tanh", qa), c, features("tanh", qb))
    assert expression == dual("tanh", order, features("tanh", qa), c, features("tanh", qb))
    assert str(expression) == ("V_tanh(q_a, c, q_b)", "dV_tanh(q_a, c, q_b)")[order]
    assert sympy.latex(expression) == (r"V_{\tanh}\left(q_{a}, c, q_{b}\right)", r"V_{\tanh'}\left(q_{a}, c, q_{b}\right)")[order]
    assert symbols.name(find("gelu-tanh"), 0) == "V_gelu_tanh"
    function = sympy.lambdify((qa, c, qb), 2 * expression, modules=[{symbols.name(find("tanh"), order): numeric("tanh", order)}, "math"])
    assert function(*POINTS[1]) == pytest.approx(2 * at("tanh", order, POINTS[1]), rel=1e-14)


def test_numeric_leaves_the_configuration_alone() -> None:
    with jax.enable_x64(False):
        assert numeric("relu")(1.0, 0.5, 1.0) == pytest.approx((np.sqrt(0.75) + np.pi / 3) / (2 * np.pi), rel=1e-15)
        assert not jax.config.jax_enable_x64


def test_a_closed_form_only_for_the_registered_function() -> None:
    assert [status(name) for name in (*CLOSED, "tanh")] == ["exact"] * 5 + ["quadrature"]
    mine = Activation("relu", hard_tanh)
    assert status(mine) == "quadrature"
    assert at(mine, 0, POINTS[0]) != pytest.approx(at("relu", 0, POINTS[0]), abs=1e-3)


@pytest.mark.parametrize("name", [*CLOSED, *SERIES])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("logs", [(0.0, 0.0), (0.7, -1.3), (-2.0, -2.0), (1.0, 1.0)])
def test_log_scale_law(name: str, order: int, logs: tuple[float, float]) -> None:
    """(variance q, log s) is (variance q e^2s, log 0), up to the mantissa's e^(-s_a - s_b)."""
    qa, c, qb = 0.3, -0.2, 0.6
    sa, sb = logs
    value = at(name, order, (qa, c, qb), sa, sb)
    plain = at(name, order, (qa * np.exp(2 * sa), c * np.exp(sa + sb), qb * np.exp(2 * sb)))
    assert value == pytest.approx(plain * (np.exp(-sa - sb) if order == 0 else 1), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", [*CLOSED, *SERIES])
@pytest.mark.parametrize("s", [30.0, 150.0, 5000.0, -50.0, -500.0, -5000.0])
def test_extreme_log_scales(name: str, s: float) -> None:
    """Large: the homogeneous part (gelu, silu -> relu; erf, tanh -> 0); small: phi'(0) x."""
    c = 0.4
    point = (1.3, c, 0.7)
    found = [at(name, order, point, s, s) for order in (0, 1)]
    if name in HOMOGENEOUS:
        expected = [at(name, order, point) for order in (0, 1)]
    elif s < 0:
        slope = float(find(name).derivative(jnp.zeros(())))
        expected = [slope**2 * c, slope**2]
    elif name in ("erf", "tanh"):
        expected = [0.0, 0.0]
    else:
        expected = [at("relu", order, point) for order in (0, 1)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_extreme_diagonal_is_exact() -> None:
    """gelu and erf at s = 5000 on the diagonal: rho stays exactly 1, V' is 1/2 and about 0."""
    q, s = jnp.asarray([0.37, 1.9]), jnp.asarray([5000.0, 90.0])

    @functools.partial(jax.jit, static_argnums=0)
    def diagonal(name: str, order: int = 1) -> Any:
        f = features(name, q, s)
        return jnp.diagonal(dual(name, order, f, jnp.diag(q), f))

    np.testing.assert_allclose(diagonal("gelu"), 0.5, rtol=1e-14)
    np.testing.assert_allclose(diagonal("erf"), 2 / np.pi / np.sqrt(np.asarray(q) * np.exp([200.0, 180.0])), rtol=1e-12)


@pytest.mark.parametrize("name", ["gelu", "tanh"])
@pytest.mark.parametrize("scaled", [False, True])
def test_broadcasting(name: str, scaled: bool) -> None:
    """Left [T], right [U, T'], cross [U, T, T'] is the loop over U; also through jit and vmap; result [U, T, T']."""
    rng = np.random.default_rng(1)
    qa, qb = jnp.asarray(rng.uniform(0.5, 2, 3)), jnp.asarray(rng.uniform(0.5, 2, (4, 2)))
    rho = jnp.asarray(rng.uniform(-1, 1, (4, 3, 2)))
    cross = rho * jnp.sqrt(qa[None, :, None] * qb[:, None, :])
    sa, sb = (jnp.asarray(rng.normal(size=q.shape)) if scaled else 0.0 for q in (qa, qb))
    fa, fb = features(name, qa, sa, degree=16), features(name, qb, sb, degree=16)
    for order in (0, 1):
        value = jax.jit(dual, static_argnums=(0, 1))(name, order, fa, cross, fb)
        assert value.shape == (4, 3, 2)
        mapped = jax.vmap(lambda c, f, order=order: dual(name, order, fa, c, f))(cross, fb)
        np.testing.assert_allclose(mapped, value, rtol=1e-13, atol=1e-15)
        one = dual(name, order, fa, cross[2], jax.tree.map(lambda leaf: leaf[2], fb))
        np.testing.assert_allclose(one, value[2], rtol=1e-13, atol=1e-15)
    assert dual(name, 1, fa, cross[2], jax.tree.map(lambda leaf: leaf[:1], fb)).shape == (1, 3, 2)


@functools.cache
def _law(name: str) -> Callable[..., np.ndarray]:
    """[V(a, c, b), V(b, c, a), V(a, a, a), V(b, b, b), V(a, c + d, b)], compiled once."""

    @jax.jit
    def values(qa: Any, c: Any, qb: Any, step: Any) -> Any:
        fa, fb = features(name, qa[None]), features(name, qb[None])
        pairs = [(fa, c, fb), (fb, c, fa), (fa, qa, fa), (fb, qb, fb), (fa, c + step, fb)]
        return jnp.stack([dual(name, 0, left, cross[None, None], right)[0, 0] for left, cross, right in pairs])

    return lambda *v: np.asarray(values(*(jnp.asarray(float(x)) for x in v)))


variances = st.floats(1e-3, 1e3)


@pytest.mark.parametrize("name", ["relu", "leaky-relu", "erf", "gelu", "tanh", "silu"])
@settings(max_examples=40, deadline=None)
@given(qa=variances, qb=variances, rho=st.floats(-1, 1), step=st.floats(0, 1))
def test_laws(name: str, qa: float, qb: float, rho: float, step: float) -> None:
    """Symmetric; Cauchy-Schwarz; V grows with c >= 0 (all), everywhere (monotone phi)."""
    norm = np.sqrt(qa * qb)
    with strict():
        v, mirrored, aa, bb, later = _law(name)(qa, rho * norm, qb, step * (1 - rho) * norm)
    rounding = 1e-13 * np.sqrt(aa * bb) + 1e-300
    assert abs(v - mirrored) <= rounding
    assert abs(v) <= np.sqrt(aa * bb) + rounding
    if name not in ("gelu", "silu"):
        assert later >= v - rounding
