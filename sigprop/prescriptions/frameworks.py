"""A prescription as what trains: parameter groups of torch, a gradient transformation of optax.
Parameters are found by glob patterns over their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

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
    """Return {parameter name: group}; ``left_out``: names that may match and need not.

    Raises ``InputError``: a parameter that no pattern matches, or those of two groups; a pattern
    that matches nothing; a group without a rate.
    """
    globs = {
        group: [given] if isinstance(given, str) else list(given)
        for group, given in patterns.items()
    }
    trained, others = list(names), list(left_out)
    _check_globs(globs, prescription, [*trained, *others])
    return {name: _group_of(name, globs) for name in trained}


def _check_globs(
    globs: Mapping[str, list[str]], prescription: Prescription, names: list[str]
) -> None:
    """Raise ``InputError`` for a group that is not prescribed for, or a pattern of nothing."""
    groups = [row["group"] for row in prescription if row["setting"] == "learning_rate"]
    for group in globs:
        if group not in groups:
            raise InputError(f"patterns: group {group!r}{near_miss(group, groups)}")
    for group, pattern in ((group, pattern) for group, some in globs.items() for pattern in some):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"patterns: {pattern!r} of {group} matches no parameter; accepted: globs over "
                f"names such as {(names or ['none'])[0]!r}"
            )


def _group_of(name: str, globs: Mapping[str, list[str]]) -> str:
    """Return a parameter's group; raises ``InputError`` where it has none, or two."""
    groups = [
        group
        for group, some in globs.items()
        if any(fnmatchcase(name, pattern) for pattern in some)
    ]
    if len(groups) != 1:
        which = f"is matched by {' and '.join(groups)}" if groups else "is matched by no pattern"
        raise InputError(
            f"patterns: parameter {name!r} {which}; accepted: exactly one group for each parameter"
        )
    return groups[0]


def settings(prescription: Prescription, group: str) -> dict[str, float]:
    """Return learning_rate, weight_decay (0 where the base had none) and, for Adam, epsilon of a
    group; raises ``InputError`` without a base rate."""
    rate = prescription.row(group, "learning_rate")
    if rate["base"] is None:
        raise InputError(
            f"learning_rate of {group}: the prescription holds ratios alone; accepted: one made "
            f"with the base's learning_rate"
        )
    decay = prescription.row(group, "weight_decay")
    numbers = {
        "learning_rate": rate["value"],
        "weight_decay": 0.0 if decay["base"] is None else decay["value"],
    }
    if prescription.optimizer == "sgd":
        return numbers
    epsilon = prescription.row(group, "epsilon")
    return numbers | {
        "epsilon": EPSILON * epsilon["ratio"] if epsilon["base"] is None else epsilon["value"]
    }


def torch_param_groups(
    model: Any, prescription: Prescription, patterns: Patterns
) -> list[dict[str, Any]]:
    """Return parameter groups {params, lr, weight_decay, eps (not for sgd), name}, for
    torch.optim.AdamW, Adam or SGD as prescribed.

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
    param_groups = []
    for group in dict.fromkeys(labels.values()):
        numbers = settings(prescription, group)
        entry = {
            "params": [trained[name] for name, label in labels.items() if label == group],
            "name": group,
        }
        entry |= {"lr": numbers["learning_rate"], "weight_decay": numbers["weight_decay"]} | (
            {"eps": numbers["epsilon"]} if "epsilon" in numbers else {}
        )
        param_groups.append(entry)
    return param_groups


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
    """Return the prescribed optimizer for this tree of parameters, each group with its rate, decay
    and epsilon.

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
    shared = _Shared(prescription.optimizer, schedule, momentum, b1, b2)
    transforms: dict[Any, optax.GradientTransformation] = {
        group: shared.transform(**settings(prescription, group))
        for group in dict.fromkeys(labels.values())
    }
    return optax.partition(transforms, tree_unflatten(structure, [labels[name] for name in names]))


class _Shared(NamedTuple):
    """Hold what all groups have of an optax optimizer."""

    optimizer: str
    schedule: Callable[[Any], Any] | None
    momentum: float | None
    b1: float
    b2: float

    def rate(self, learning_rate: float) -> Any:
        """Return a group's rate, as it is or times the schedule."""
        factor = self.schedule
        return learning_rate if factor is None else lambda step: learning_rate * factor(step)

    def transform(
        self, learning_rate: float, weight_decay: float, epsilon: float = EPSILON
    ) -> optax.GradientTransformation:
        """Return a group's transformation."""
        import optax

        rate = self.rate(learning_rate)
        if self.optimizer == "adamw":
            return optax.adamw(rate, self.b1, self.b2, epsilon, weight_decay=weight_decay)
        inner = (
            optax.sgd(rate, self.momentum)
            if self.optimizer == "sgd"
            else optax.adam(rate, self.b1, self.b2, epsilon)
        )
        return optax.chain(optax.add_decayed_weights(weight_decay), inner)
