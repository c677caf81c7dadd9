"""Inner products of vector expressions, in the limit of infinite width (docs/theory.md).

``inner(u, i, v, j, env)`` is <u_i, v_j>, u at place i and v at place j (two applications of one
sub-block, or twice the same). Bilinearity is built in; every other rule is an entry of ``RULES``
keyed by the two node types. A pair without a rule is zero only where rule 2 *proves* it
(``independent``); otherwise ``NoRule`` is raised.

Each rule states what it needs, asks whether that holds, and refuses where it does not
(tests/theory/calculus/test_rules_apply.py tries every nesting of two nodes against networks).

The same rules run on sympy symbols and on arrays, where a block carries the token axes [..., T, T']
last. Array values are mantissas: the true inner product is exp(log_i[t] + log_j[s]) times the
value, log = ``log_scale``, so that no growth of the state overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sigprop.errors import NoRule, no_rule
from sigprop.language.expression import (
    Activate,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Experts, Gate, Mix, Ones, Sampled, Truncate
from sigprop.theory.calculus.algebra import minimum, root_mean_square
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.independence import (
    ends_in_matrix,
    independent,
    masks,
    not_alike,
    not_centred,
    not_gaussian,
    roots,
)
from sigprop.theory.calculus.log_scale import log_scale, shift
from sigprop.theory.calculus.transpose import Cotangent, Divide, Transposed

Rule = Callable[[Any, str, Any, str, Environment], Any]
RULES: dict[tuple[type, type], Rule] = {}


def inner(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """<u_i, v_j> as a block of ``env``'s algebra; raises ``NoRule`` with the node and the reason
    where no rule applies."""
    key = (u, i, v, j)
    if key not in env.memo:
        env.memo[key] = _expand(u, i, v, j, env)
    return env.memo[key]


def _expand(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """Expand by bilinearity: factors, mixtures and sums on both sides first, then truncation,
    then the rules."""
    expanded = _factor(u, i, v, j, env)
    if expanded is None:
        expanded = _mixture(u, i, v, j, env)
    if expanded is not None:
        return expanded
    if isinstance(u, Sum):
        return _total(inner(t, i, v, j, env) * env.left(shift(t, u, i, env)) for t in u.terms)
    if isinstance(v, Sum):
        return _total(inner(u, i, t, j, env) * env.right(shift(t, v, j, env)) for t in v.terms)
    if isinstance(u, Truncate) or isinstance(v, Truncate):
        return _truncated(u, i, v, j, env)
    rule = RULES.get((type(u), type(v)))
    if rule is not None:
        return rule(u, i, v, j, env)
    if independent(u, v):
        return 0
    raise unknown(u, v)


def _factor(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """Take out a number, of all tokens or of each; None where there is none in front."""
    if isinstance(u, (Scale, Gate)):
        return env.number(u.factor, i) * inner(u.of, i, v, j, env)
    if isinstance(v, (Scale, Gate)):
        return env.number(v.factor, j) * inner(u, i, v.of, j, env)
    if isinstance(u, Rescale):
        return env.left(env.table(u.factor, i)) * inner(u.of, i, v, j, env)
    if isinstance(v, Rescale):
        return env.right(env.table(v.factor, j)) * inner(u, i, v.of, j, env)
    return None


def _mixture(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """Take out a matrix over tokens; None where there is none in front."""
    if isinstance(u, Mix):
        matrix = env.matrix(u.table, i, u.turned)
        return mixed(lambda e: inner(u.of, i, v, j, e), matrix, u.of, u, i, "left", env)
    if isinstance(v, Mix):
        matrix = env.matrix(v.table, j, v.turned)
        return mixed(lambda e: inner(u, i, v.of, j, e), matrix, v.of, v, j, "right", env)
    return None


def _truncated(u: Vector, i: str, v: Vector, j: str, env: Environment) -> Any:
    """<first share of x, y> = share <x, y>, of two shares the smaller. Needs coordinates that
    are all alike but for this: no other truncation inside, the same runs on both sides (and no
    bands: ``validation``)."""
    cuts = [w for w in (u, v) if isinstance(w, Truncate)]
    x, y = (w.of if isinstance(w, Truncate) else w for w in (u, v))
    for side in (x, y):
        if (part := not_alike(side)) is not None:
            raise no_rule(
                u, f"coordinates of {part} need not be alike", "a matrix after it, then truncation"
            )
    if Truncate in masks(x) | masks(y) or len({cut.parts for cut in cuts}) > 1:
        raise no_rule(
            u,
            f"its coordinates and those of {v} are truncated twice",
            "one truncation, of equal runs on both sides",
        )
    shares = [
        env.share(w.fraction, place) for w, place in ((u, i), (v, j)) if isinstance(w, Truncate)
    ]
    return (minimum(*shares) if len(shares) == 2 else shares[0]) * inner(x, i, y, j, env)


def unknown(u: Vector, v: Vector) -> NoRule:
    """Return the refusal of an inner product that no rule is about."""
    text = (
        "no rule for its inner product with itself"
        if u == v
        else f"no rule for its inner product with {v}"
    )
    return no_rule(u, text, "vectors that come from matrices of their own")


def mixed(
    value: Callable[[Environment], Any],
    matrix: Any,
    part: Vector,
    whole: Vector,
    place: str,
    side: str,
    env: Environment,
) -> Any:
    """<whole, y> (or <y, whole>, side 'right') from value = <part, y>, whole_t = sum_s matrix_ts
    part_s, all tokens on the whole's one scale."""
    if isinstance(proved := value(env), int):
        return proved  # zero
    even = env.left if side == "left" else env.right
    return env.mix(matrix, lambda e: value(e) * even(shift(part, whole, place, env)), side)


