"""What a step must know of an earlier one that shares its weights, beside their mutual Gram:
found once, kept by the scan."""

from __future__ import annotations

from typing import Any

from sigprop.language.activation import Activation
from sigprop.language.expression import Activate, Attend, Normalise, Vector
from sigprop.language.nodes import Experts, Sampled
from sigprop.language.traversal import walk
from sigprop.theory.calculus.rules import inner
from sigprop.theory.gaussian.dual import Features
from sigprop.theory.recursion.arrays import ArrayEnvironment


def _facts(branch: Vector) -> list[tuple[Any, Vector]]:
    """(activation, argument): its features; (norm, its argument): its variance; (Attend,
    query, key, or what a function without a rule is fed): its own Gram; ('kept', an attention
    node): which keys are seen; ('scores', one whose scores vanish with the width): what a unit adds
    to them; ('routed', a mixture of experts): what its router chose."""
    facts: dict[tuple[Any, Vector], None] = {}
    for node in walk(branch):
        match node:
            case Activate(activation, of):
                facts[activation, of] = None
            case Normalise(of):
                facts[node, of] = None
            case Attend(query, key):
                if node.scores.scale == "linear":
                    facts["scores", node] = None
                facts[Attend, query] = facts[Attend, key] = None
                if node.kept_by:
                    facts["kept", node] = None
            case Sampled(of=of):
                facts |= dict.fromkeys((Attend, each) for each in of)
            case Experts():
                facts["routed", node] = None
    return list(facts)


def _is_norm(kind: Any) -> bool:
    return isinstance(kind, Normalise)


def summarise(env: ArrayEnvironment, branch: Vector, i: str) -> tuple[Any, ...]:
    """The facts of a branch at one place."""

    def fact(kind: Any, of: Vector) -> Any:
        if kind == "kept":
            return env.kept(of, i)  # pyright: ignore[reportArgumentType]
        if kind == "scores":
            found = env.scores(of, i)  # pyright: ignore[reportArgumentType]
            return 0 * env.ones(i, i) if found is None else found
        if kind == "routed":
            return env.shares(of, i)  # pyright: ignore[reportArgumentType]
        if kind is Attend:
            return env.block(inner(of, i, of, i, env), i, i)
        return env.mean_square(kind, i) if _is_norm(kind) else env.features(kind, of, i)

    return tuple(fact(kind, of) for kind, of in _facts(branch))


def arguments(summary: Any) -> tuple[tuple[tuple[Any, Any], ...], ...]:
    """(variance, log) of every activation's argument, by kind of sub-block, in ``activations``'
    order."""
    return tuple(
        tuple((fact.variance, fact.log) for fact in facts if isinstance(fact, Features))
        for facts in summary
    )


def activations(branch: Vector) -> list[Activation]:
    """The activations of a branch, one for each argument."""
    return [kind for kind, _ in _facts(branch) if isinstance(kind, Activation)]


def recall(env: ArrayEnvironment, branch: Vector, summary: Any, i: str) -> None:
    """Give the environment what ``summarise`` found at that place."""
    for (kind, of), fact in zip(_facts(branch), summary, strict=True):
        if _is_norm(kind):
            env.values[None, of, i] = fact
        elif kind is Attend:
            # [B, T, T]; a step's own comes without B
            env.memo[of, i, of, i] = fact if fact.ndim == 3 else fact[None]
        else:
            env.values[kind, of, i] = fact
