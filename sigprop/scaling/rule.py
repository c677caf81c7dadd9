"""The rule of one group of parameters: from its count of entries, its gradient and its pattern to
what is set for it (the formulas are those of ``rates``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import sympy as sp

from sigprop.scaling.groups import ONE, Group, Shape
from sigprop.scaling.sizes import N

SETTINGS = ("init_std", "multiplier", "learning_rate", "weight_decay", "rate_x_decay", "epsilon")
INITIAL = {
    "matrix": "order-one outputs: variance C/n_in",
    "vector": "does not depend on size (0 stays 0)",
    "lookup": "order-one rows, not over the vocabulary",
    "stem": "order-one outputs: variance C/inputs",
    "read-out": "variance n^-(1+s)",
    "read-out bias": "does not depend on size (0 stays 0)",
}
DECAY = {
    "papers": "rate x decay constant in width, decay the same in depth and loops",
    "product": "rate x decay constant in every size",
    "adam": "decay x parameter a fixed share of one entry of the gradient",
}
SHAPE_FACTORS = {
    "original": "sqrt(max(1, n_out/n_in))",
    "match_rms_adamw": "0.2 sqrt(max(n_in, n_out))",
    "spectral": "sqrt(n_out/n_in)",
}
"""What Muon multiplies the polar factor of a matrix's momentum by, beside its rate: the default of
optax.contrib.muon and of torch.optim.Muon (names of its ``adjust_lr_fn``); consistent_rms=0.2 of
optax (2502.16982); the norm from rms to rms (2310.17813)."""


@dataclass(frozen=True)
class Rule:
    """Say what each setting of a group is proportional to: sympy monomials in n, L, N, M, C, g, V,
    d; None where the setting does not exist.

    criteria: {setting: what fixes it, in a line}; muon: the matrix's shape where Muon trains it.
    """

    init_std: sp.Expr | None = None
    multiplier: sp.Expr | None = None
    learning_rate: sp.Expr | None = None
    weight_decay: sp.Expr | None = None
    epsilon: sp.Expr | None = None
    criteria: Mapping[str, str] = field(default_factory=dict, compare=False)
    muon: Shape | None = field(default=None, compare=False)

    @property
    def rate_x_decay(self) -> sp.Expr | None:
        """Return the product of the two, by which decoupled decay shrinks a parameter a step."""
        return (
            None
            if self.learning_rate is None or self.weight_decay is None
            else tidy(self.learning_rate * self.weight_decay)
        )


def tidy(expression: sp.Expr) -> sp.Expr:
    """Return one monomial, powers of each size together."""
    return sp.powsimp(sp.powdenest(expression, force=True))


class Choices(NamedTuple):
    """Hold what is trained with, how its decay goes, whether depth and loops are left out, and
    Muon's shape factor."""

    optimizer: str
    decay: str
    width_only: bool
    shape_factor: str = "original"

    def by_muon(self, group: Group) -> Shape | None:
        """Return the shape of a group that Muon trains: a matrix inside a branch."""
        return group.shape if self.optimizer == "muon" else None

    def change(self, group: Group, entry: sp.Expr) -> sp.Expr:
        """Return what one step of rate 1 changes z by, a slot: the gradient's entries' sum, or
        squares' sum, or for Muon its nuclear norm, which at one direction is the root of that."""
        if self.optimizer == "sgd":
            return group.count * entry**2
        shape = self.by_muon(group)
        if shape is None:
            return group.count * entry
        return shape_factor(self.shape_factor, shape) * sp.sqrt(group.count) * entry

    def scale(self, group: Group, entry: sp.Expr) -> sp.Expr:
        """Return what epsilon stands beside: an entry, or for Muon the gradient's norm."""
        scale = entry if self.by_muon(group) is None else sp.sqrt(group.count) * entry
        return scale * group.logits


def shape_factor(name: str, shape: Shape) -> sp.Expr:
    """Return Muon's shape factor as a monomial, up to constants; ``wider`` says which side is the
    larger."""
    rows, inputs, wider = shape
    if name == "match_rms_adamw":
        return sp.sqrt(rows if wider else inputs)
    return sp.sqrt(rows / inputs) if wider or name == "spectral" else ONE


class Carried(NamedTuple):
    """Hold what depth puts into one group: gradient, into the entries of its gradient beside its
    uses; std, into its std."""

    gradient: sp.Expr
    std: sp.Expr


