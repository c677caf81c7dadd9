"""Rules: what to set for every group of parameters, each a sympy monomial in the sizes with the
criterion that fixes it.

With count entries a slot, entry = rms of dz/dtheta and eps_G the group's multiplier (``groups``),
one step changes the output by order one when

    Adam(W)   rate slots count (eps_G uses entry) = 1         in depth 1/(eps D), D = slots uses:
              the coherent bound, attained (exponents.md, section 3)
    SGD       rate slots count (eps_G uses entry)^2 = 1       in depth 1/(eps^2 P), P = slots
              uses^2, from the tangent kernel

and Adam's epsilon follows eps_G uses entry. At eps = 1/(N sqrt L): 1/sqrt(L), and a constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError
from sigprop.scaling.groups import OUTPUT_BIAS, Group, groups
from sigprop.scaling.multiplier import Multiplier, multiplier, unknown_in_depth
from sigprop.scaling.sizes import C, L, N, exact, n

OPTIMIZERS, DECAYS, PARAMETRISATIONS = (
    ("sgd", "adam", "adamw"),
    ("papers", "product"),
    ("standard", "multiplier"),
)
SETTINGS = ("init_std", "multiplier", "learning_rate", "weight_decay", "rate_x_decay", "epsilon")
RESIDUAL, LOGITS = "residual", "attention"
"""Rows for what multiplies a residual branch and attention's logits."""


@dataclass(frozen=True)
class Rule:
    """What a setting of a group is proportional to: sympy monomials in n, L, N, M, C, g, V, d; None
    where the setting does not exist.

    criteria: {setting: what fixes it, in a line}.
    """

    init_std: sp.Expr | None = None
    multiplier: sp.Expr | None = None
    learning_rate: sp.Expr | None = None
    weight_decay: sp.Expr | None = None
    epsilon: sp.Expr | None = None
    criteria: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def rate_x_decay(self) -> sp.Expr | None:
        """The product of the two, by which decoupled decay shrinks a parameter a step."""
        return (
            None
            if self.learning_rate is None or self.weight_decay is None
            else tidy(self.learning_rate * self.weight_decay)
        )


def tidy(expression: sp.Expr) -> sp.Expr:
    """One monomial, powers of each size together."""
    return sp.powsimp(sp.powdenest(expression, force=True))


def rules(
    arch: Architecture,
    optimizer: str = "adamw",
    s: Any = 1,
    *,
    decay: str = "papers",
    parametrisation: str = "standard",
    output_factor: Any = 1,
    width_only: bool = False,
) -> dict[str, Rule]:
    """{group: ``Rule``}: the architecture's groups, vectors of real models (bias, norm, final_norm,
    readout_bias), residual and attention.

    s            0 (neural tangent) to 1 (maximal update): read-out std n^(-(1+s)/2), other rates
                 times n^s (SGD) or n^(s/2) (Adam)
    decay        'papers': rate x decay constant in width alone; 'product': in every size. Adam
                 without W: decay follows gradient over parameter
    parametrisation  'standard': the read-out's power of n is its std; 'multiplier': it is a factor,
                     its std constant (always so with head=tied)
    output_factor    in N, L: what the std of each branch's last matrix carries, such as 1/sqrt(2
                     L); depth then counts once: the residual multiplier is eps over it, and where
                     residual_scale does not depend on L, eps is residual_scale times it
    width_only   leave out what depth and loops change, where they stay the same

    Raises ``InputError``: unknown optimizer, s, decay or parametrisation; unless ``width_only``,
    networks whose depth pair counting does not cover. Source: 2304.02034, (1.25)-(1.33),
    (1.99)-(1.116) and footnotes 8, 22, 26; 2505.01618, Table 1; 2606.18524, sections 3 and 4;
    depth, loops, epsilon derived by counting pairs (tests/scaling/test_rates.py).
    """
    for name, value, accepted in (
        ("optimizer", optimizer, OPTIMIZERS),
        ("decay", decay, DECAYS),
        ("parametrisation", parametrisation, PARAMETRISATIONS),
    ):
        if value not in accepted:
            raise InputError(f"{name}={value!r}; accepted: {', '.join(accepted)}")
    if isinstance(s, bool) or not isinstance(s, (int, float, Fraction)) or not 0 <= s <= 1:
        raise InputError(f"s={s!r}; accepted: 0 (neural tangent) to 1 (maximal update)")
    if optimizer == "adam" and decay == "product":
        raise InputError(
            "decay='product' at optimizer='adam', whose decay is part of the gradient; accepted: "
            "adamw or sgd, or decay='papers'"
        )
    refused = None if width_only else unknown_in_depth(arch)
    if refused is not None:
        raise InputError(refused)
    factor: Any = output_factor if isinstance(output_factor, sp.Expr) else exact(output_factor)
    s = exact(s)
    read = None if width_only else multiplier(arch)
    scale = sp.Integer(1) if read is None else effective(read, factor)
    found: dict[str, Rule] = {}
    for name, group in groups(arch, s, not width_only).items():
        if name != OUTPUT_BIAS or factor != 1:  # else the same as other biases
            carried: Any = factor if group.output else sp.Integer(1)
            own = (
                (sp.Integer(1), sp.Integer(1))
                if read is None
                else (
                    read.gradients.get(name, _vectors(read, group)),
                    read.stds.get(name, sp.Integer(1)),
                )
            )
            found[name] = _rule(
                group, optimizer, decay, scale / carried * own[0], carried * own[1], width_only
            )
    if arch.head.tied or parametrisation == "multiplier":
        found[READOUT] = _moved(found[READOUT], optimizer, n ** ((1 + s) / 2))
    if not width_only:
        other = "" if factor == 1 else f", over {factor}, which the stds of output matrices carry"
        alone = factor != 1 and read is not None and not read.scale.has(L)
        text = (
            f"residual_scale; the stds of output matrices carry the factor of depth, {factor}"
            if alone
            else f"eps, the architecture's residual_scale{other}"
        )
        found[RESIDUAL] = Rule(multiplier=tidy(scale / factor), criteria={"multiplier": text})
    if any(block.attention for block in arch.sub_blocks):
        text = (
            "logits q.k change by order one when queries and keys learn: head_dim^(-(1+s)/2), "
            "or head_dim fixed"
        )
        found[LOGITS] = Rule(multiplier=C ** (-(1 + s) / 2), criteria={"multiplier": text})
    return (
        found
        if arch.parameters.get("loops") is not None
        else {name: _unlooped(rule) for name, rule in found.items()}
    )


