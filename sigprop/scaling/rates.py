"""Rules: what to set for every group of parameters, each a sympy monomial in the sizes with the
criterion that fixes it.

With count entries a slot, entry = rms of dz/dtheta and eps_G the group's multiplier (``groups``),
one step changes the output by order one when

    Adam(W)   rate slots count (eps_G uses entry) = 1         in depth 1/(eps D), D = slots uses:
              the coherent bound, attained (exponents.md, section 3)
    SGD       rate slots count (eps_G uses entry)^2 = 1       in depth 1/(eps^2 P), P = slots
              uses^2, from the tangent kernel
    Muon      rate f slots sqrt(count) eps_G uses entry = 1   in depth 1/(eps D), as Adam

and Adam's epsilon follows eps_G uses entry. At eps = 1/(N sqrt L): 1/sqrt(L), and a constant.

Muon moves a matrix by rate f U V^T, G = U S V^T the gradient and f its shape factor, so that dz =
rate f |G|_*, the nuclear norm. G is a sum over uses of d x^T whose d and x hardly turn from one use
to the next: its nuclear norm is its norm, |d| |x| uses = eps uses n^(-s/2) sqrt(n_in). Every other
group, stem and read-out among them, is AdamW's.

Where the std of each branch's last matrix carries a factor of depth such as 1/sqrt(2 L), depth
counts once: the residual multiplier is eps over that factor, and where residual_scale does not
depend on L, eps is residual_scale times it.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import sympy as sp

from sigprop.description.architecture import Architecture
from sigprop.description.structure import READOUT
from sigprop.errors import InputError, near_miss
from sigprop.scaling.groups import ONE, OUTPUT_BIAS, Group, groups
from sigprop.scaling.multiplier import Multiplier, multiplier, unknown_in_depth
from sigprop.scaling.rule import (
    SHAPE_FACTORS,
    Carried,
    Choices,
    Rule,
    moved,
    rule_of,
    tidy,
    unlooped,
)
from sigprop.scaling.sizes import C, L, N, exact, n

OPTIMIZERS, DECAYS, PARAMETRISATIONS = (
    ("sgd", "adam", "adamw", "muon"),
    ("papers", "product"),
    ("standard", "multiplier"),
)
RESIDUAL, LOGITS = "residual", "attention"
"""Rows for what multiplies a residual branch and attention's logits."""


def rules(
    arch: Architecture,
    optimizer: str = "adamw",
    s: Any = 1,
    *,
    decay: str = "papers",
    parametrisation: str = "standard",
    output_factor: Any = 1,
    width_only: bool = False,
    shape_factor: str | None = None,
) -> dict[str, Rule]:
    """Return {group: ``Rule``}: the architecture's groups, vectors of real models (bias, norm,
    final_norm, readout_bias), residual and attention.

    s: 0 (neural tangent) to 1 (maximal update): read-out std n^(-(1+s)/2), other rates times n^s
    (SGD) or n^(s/2) (Adam); decay: 'papers', rate x decay constant in width alone, or 'product',
    in every size (Adam without W: decay follows gradient over parameter); parametrisation:
    'standard', the read-out's power of n is its std, or 'multiplier', it is a factor, its std
    constant (always so with head=tied); output_factor: in N, L, what the std of each branch's last
    matrix carries; width_only: leave out what depth and loops change, where they stay the same;
    shape_factor: of Muon, a name of ``SHAPE_FACTORS`` (None: original).

    Raises ``InputError``: unknown optimizer, s, decay, ...; unless ``width_only``,
    networks whose depth pair counting does not cover. Source: 2304.02034, (1.25)-(1.33),
    (1.99)-(1.116) and footnotes 8, 22, 26; 2505.01618, Table 1; 2606.18524, sections 3 and 4;
    depth, loops, epsilon derived by counting pairs (tests/scaling/test_rates.py).
    """
    _check(optimizer, decay, parametrisation, s)
    choices = Choices(optimizer, decay, width_only, checked_factor(optimizer, shape_factor))
    depth, power = _depth(arch, output_factor, width_only), exact(s)
    prescribed = dict(_of_parameters(arch, power, choices, depth))
    if arch.head.tied or parametrisation == "multiplier":
        prescribed[READOUT] = moved(prescribed[READOUT], optimizer, n ** ((1 + power) / 2))
    if not width_only:
        prescribed[RESIDUAL] = _residual(depth)
    if any(block.attention for block in arch.sub_blocks):
        prescribed[LOGITS] = _logits(power)
    if arch.parameters.get("loops") is None:
        return {name: unlooped(rule) for name, rule in prescribed.items()}
    return prescribed