def rule_of(group: Group, carried: Carried, choices: Choices) -> Rule:
    """Return what is set for one group."""
    slots, uses = group.pattern
    entry = (carried.gradient * uses if group.branch else ONE) * group.entry
    rate = 1 / (slots * choices.change(group, entry))
    std = group.size
    if std is not None and group.what == "matrix":
        std = std * carried.std
    return Rule(
        init_std=None if std is None else tidy(std),
        multiplier=ONE,
        learning_rate=tidy(rate),
        weight_decay=tidy(_decay(group, carried, choices, entry=entry, rate=rate)),
        epsilon=None if choices.optimizer == "sgd" else tidy(choices.scale(group, entry)),
        criteria=_criteria(group, carried.std, choices),
        muon=choices.by_muon(group),
    )


def _decay(
    group: Group, carried: Carried, choices: Choices, *, entry: sp.Expr, rate: sp.Expr
) -> sp.Expr:
    """Return the weight decay; Adam's without W is part of the gradient, and follows it."""
    if choices.optimizer == "adam":
        sized = group.size is not None and group.what != "vector"
        return entry * group.logits / (group.size * carried.std if sized else 1)
    if choices.decay == "product":
        return 1 / rate
    return choices.change(group, group.entry)


def _criteria(group: Group, std: sp.Expr, choices: Choices) -> dict[str, str]:
    """Say what fixes each setting, in a line."""
    again = (
        ""
        if std == 1 or group.what != "matrix"
        else f"; {std} as the base has it, and not again in the residual multiplier"
    )
    uses = ", eps x uses x n_out^-1/2 n^-s/2" if group.branch else ""
    return {
        "init_std": INITIAL[group.what] + again,
        "multiplier": "standard parametrisation",
        "learning_rate": f"output changes by order one: rate x {_step(group, choices)}; "
        f"{_factor_of_depth(group, choices)}",
        "weight_decay": DECAY["adam" if choices.optimizer == "adam" else choices.decay],
        "rate_x_decay": "what a parameter shrinks by in a step",
        "epsilon": f"a fixed share of {_beside(group, choices)}{uses}",
    }


def _step(group: Group, choices: Choices) -> str:
    """Say what the rate multiplies."""
    if choices.by_muon(group) is not None:
        return f"Muon's {SHAPE_FACTORS[choices.shape_factor]} x nuclear norm of dz/dW"
    return f"sum of |dz/dtheta|{'^2' if choices.optimizer == 'sgd' else ''}"


def _beside(group: Group, choices: Choices) -> str:
    """Say what epsilon stands beside."""
    muon = choices.by_muon(group) is not None
    return (
        "the gradient's norm, sqrt(n_out n_in) x an entry"
        if muon
        else ("one entry of the gradient")
    )


def _factor_of_depth(group: Group, choices: Choices) -> str:
    """Say how the rate depends on depth, and why."""
    if not group.branch:
        return "no factor of depth"
    if choices.width_only:
        return "depth and loops unchanged"
    if choices.optimizer == "sgd":
        return "depth 1/(eps^2 P), the tangent kernel"
    return "depth 1/(eps D), the coherent bound"


def moved(rule: Rule, optimizer: str, by: sp.Expr) -> Rule:
    """Return the same network and steps with parameters ``by`` times as large and a factor 1/by
    in front: rate x by (SGD: by^2), gradient / by."""
    assert (
        rule.init_std is not None
        and rule.learning_rate is not None
        and rule.weight_decay is not None
    )
    rate = by**2 if optimizer == "sgd" else by
    text = "logits' factor n^(-(1+s)/2), the std does not depend on n"
    return Rule(
        tidy(rule.init_std * by),
        1 / by,
        tidy(rule.learning_rate * rate),
        tidy(rule.weight_decay / (rate if optimizer != "adam" else by**2)),
        None if rule.epsilon is None else tidy(rule.epsilon / by),
        {**rule.criteria, "multiplier": text, "init_std": text},
    )


def unlooped(rule: Rule) -> Rule:
    """Return the rule at N = 1, for architectures that do not loop."""
    values = {name: getattr(rule, name) for name in SETTINGS if name != "rate_x_decay"}
    return replace(
        rule,
        **{name: None if value is None else value.subs(N, 1) for name, value in values.items()},
    )