def _vectors(read: Multiplier, group: Group) -> Any:
    """What variances put into the gradient of a vector that the description does not have: on a
    branch's output nothing, inside as into the write."""
    return read.writes if group.branch and not group.output else sp.Integer(1)


def _unlooped(rule: Rule) -> Rule:
    """The rule at N = 1, for architectures that do not loop."""
    at = {name: getattr(rule, name) for name in SETTINGS if name != "rate_x_decay"}
    return replace(
        rule, **{name: None if value is None else value.subs(N, 1) for name, value in at.items()}
    )


def _rule(
    group: Group, optimizer: str, decay: str, scale: sp.Expr, factor: sp.Expr, width_only: bool
) -> Rule:
    slots, uses = group.pattern
    depth = scale * uses if group.branch else sp.Integer(1)
    entry, power = depth * group.entry, 2 if optimizer == "sgd" else 1
    rate = 1 / (slots * group.count * entry**power)
    in_width = 1 / (group.count * group.entry**power)
    size = None if group.size is None or group.what == "vector" else group.size * factor
    wanted = (
        {"product": 1 / rate, "papers": 1 / in_width}[decay]
        if optimizer != "adam"
        else entry * group.logits / (size or 1)
    )
    of_order = "|dz/dtheta|" if power == 1 else "|dz/dtheta|^2"
    bound = (
        "; depth 1/(eps D), the coherent bound"
        if power == 1
        else "; depth 1/(eps^2 P), the tangent kernel"
    )
    where = (
        "; no factor of depth"
        if not group.branch
        else "; depth and loops unchanged"
        if width_only
        else bound
    )
    criteria = {
        "init_std": INITIAL[group.what]
        + (
            ""
            if factor == 1 or group.what != "matrix"
            else f"; {factor} as the base has it, and not again in the residual multiplier"
        ),
        "multiplier": "standard parametrisation",
        "learning_rate": f"output changes by order one: rate x sum of {of_order}{where}",
        "weight_decay": DECAY["adam" if optimizer == "adam" else decay],
        "rate_x_decay": "what a parameter shrinks by in a step",
        "epsilon": "a fixed share of one entry of the gradient"
        + (", eps x uses x n_out^-1/2 n^-s/2" if group.branch else ""),
    }
    return Rule(
        None
        if group.size is None
        else tidy(group.size * factor if group.what == "matrix" else group.size),
        sp.Integer(1),
        tidy(rate),
        tidy(wanted),
        None if optimizer == "sgd" else tidy(entry * group.logits),
        criteria,
    )


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


def _moved(rule: Rule, optimizer: str, by: sp.Expr) -> Rule:
    """The same network and steps with parameters ``by`` times as large and a factor 1/by in
    front: rate x by (SGD: by^2), gradient / by."""
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


def effective(read: Multiplier, factor: Any) -> Any:
    """eps, what writes of order one are multiplied by: residual_scale, or that times ``factor``
    where it alone knows the depth; raises ``InputError``."""
    if read.normed and factor != 1:
        raise InputError(
            "init: output matrices that carry a factor of depth, before a norm that removes it; "
            "accepted: others, or norm=pre"
        )
    return read.scale if read.scale.has(L) else read.scale * factor


def growth(arch: Architecture, factor: Any = 1) -> Any:
    """eps^2 P, by which the residual stream's variance grows (largest of the weights' patterns);
    raises ``InputError``."""
    read = multiplier(arch)
    scale = effective(read, factor) * read.writes
    found = {
        tidy(scale**2 * group.pattern.slots * group.pattern.uses**2)
        for group in groups(arch, sp.Integer(1), True).values()
        if group.branch
    }
    at = {L: arch.sizes.get("L", 1), N: arch.sizes.get("N", 1)}
    largest = max(found, key=lambda e: float(e.subs(at)))
    return largest if arch.parameters.get("loops") is not None else largest.subs(N, 1)
