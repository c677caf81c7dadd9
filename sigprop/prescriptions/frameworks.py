"""A prescription as what trains: parameter groups of torch, a gradient transformation of optax.
Parameters are found by glob patterns over their names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from sigprop.errors import InputError, near_miss
from sigprop.prescriptions import muon
from sigprop.prescriptions.prescription import Prescription
from sigprop.runtime.optax import Labels, named_leaves

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


def settings(prescription: Prescription, group: str, library: str = "") -> dict[str, float]:
    """Return learning_rate, weight_decay (0 where the base had none) and, for Adam and Muon,
    epsilon of a group (library: whose Muon); raises ``InputError`` without a base rate."""
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
    start = muon.EPSILONS[library] if group in prescription.muon else EPSILON
    return numbers | {
        "epsilon": start * epsilon["ratio"] if epsilon["base"] is None else epsilon["value"]
    }


def torch_param_groups(
    model: Any, prescription: Prescription, patterns: Patterns
) -> list[dict[str, Any]]:
    """Return parameter groups {params, lr, weight_decay, eps (not for sgd), name}, for
    torch.optim.AdamW, Adam or SGD as prescribed; of muon each with ``use_muon``, those of Muon with
    its ``adjust_lr_fn`` (``torch_optimizers`` makes the two optimizers).

    model: a torch.nn.Module, its ``named_parameters()``, of which those that need no gradient are
    left out; patterns: {group: glob, or a list of them}, such as {"q": "*.attn.q.weight", "bias":
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
        numbers = settings(prescription, group, "torch")
        parameters = {name: trained[name] for name, label in labels.items() if label == group}
        if group in prescription.muon:
            param_groups += muon.torch_entries(parameters, numbers, group, prescription)
            continue
        entry: dict[str, Any] = {"params": list(parameters.values()), "name": group}
        entry |= {"lr": numbers["learning_rate"], "weight_decay": numbers["weight_decay"]} | (
            {"eps": numbers["epsilon"]} if "epsilon" in numbers else {}
        )
        param_groups.append(entry | ({"use_muon": False} if prescription.muon else {}))
    return param_groups


def torch_optimizers(
    model: Any,
    prescription: Prescription,
    patterns: Patterns,
    *,
    momentum: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
) -> list[Any]:
    """Return the prescribed optimizers, every one to be stepped: [torch.optim.Muon,
    torch.optim.AdamW] for muon (one that would train nothing is left out), else the one.

    model, patterns: as in ``torch_param_groups``; momentum: of muon (None: 0.95) and sgd (None: 0);
    betas: of adam and adamw. Raises ``InputError`` (``torch_param_groups``, or a torch without
    Muon); tests/prescriptions/test_muon_objects.py trains a step.
    """
    groups = torch_param_groups(model, prescription, patterns)
    from torch import optim

    if prescription.optimizer == "sgd":
        return [optim.SGD(groups, momentum=momentum or 0.0)]
    if prescription.optimizer == "adam":
        return [optim.Adam(groups, betas=betas)]
    matrices = [entry for entry in groups if entry.get("use_muon")]
    rest = [entry for entry in groups if not entry.get("use_muon")]
    made = []
    if matrices:
        first = muon.MOMENTUM if momentum is None else momentum
        made.append(muon.torch_muon()(matrices, momentum=first))
    return [*made, optim.AdamW(rest, betas=betas)] if rest else made


def optax_transform(
    params: Any,
    prescription: Prescription,
    patterns: Patterns,
    *,
    schedule: Callable[[Any], Any] | None = None,
    momentum: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    dimension_numbers: Mapping[str, Any] | None = None,
) -> optax.GradientTransformation:
    """Return the prescribed optimizer for this tree of parameters, each group with its rate, decay
    and epsilon.

    params: a pytree, or a module of flax.nnx or the nnx.State of its nnx.Param; a parameter's name
    is its path with ``/``, such as ``blocks/0/attn/q``
    patterns: as in ``torch_param_groups``
    schedule: step -> factor of every rate; momentum: of sgd, and of muon (None: 0.95); b1, b2: of
    adam and adamw; dimension_numbers: of muon, {group: optax.contrib.MuonDimensionNumbers}, by
    default the last two axes, n_in and n_out, of each of the matrices that axes before them count

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

    named = named_leaves(params)
    labels = matched(named, prescription, patterns)
    shared = _Shared(prescription, schedule, momentum, b1, b2)
    parts = {
        name: shared.part(name, named[name], group, (dimension_numbers or {}).get(group))
        for name, group in labels.items()
    }
    transforms: dict[Any, optax.GradientTransformation] = {
        part.label: shared.transform(part) for part in dict.fromkeys(parts.values())
    }
    return optax.partition(
        transforms, Labels(params, {name: part.label for name, part in parts.items()})
    )


class _Part(NamedTuple):
    """Parameters that one optax transformation moves: their group, and of Muon's matrices also the
    dimension numbers and sides."""

    group: str
    dimensions: Any = None
    sides: muon.Sides | None = None

    @property
    def label(self) -> str:
        """Return its name in the optax state: the group, where shapes do not split it."""
        return self.group if self.sides is None else " ".join(map(str, self))


class _Shared(NamedTuple):
    """Hold what all groups have of an optax optimizer."""

    prescription: Prescription
    schedule: Callable[[Any], Any] | None
    momentum: float | None
    b1: float
    b2: float

    def part(self, name: str, leaf: Any, group: str, given: Any) -> _Part:
        """Return the part that a parameter belongs to; raises ``InputError``."""
        if group not in self.prescription.muon:
            return _Part(group)
        expected = muon.Sides(*self.prescription.muon[group])
        return _Part(group, *muon.dimensions(name, leaf, given, expected))

    def rate(self, learning_rate: float) -> Any:
        """Return a group's rate, as it is or times the schedule."""
        factor = self.schedule
        return learning_rate if factor is None else lambda step: learning_rate * factor(step)

    def transform(self, part: _Part) -> optax.GradientTransformation:
        """Return a part's transformation."""
        numbers = settings(self.prescription, part.group, "optax")
        if part.sides is None:
            return self.entrywise(**numbers)
        factor = self.prescription.parameters["shape_factor"]
        own = muon.adjusted(numbers, factor, part.sides)
        return muon.optax_transform_of(
            self.rate(own["learning_rate"]),
            own,
            factor=factor,
            momentum=self.momentum,
            dimension_numbers=part.dimensions,
        )

    def entrywise(
        self, learning_rate: float, weight_decay: float, epsilon: float = EPSILON
    ) -> optax.GradientTransformation:
        """Return a group's transformation by Adam or SGD."""
        import optax

        rate, optimizer = self.rate(learning_rate), self.prescription.optimizer
        if optimizer in ("adamw", "muon"):
            return optax.adamw(rate, self.b1, self.b2, epsilon, weight_decay=weight_decay)
        inner = (
            optax.sgd(rate, self.momentum)
            if optimizer == "sgd"
            else optax.adam(rate, self.b1, self.b2, epsilon)
        )
        return optax.chain(optax.add_decayed_weights(weight_decay), inner)