def _total(values: Any) -> Any:
    """Add terms, those apart that are proved zero."""
    total: Any = 0
    for value in values:
        total = (
            value if isinstance(total, int) else total if isinstance(value, int) else total + value
        )
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
    return env.read(u, i, v, j)


@rule(Cotangent, Cotangent)
def _cotangent(u: Cotangent, i: str, v: Cotangent, j: str, env: Environment) -> Any:
    return env.cotangent(i, j)


@rule(Linear, Linear)
def _linear(u: Linear, i: str, v: Linear, j: str, env: Environment) -> Any:
    """<W x, W' y> = C_W <x, y> if W is W', else 0. Needs nothing of x and y: W has zero mean,
    whatever they are."""
    if u.weight != v.weight:
        return 0
    seen = env.averaged(u.weight, u.of, i, j, inner(u.of, i, v.of, j, env))
    return env.number(u.variance, i) * env.tied(u.weight, i, j) * seen


@rule(Bias, Bias)
def _bias(u: Bias, i: str, v: Bias, j: str, env: Environment) -> Any:
    """<b, b'> = C_b if b is b', else 0, the same for all tokens. Needs nothing else."""
    if u.weight != v.weight:
        return 0
    return env.number(u.variance, i) * env.tied(u.weight, i, j) * env.ones(i, j)


@rule(Ones, Ones)
def _ones(u: Ones, i: str, v: Ones, j: str, env: Environment) -> Any:
    """<1, 1> = 1."""
    return env.ones(i, j)


@rule(Ones, Read)
def _ones_read(u: Ones, i: str, v: Read, j: str, env: Environment) -> Any:
    """<1, r> = 0: stems and writes have no mean over coordinates (``check_writes``)."""
    return 0


@rule(Read, Ones)
def _read_ones(u: Read, i: str, v: Ones, j: str, env: Environment) -> Any:
    return 0


@rule(Transposed, Transposed)
def _transposed(u: Transposed, i: str, v: Transposed, j: str, env: Environment) -> Any:
    """<W^T g, W'^T g'> = C_W (n_out / n_in) <g, g'> if W is W', else 0. Needs nothing of g and
    g'."""
    if u.weight != v.weight:
        return 0
    seen = env.averaged(u.weight, u.of, i, j, inner(u.of, i, v.of, j, env))
    return env.number(u.variance * u.ratio, i) * env.tied(u.weight, i, j) * seen


@rule(Activate, Activate)
def _activate(u: Activate, i: str, v: Activate, j: str, env: Environment) -> Any:
    """<phi(x), phi(y)> = V_phi(<x, x>, <x, y>, <y, y>), likewise V_phi' for the derivatives.

    Needs x and y jointly Gaussian and zero-mean: what is made of matrices' outputs by numbers,
    norms and sums.
    """
    for whole in (u, v):
        if (part := not_gaussian(whole.of)) is not None:
            raise no_rule(
                whole,
                f"{part} is not Gaussian",
                f"{whole.activation.name} of a matrix's output (a matrix before it, or the node "
                f"after it)",
            )
    if (u.activation, u.order) != (v.activation, v.order):
        raise unknown(u, v)
    cross = inner(u.of, i, v.of, j, env)
    left, right = env.features(u.activation, u.of, i), env.features(v.activation, v.of, j)
    return env.dual(
        u.activation, u.order, left, env.block(cross, i, j), right, env.gap(u.of, i, v.of, j)
    )