def _check(optimizer: str, decay: str, parametrisation: str, s: Any) -> None:
    """Raise ``InputError`` for a choice that there is not."""
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


def checked_factor(optimizer: str, name: str | None) -> str:
    """Return the shape factor's name; raises ``InputError`` for one that there is not, or for
    another optimizer."""
    if name is not None and optimizer != "muon":
        raise InputError(f"shape_factor={name!r} at optimizer={optimizer!r}; accepted: of muon")
    if name is not None and name not in SHAPE_FACTORS:
        raise InputError(f"shape_factor={name!r}{near_miss(name, SHAPE_FACTORS)}")
    return name or "original"


class _Depth(NamedTuple):
    """Hold how depth and loops enter: eps; the factor in the stds of output matrices; what
    variances carry beside them (None: only width is prescribed for)."""

    eps: sp.Expr
    factor: sp.Expr
    variances: Multiplier | None

    def carried(self, name: str, group: Group) -> Carried:
        """Return what a group carries of it."""
        in_std = self.factor if group.output else ONE
        if self.variances is None:
            return Carried(self.eps / in_std, in_std)
        return Carried(
            self.eps / in_std * self.variances.gradients.get(name, _vectors(self.variances, group)),
            in_std * self.variances.stds.get(name, ONE),
        )


def _depth(arch: Architecture, output_factor: Any, width_only: bool) -> _Depth:
    """Read how depth enters; raise ``InputError`` where it cannot be prescribed for."""
    refused = None if width_only else unknown_in_depth(arch)
    if refused is not None:
        raise InputError(refused)
    factor = output_factor if isinstance(output_factor, sp.Expr) else exact(output_factor)
    if width_only:
        return _Depth(ONE, factor, None)
    variances = multiplier(arch)
    return _Depth(effective(variances, factor), factor, variances)


def _vectors(variances: Multiplier, group: Group) -> sp.Expr:
    """Return what variances put into the gradient of a vector that the description does not have:
    on a branch's output nothing, inside as into the write."""
    return variances.writes if group.branch and not group.output else ONE


def _of_parameters(
    arch: Architecture, s: sp.Expr, choices: Choices, depth: _Depth
) -> Iterator[tuple[str, Rule]]:
    """Yield the rule of every group of parameters."""
    for name, group in groups(arch, s, not choices.width_only).items():
        if name != OUTPUT_BIAS or depth.factor != 1:  # else the same as other biases
            yield name, rule_of(group, depth.carried(name, group), choices)


def _residual(depth: _Depth) -> Rule:
    """Return the rule of what multiplies a residual branch."""
    factor, variances = depth.factor, depth.variances
    if factor == 1:
        text = "eps, the architecture's residual_scale"
    elif variances is not None and not variances.scale.has(L):
        text = f"residual_scale; the stds of output matrices carry the factor of depth, {factor}"
    else:
        text = (
            f"eps, the architecture's residual_scale, over {factor}, which the stds of output "
            f"matrices carry"
        )
    return Rule(multiplier=tidy(depth.eps / factor), criteria={"multiplier": text})


def _logits(s: sp.Expr) -> Rule:
    """Return the rule of what multiplies attention's logits."""
    text = (
        "logits q.k change by order one when queries and keys learn: head_dim^(-(1+s)/2), or "
        "head_dim fixed"
    )
    return Rule(multiplier=C ** (-(1 + s) / 2), criteria={"multiplier": text})


def effective(read: Multiplier, factor: Any) -> Any:
    """Return eps, what writes of order one are multiplied by: residual_scale, or that times
    ``factor`` where it alone knows the depth; raises ``InputError``."""
    if read.normed and factor != 1:
        raise InputError(
            "init: output matrices that carry a factor of depth, before a norm that removes it; "
            "accepted: others, or norm=pre"
        )
    return read.scale if read.scale.has(L) else read.scale * factor


def growth(arch: Architecture, factor: Any = 1) -> Any:
    """Return eps^2 P, by which the residual stream's variance grows (largest of the weights'
    patterns); raises ``InputError``."""
    read = multiplier(arch)
    scale = effective(read, factor) * read.writes
    rates = {
        tidy(scale**2 * group.pattern.slots * group.pattern.uses**2)
        for group in groups(arch, ONE, True).values()
        if group.branch
    }
    at = {L: arch.sizes.get("L", 1), N: arch.sizes.get("N", 1)}
    largest = max(rates, key=lambda rate: float(rate.subs(at)))
    return largest if arch.parameters.get("loops") is not None else largest.subs(N, 1)
