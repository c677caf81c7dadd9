"""Inner products of vector expressions, in the limit of infinite width (docs/theory.md).

``inner(u, i, v, j, env)`` is <u_i, v_j>, u at place i and v at place j (two applications of one sub-block, or twice
the same). Bilinearity is built in; every other rule is an entry of ``RULES`` keyed by the two node types. A pair
without a rule is zero only where rule 2 *proves* it (``independent``); otherwise ``NoRule`` is raised.

The same rules run on sympy symbols and on arrays, where a block carries the token axes [..., T, T'] last.
Array values are mantissas: the true inner product is exp(log_i[t] + log_j[s]) times the value, log = ``log_scale``,
so that no growth of the state overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sigprop.errors import NoRule
from sigprop.expression import Activate, Bias, Dropout, Linear, Normalise, Product, Read, Rescale, Scale, Sum, Vector
from sigprop.mixing import Mix
from sigprop.theory.algebra import minimum, root_mean_square
from sigprop.theory.environment import Environment
from sigprop.theory.independence import independent, roots
from sigprop.theory.log_scale import log_scale, shift
from sigprop.theory.transpose import Cotangent, Divide, Transposed
from sigprop.truncation import Truncate

Rule = Callable[[Any, str, Any, str, Environment], Any]
RULES: dict[tuple[type, type], Rule] = {}


def inner(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """<u_i, v_j> as a block of ``env``'s algebra; raises ``NoRule`` with the two expressions where no rule applies."""
    key = (u, i, v, j)
    if key not in env.memo:
        env.memo[key] = _expand(u, i, v, j, env)
    return env.memo[key]