@rule(Product, Product)
def _product(u: Product, i: str, v: Product, j: str, env: Environment) -> Any:
    """<x * y, x' * y'> = <x, x'> <y, y'>.

    Needs (x, x') independent of (y, y'): no matrix in common, nor coordinates that are set to zero
    on both sides.
    """
    for left, right in ((u.left, u.right), (u.left, v.right), (v.left, v.right), (v.left, u.right)):
        if roots(left) & roots(right):
            raise no_rule(
                u, f"{left} and {right} share a matrix", "factors of matrices of their own"
            )
        if masks(left) and masks(right) and (masks(left) & masks(right)):
            raise no_rule(
                u,
                f"{left} and {right} are zero at the same coordinates",
                "the product first, dropout or truncation of it",
            )
    for side in (u.left, u.right):
        if (part := not_alike(side)) is not None:
            raise no_rule(
                u, f"coordinates of {part} need not be alike", "the product within its function"
            )
    return inner(u.left, i, v.left, j, env) * inner(u.right, i, v.right, j, env)


@rule(Dropout, Dropout)
def _dropout(u: Dropout, i: str, v: Dropout, j: str, env: Environment) -> Any:
    """<m x, m' y>/(1 - p)^2 = <x, y> (1 + p/(1 - p) 1{one mask}): E m^2 = 1 - p; masks of two
    names, tokens or applications are independent.

    Needs x and y independent of the masks: every mask has a name of its own (``validation``).
    """
    cross = inner(u.of, i, v.of, j, env)
    if u.name != v.name:
        return cross
    rate = env.number(u.rate, i)
    return cross * (1 + rate / (1 - rate) * env.same(i, j))


@rule(Experts, Experts)
def _experts(u: Experts, i: str, v: Experts, j: str, env: Environment) -> Any:
    """<sum_e p_e f_e, sum_e p'_e f'_e> = (sum_e p_e p'_e) <f, f'> of one expert, given the routers'
    scores.

    Needs experts that do not overlap with each other: each ends in a zero-mean matrix or bias of
    its own.
    """
    if u != v:
        raise unknown(u, v)
    if not ends_in_matrix(u.of):
        raise no_rule(
            u,
            f"{u.of} does not end in a zero-mean matrix, so experts overlap with each other",
            "experts whose last step is a matrix",
        )
    return env.routed(u, i, j) * inner(u.of, i, v.of, j, env)


@rule(Sampled, Sampled)
def _sampled(u: Sampled, i: str, v: Sampled, j: str, env: Environment) -> Any:
    """<f(x), f(y)>, measured. Needs x and y jointly Gaussian and zero-mean."""
    if u != v:
        raise unknown(u, v)
    return env.sampled(u, i, j)


def norm(u: Normalise, i: str, env: Environment) -> Any:
    """Return sqrt(<x, x> + epsilon) per token. LayerNorm's mean must vanish with the width: it
    needs x zero-mean over coordinates."""
    if u.kind == "layer" and (part := not_centred(u.of)) is not None:
        raise no_rule(
            u,
            f"the mean of {part} over coordinates does not vanish",
            "kind='rms', or the norm of a matrix's output",
        )
    return root_mean_square(
        env.mean_square(u, i), env.per_token(u.epsilon, i), log_scale(u.of, i, env)
    )


@rule(Normalise, Normalise)
def _normalise(u: Normalise, i: str, v: Normalise, j: str, env: Environment) -> Any:
    """<x/|x|, y/|y|> = <x, y>/(|x| |y|), |x| = ``norm``. Needs norms that do not fluctuate:
    means over many coordinates."""
    return inner(u.of, i, v.of, j, env) / (env.left(norm(u, i, env)) * env.right(norm(v, j, env)))


@rule(Divide, Divide)
def _divide(u: Divide, i: str, v: Divide, j: str, env: Environment) -> Any:
    """As ``_normalise``; what else a norm's Jacobian has is a multiple of <d, x>. Needs d
    zero-mean through a matrix that x does not know."""
    return inner(u.of, i, v.of, j, env) / (
        env.left(norm(u.by, i, env)) * env.right(norm(v.by, j, env))
    )
