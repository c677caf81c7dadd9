"""A prescription as what trains: parameter groups of torch, a gradient transformation of optax.
Parameters are found by glob patterns over their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sigprop.errors import InputError, near_miss
from sigprop.prescriptions.prescription import Prescription

if TYPE_CHECKING:
    import optax

Patterns = Mapping[str, str | Iterable[str]]
EPSILON = 1e-8
"""Adam's epsilon in the base where the prescription was not given one: what torch and optax
start from."""


def matched(
    names: Iterable[str],
    prescription: Prescription,
    patterns: Patterns,
    left_out: Iterable[str] = (),
) -> dict[str, str]:
    """{parameter name: group}; ``left_out``: names that may match and need not.

    Raises ``InputError``: a parameter that no pattern matches, or those of two groups; a pattern
    that matches nothing; a group without a rate.
    """
    known = [row["group"] for row in prescription if row["setting"] == "learning_rate"]
    globs = {
        group: [given] if isinstance(given, str) else list(given)
        for group, given in patterns.items()
    }
    for group in globs:
        if group not in known:
            raise InputError(f"patterns: group {group!r}{near_miss(group, known)}")
    names, others = list(names), list(left_out)
    for group, pattern in ((group, pattern) for group, some in globs.items() for pattern in some):
        if not any(fnmatchcase(name, pattern) for name in (*names, *others)):
            raise InputError(
                f"patterns: {pattern!r} of {group} matches no parameter; accepted: globs over "
                f"names such as {(names or others or ['none'])[0]!r}"
            )
    found = {}
    for name in names:
        groups = [
            group
            for group, some in globs.items()
            if any(fnmatchcase(name, pattern) for pattern in some)
        ]
        if len(groups) != 1:
            which = (
                f"is matched by {' and '.join(groups)}" if groups else "is matched by no pattern"
            )
            raise InputError(
                f"patterns: parameter {name!r} {which}; accepted: exactly one group for each "
                f"parameter"
            )
        found[name] = groups[0]
    return found


def settings(prescription: Prescription, group: str) -> dict[str, float]:
    """learning_rate, weight_decay (0 where the base had none) and, for Adam, epsilon of a group;
    raises ``InputError`` without a base rate."""
    rate = prescription.row(group, "learning_rate")
    if rate["base"] is None:
        raise InputError(
            f"learning_rate of {group}: the prescription holds ratios alone; accepted: one made "
            f"with the base's learning_rate"
        )
    decay = prescription.row(group, "weight_decay")
    found = {
        "learning_rate": rate["value"],
        "weight_decay": 0.0 if decay["base"] is None else decay["value"],
    }
    if prescription.optimizer == "sgd":
        return found
    epsilon = prescription.row(group, "epsilon")
    return found | {
        "epsilon": EPSILON * epsilon["ratio"] if epsilon["base"] is None else epsilon["value"]
    }


def torch_param_groups(
    model: Any, prescription: Prescription, patterns: Patterns
) -> list[dict[str, Any]]:
    """Parameter groups {params, lr, weight_decay, eps (not for sgd), name}, for torch.optim.AdamW,
    Adam or SGD as prescribed.

    model: a torch.nn.Module, its ``named_parameters()``, of which those that need no gradient are
    left out patterns: {group: glob, or a list of them}, such as {"q": "*.attn.q.weight", "bias":
    ["*.bias"]}; ``*`` also stands for dots

    Initial stds and multipliers are the model's own business: ``prescription.value(group,
    "init_std")``. Raises ``InputError`` (``matched``, ``settings``);
    tests/prescriptions/test_prescribed_objects.py trains a step.
    """
    try:
        importlib.import_module("torch")
    except ImportError:
        raise InputError(
            "torch is not installed; accepted: after pip install sigprop[torch]"
        ) from None
    named = dict(model.named_parameters())
    trained = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    labels = matched(trained, prescription, patterns, named.keys() - trained.keys())
    found = []
    for group in dict.fromkeys(labels.values()):
        numbers = settings(prescription, group)
        entry = {
            "params": [trained[name] for name, label in labels.items() if label == group],
            "name": group,
        }
        entry |= {"lr": numbers["learning_rate"], "weight_decay": numbers["weight_decay"]} | (
            {"eps": numbers["epsilon"]} if "epsilon" in numbers else {}
        )
        found.append(entry)
    return found


def optax_transform(
    params: Any,
    prescription: Prescription,
    patterns: Patterns,
    *,
    schedule: Callable[[Any], Any] | None = None,
    momentum: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
) -> optax.GradientTransformation:
    """The prescribed optimizer for this tree of parameters, each group with its rate, decay and
    epsilon.

    params: a pytree; a parameter's name is its path with ``/``, such as ``blocks/0/attn/q``
    patterns: as in ``torch_param_groups``
    schedule: step -> factor of every rate; momentum: of sgd; b1, b2: of adam and adamw

    Raises ``InputError`` (``matched``, ``settings``);
    tests/prescriptions/test_prescribed_objects.py: one step of Adam moves every entry by its
    group's rate.
    """
    try:
        import optax
    except ImportError:
        raise InputError(
            "optax is not installed; accepted: after pip install sigprop[optax]"
        ) from None
    from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

    leaves, structure = tree_flatten_with_path(params)
    names = [keystr(path, simple=True, separator="/") for path, _ in leaves]
    labels = matched(names, prescription, patterns)

    def one(
        learning_rate: float, weight_decay: float, epsilon: float = EPSILON
    ) -> optax.GradientTransformation:
        factor = schedule
        rate: Any = learning_rate if factor is None else lambda step: learning_rate * factor(step)
        if prescription.optimizer == "adamw":
            return optax.adamw(rate, b1, b2, epsilon, weight_decay=weight_decay)
        inner = (
            optax.sgd(rate, momentum)
            if prescription.optimizer == "sgd"
            else optax.adam(rate, b1, b2, epsilon)
        )
        return optax.chain(optax.add_decayed_weights(weight_decay), inner)

    transforms: dict[Any, optax.GradientTransformation] = {
        group: one(**settings(prescription, group)) for group in dict.fromkeys(labels.values())
    }
    return optax.partition(transforms, tree_unflatten(structure, [labels[name] for name in names]))