def _expand(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    if isinstance(u, Scale):
        return env.number(u.factor, i) * inner(u.of, i, v, j, env)
    if isinstance(v, Scale):
        return env.number(v.factor, j) * inner(u, i, v.of, j, env)
    if isinstance(u, Rescale):
        return env.left(env.table(u.factor, i)) * inner(u.of, i, v, j, env)
    if isinstance(v, Rescale):
        return env.right(env.table(v.factor, j)) * inner(u, i, v.of, j, env)
    if isinstance(u, Truncate) and isinstance(v, Truncate):
        return minimum(env.number(u.fraction, i), env.number(v.fraction, j)) * inner(u.of, i, v.of, j, env)
    if isinstance(u, Truncate):
        return env.number(u.fraction, i) * inner(u.of, i, v, j, env)
    if isinstance(v, Truncate):
        return env.number(v.fraction, j) * inner(u, i, v.of, j, env)
    if isinstance(u, Mix):
        return mixed(lambda e: inner(u.of, i, v, j, e), env.matrix(u.table, i, u.turned), u.of, u, i, "left", env)
    if isinstance(v, Mix):
        return mixed(lambda e: inner(u, i, v.of, j, e), env.matrix(v.table, j, v.turned), v.of, v, j, "right", env)
    if isinstance(u, Sum):
        return _total(inner(t, i, v, j, env) * env.left(shift(t, u, i, env)) for t in u.terms)
    if isinstance(v, Sum):
        return _total(inner(u, i, t, j, env) * env.right(shift(t, v, j, env)) for t in v.terms)
    rule = RULES.get((type(u), type(v)))
    if rule is not None:
        return rule(u, i, v, j, env)
    if independent(u, v):
        return 0
    raise NoRule(f"no rule for the inner product of {u!r} and {v!r}")


def mixed(value: Callable[[Environment], Any], matrix: Any, part: Vector, whole: Vector, place: str, side: str, env: Environment) -> Any:
    """<whole, y> (or <y, whole>, side 'right') from value = <part, y>, whole_t = sum_s matrix_ts part_s, all tokens on the whole's one scale."""
    if isinstance(found := value(env), int):
        return found  # proved zero
    even = env.left if side == "left" else env.right
    return env.mix(matrix, lambda e: value(e) * even(shift(part, whole, place, env)), side)


def _total(values: Any) -> Any:
    total: Any = 0
    for value in values:
        total = value if isinstance(total, int) else total if isinstance(value, int) else total + value
    return total


def variance(u: Vector, i: str, env: Environment) -> Any:
    """<u_i[t], u_i[t]> per token (mantissa)."""
    return env.diagonal(inner(u, i, u, i, env))


def rule(left: type, right: type) -> Callable[[Rule], Rule]:
    """Decorator: the inner product of a ``left`` node with a ``right`` node."""

    def add(function: Rule) -> Rule:
        RULES[left, right] = function
        return function

    return add


@rule(Read, Read)
def _read(u: Read, i: str, v: Read, j: str, env: Environment) -> Any:
    return env.read(i, j)


@rule(Cotangent, Cotangent)
def _cotangent(u: Cotangent, i: str, v: Cotangent, j: str, env: Environment) -> Any:
    return env.cotangent(i, j)


@rule(Linear, Linear)
def _linear(u: Linear, i: str, v: Linear, j: str, env: Environment) -> Any:
    """<W x, W' y> = C_W <x, y> if W is W', else 0."""
    if u.weight != v.weight:
        return 0
    return env.number(u.variance, i) * env.tied(u.weight, i, j) * inner(u.of, i, v.of, j, env)


@rule(Bias, Bias)
def _bias(u: Bias, i: str, v: Bias, j: str, env: Environment) -> Any:
    """<b, b'> = C_b if b is b', else 0, the same for all tokens."""
    if u.weight != v.weight:
        return 0
    return env.number(u.variance, i) * env.tied(u.weight, i, j) * env.ones(i, j)


@rule(Transposed, Transposed)
def _transposed(u: Transposed, i: str, v: Transposed, j: str, env: Environment) -> Any:
    """<W^T g, W'^T g'> = C_W (n_out / n_in) <g, g'> if W is W', else 0."""
    if u.weight != v.weight:
        return 0
    return env.number(u.variance * u.ratio, i) * env.tied(u.weight, i, j) * inner(u.of, i, v.of, j, env)


@rule(Activate, Activate)
def _activate(u: Activate, i: str, v: Activate, j: str, env: Environment) -> Any:
    """<phi(x), phi(y)> = V_phi(<x, x>, <x, y>, <y, y>), likewise V_phi' for the derivatives."""
    if (u.activation, u.order) != (v.activation, v.order):
        raise NoRule(f"no rule for the inner product of {u!r} and {v!r}")
    cross = inner(u.of, i, v.of, j, env)
    left, right = env.features(u.activation, u.of, i), env.features(v.activation, v.of, j)
    return env.dual(u.activation, u.order, left, env.block(cross, i, j), right, env.gap(u.of, i, v.of, j))


@rule(Product, Product)
def _product(u: Product, i: str, v: Product, j: str, env: Environment) -> Any:
    """<x * y, x' * y'> = <x, x'> <y, y'> for independent factors."""
    if roots(u.left) & (roots(u.right) | roots(v.right)) or roots(v.left) & roots(v.right):
        raise NoRule(f"the factors of {u!r} and {v!r} share a matrix: no rule for their product")
    return inner(u.left, i, v.left, j, env) * inner(u.right, i, v.right, j, env)


@rule(Dropout, Dropout)
def _dropout(u: Dropout, i: str, v: Dropout, j: str, env: Environment) -> Any:
    """<m x, m' y>/(1 - p)^2 = <x, y> (1 + p/(1 - p) 1{one mask}): E m^2 = 1 - p; masks of two tokens or applications are independent."""
    if u.name != v.name:
        raise NoRule(f"no rule for the inner product of {u!r} and {v!r}")
    rate = env.number(u.rate, i)
    return inner(u.of, i, v.of, j, env) * (1 + rate / (1 - rate) * env.same(i, j))


def _norm(u: Normalise, i: str, env: Environment) -> Any:
    """sqrt(<x, x> + epsilon) per token; the mean that LayerNorm subtracts vanishes with the width."""
    return root_mean_square(env.variance(u.of, i), env.per_token(u.epsilon, i), log_scale(u.of, i, env))


@rule(Normalise, Normalise)
def _normalise(u: Normalise, i: str, v: Normalise, j: str, env: Environment) -> Any:
    return inner(u.of, i, v.of, j, env) / (env.left(_norm(u, i, env)) * env.right(_norm(v, j, env)))


@rule(Divide, Divide)
def _divide(u: Divide, i: str, v: Divide, j: str, env: Environment) -> Any:
    return inner(u.of, i, v.of, j, env) / (env.left(_norm(u.by, i, env)) * env.right(_norm(v.by, j, env)))
