"""Log scales: the factor per token that the mantissas of a vector expression leave out, so that
no growth overflows."""

from __future__ import annotations

from typing import Any

from sigprop.language.expression import (
    Activate,
    Attend,
    Dropout,
    Linear,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Experts, Gate, Mix, Truncate
from sigprop.theory.calculus.algebra import exp
from sigprop.theory.calculus.environment import Environment
from sigprop.theory.calculus.transpose import AttendTransposed, Cotangent, Divide, Transposed


def log_scale(u: Vector, i: str, env: Environment) -> Any:
    """The natural log of the factor that mantissas of u_i leave out, per token; 0 on symbols."""
    match u:
        case Read() | Cotangent():
            return env.log(u, i)
        case (
            Linear()
            | Transposed()
            | Scale()
            | Gate()
            | Rescale()
            | Dropout()
            | Truncate()
            | Experts()
        ):
            return log_scale(u.of, i, env)
        case Activate(order=order):
            return log_scale(u.of, i, env) if order == 0 else 0 * env.log(Read(), i)
        case Product(left, right):
            return log_scale(left, i, env) + log_scale(right, i, env)
        case Divide():
            return log_scale(u.of, i, env) - log_scale(u.by.of, i, env)
        case Sum(terms):
            return env.maximum([log_scale(t, i, env) for t in terms])
        case Mix(of=of):
            return env.widest(log_scale(of, i, env))
        case Attend(value=value):
            return env.widest(log_scale(value, i, env))
        case AttendTransposed(node, of, leg):
            return _leg_log(node, leg, log_scale(of, i, env), i, env)
    return 0 * env.log(Read(), i)  # Normalise, Bias: of order one


def _leg_log(node: Attend, leg: str, log: Any, i: str, env: Environment) -> Any:
    """Of attention's cotangent at a leg: tokens are mixed on the largest scale among them."""

    def of(u):
        return env.widest(log_scale(u, i, env))

    if leg == "value":
        return env.widest(log)
    if leg == "bias":
        return of(node.value) + log
    other = node.key if leg == "query" else node.query
    # of the normalised vector, over its own norm
    scale = -of(node.query if leg == "query" else node.key) if node.scores.qk_norm else of(other)
    return of(node.value) + (log if leg == "query" else env.widest(log)) + scale


def shift(term: Vector, whole: Vector, i: str, env: Environment) -> Any:
    """exp(log of the term - log of the sum): 1 on symbols."""
    return exp(log_scale(term, i, env) - log_scale(whole, i, env))
