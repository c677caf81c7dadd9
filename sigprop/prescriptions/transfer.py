"""Rules at a base's sizes and at a target's: ratios, numbers, and what the base's initialisation
already carries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import sympy as sp

from sigprop.blocks.variances import named, variances_at
from sigprop.errors import InputError
from sigprop.language.expression import Linear
from sigprop.language.scalar import Number, evaluate
from sigprop.scaling.groups import groups
from sigprop.scaling.multiplier import unknown_in_depth
from sigprop.scaling.rates import RESIDUAL, growth, rules
from sigprop.scaling.rule import SETTINGS, Rule
from sigprop.scaling.sizes import CARRIED, MEANING, C, L, N, n, sizes_of

if TYPE_CHECKING:
    from sigprop.prescriptions.sides import Side


ALIKE = 0.1  # relative difference from 1/sqrt(2 L) at which stds look like it
STEM_VARIANCES = {"embedding": "c_we", "position": "c_pe"}


def settled(
    old: Side, new: Side, options: Mapping[str, Any], init: Any, carries: bool | None
) -> tuple[dict[str, Rule], sp.Expr]:
    """(the rules of both sides, the factor of depth that output matrices' stds carry); raises
    ``InputError`` where the sides have different rules."""
    same = all(old.arch.sizes.get(key, 1) == new.arch.sizes.get(key, 1) for key in ("L", "N"))
    unknown = same and any(unknown_in_depth(side.arch) is not None for side in (old, new))
    carried = CARRIED if not unknown and _carries(old, init, carries) else sp.Integer(1)
    one, other = (
        rules(side.arch, **options, output_factor=carried, width_only=unknown)
        for side in (old, new)
    )
    for name in one.keys() | other.keys():
        if one.get(name) != other.get(name):
            raise InputError(
                f"base and target have different rules for {name!r}; accepted: sides that differ "
                f"in sizes alone"
            )
    if (
        options["optimizer"] == "sgd"
        and options["s"] > 0
        and sizes_of(old.arch, old.width)[C] != sizes_of(new.arch, new.width)[C]
    ):
        raise InputError(
            "head_dim: differs at optimizer='sgd', s > 0, where no rate keeps logits and output "
            "of order one; accepted: the same, or s=0"
        )
    return other, carried


def _carries(old: Side, init: Any, carries: bool | None) -> bool:
    """Whether output matrices' stds fall as 1/sqrt(2 L)."""
    from sigprop.prescriptions.sides import positive

    if carries is not None or init is None:
        return bool(carries)
    depth = old.arch.sizes.get("L", 1)
    outputs = {
        name
        for name, group in groups(old.arch, sp.Integer(1), False).items()
        if group.output and isinstance(old.arch.weights.get(name), Linear)
    }
    if isinstance(init, Mapping):
        stds = {name: positive(f"init of {name}", std) for name, std in init.items()}
        scaled = {
            name: std * _fan(old, name)
            for name, std in stds.items()
            if isinstance(old.arch.weights.get(name), Linear) and std > 0
        }
        inner = [value for name, value in scaled.items() if name not in outputs]
        unit = math.exp(sum(map(math.log, inner)) / len(inner)) if inner else 1.0
        alike = [
            name
            for name in sorted(outputs & scaled.keys())
            if abs(scaled[name] / unit * math.sqrt(2 * depth) - 1) < ALIKE
        ]
        if alike and depth > 1:
            raise InputError(
                f"init: the std of {alike[0]!r} looks as if divided by sqrt(2 L); accepted: with "
                f"base_carries_depth_factor=True where the target's will "
                "be too, or False where it is a number of its own"
            )
        return False
    near, far = (_named(old, init, depth * times) for times in (1, 4))
    falls = {name for name in near if near[name] and not math.isclose(far[name], near[name])}
    if falls - outputs or any(not math.isclose(far[name] * 2, near[name]) for name in falls):
        raise InputError(
            f"init={init!r}: {sorted(falls)[0]!r} changes with depth as no rule knows; accepted: "
            f"output matrices over sqrt(2 L)"
        )
    return bool(falls)


def _fan(side: Side, name: str) -> float:
    """sqrt(n_in) of a matrix."""
    size: Any = groups(side.arch, sp.Integer(1), False)[name].size
    return 1 / float(size.subs(sizes_of(side.arch, side.width, side.inputs)))


def _named(side: Side, init: str, depth: int) -> dict[str, float]:
    """{group: std} of a named initialisation, sqrt(c/n_in), at this depth."""
    variances = variances_at(
        named(init), side.width, depth, float(side.arch.parameters.get("mlp_ratio") or 1)
    )
    numbers = {
        name: node.variance.name
        for name, node in side.arch.weights.items()
        if isinstance(node, Linear) and isinstance(node.variance, Number)
    }
    found = {
        name: math.sqrt(variances[c]) / _fan(side, name)
        for name, c in numbers.items()
        if c in variances
    }
    return found | {
        name: math.sqrt(variances[c])
        for name, c in STEM_VARIANCES.items()
        if name in side.arch.stem_parts and c in variances
    }


def _described(side: Side) -> dict[str, float]:
    """{group: std} that the description itself says, sqrt(C/n_in) in the first block and of the
    stem sqrt(C)."""
    matrices = {name: node for name, node in side.arch.weights.items() if isinstance(node, Linear)}
    tables = side.arch.number_tables
    found = {
        name: math.sqrt(float(np.ravel(evaluate(node.variance, tables))[0])) / _fan(side, name)
        for name, node in matrices.items()
    }
    return found | {
        name: math.sqrt(part.variance)
        for name, part in side.arch.stem_parts.items()
        if name in STEM_VARIANCES
    }


def initial(side: Side, init: Any, known: Mapping[str, Rule]) -> Mapping[str, float]:
    """{group: the base's std}."""
    from sigprop.prescriptions.sides import known_group, positive

    if init is None:
        return {} if side.arch.parameters.get("init") is None else _described(side)
    if not isinstance(init, Mapping):
        return _named(side, init, side.arch.sizes.get("L", 1))
    groups = [name for name, rule in known.items() if rule.init_std is not None]
    return {
        name: positive(f"init of {name}", std)
        for name, std in init.items()
        if known_group("init", name, groups)
    }


class Sizes(NamedTuple):
    """Sizes of base and target, as values of the expressions' symbols."""

    base: Mapping[Any, Any]
    target: Mapping[Any, Any]

    def ratio(self, expression: Any) -> float:
        """The expression's value at the target over that at the base."""
        return float(expression.subs(self.target) / expression.subs(self.base))

    def same(self, symbol: Any) -> bool:
        """Whether a size is the same in both."""
        return self.base[symbol] == self.target[symbol]


def rows_of(
    old: Side,
    new: Side,
    options: Mapping[str, Any],
    known: Mapping[str, Rule],
    carried: sp.Expr,
    settings: Mapping[str, Mapping[str, float]],
    init: Any,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One row a group and setting: expression, its ratio target/base, the base's number and the
    target's (the ratio where the base gave none)."""
    sizes = Sizes(*(sizes_of(side.arch, side.width, side.inputs) for side in (old, new)))
    base = _base_numbers(known, settings, initial(old, init, known))
    rows = [
        _row(name, setting, rule, base[setting].get(name), sizes)
        for name, rule in known.items()
        for setting in SETTINGS
        if getattr(rule, setting) is not None
    ]
    used = _symbols(known)
    unchanged = [
        str(symbol)
        for symbol in sizes.base
        if str(symbol) in used and symbol not in (n, L, N) and sizes.same(symbol)
    ]
    return rows, {
        "parametrisation": parametrisation(options, carried, known),
        "symbols": {name: text for name, text in MEANING.items() if name in used},
        "unchanged": unchanged,
        "remarks": remarks(new, options, known, carried, sizes),
    }


def _base_numbers(
    known: Mapping[str, Rule], settings: Mapping[str, Mapping[str, float]], std: Mapping[str, float]
) -> dict[str, Mapping[str, float]]:
    """{setting: {group: the base's number}}, products and multipliers of 1 included."""
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    ones = {name: 1.0 for name, rule in known.items() if rule.multiplier == 1}
    return {
        **settings,
        "init_std": std,
        "rate_x_decay": {name: rate[name] * decay[name] for name in rate.keys() & decay.keys()},
        "multiplier": {**ones, **settings["multiplier"]},
    }


def _row(name: str, setting: str, rule: Rule, base: float | None, sizes: Sizes) -> dict[str, Any]:
    expression = getattr(rule, setting)
    ratio = sizes.ratio(expression)
    return {
        "group": name,
        "setting": setting,
        "expression": str(expression),
        "ratio": ratio,
        "base": base,
        "value": ratio if base is None else ratio * base,
        "criterion": rule.criteria[setting],
    }


def _symbols(known: Mapping[str, Rule]) -> set[str]:
    """Names of the symbols that the expressions hold."""
    expressions = [getattr(rule, setting) for rule in known.values() for setting in SETTINGS]
    return {str(symbol) for e in expressions for symbol in getattr(e, "free_symbols", ())}


def parametrisation(options: Mapping[str, Any], carried: sp.Expr, known: Mapping[str, Rule]) -> str:
    """What the numbers are numbers of."""
    readout = known["readout"]
    said = [
        f"matrices of std "
        f"sqrt(C/n_in){'' if carried == 1 else f', the last of a branch times {carried}'}",
        f"read-out std {readout.init_std}"
        + ("" if readout.multiplier == 1 else f" times the factor {readout.multiplier}"),
    ]
    if RESIDUAL in known:
        said.append(f"residual branches times {known[RESIDUAL].multiplier}")
    return f"s={options['s']:g}: " + ", ".join(said) + "; all up to constants, which are the base's"


def remarks(
    new: Side, options: Mapping[str, Any], known: Mapping[str, Rule], carried: sp.Expr, sizes: Sizes
) -> list[str]:
    """What the rules do not say by themselves."""
    scores = next((node.scores for block in new.arch.sub_blocks for node in block.attention), None)
    return [
        *(_of_depth(new, carried, sizes) if RESIDUAL in known else []),
        *(_of_decay(known, sizes) if options["optimizer"] != "adam" else []),
        *(_of_scores(scores.scale, options["s"], sizes) if scores is not None else []),
    ]


def _of_depth(new: Side, carried: sp.Expr, sizes: Sizes) -> Iterator[str]:
    grows = growth(new.arch, carried)
    if sizes.ratio(grows) > 1 + 1e-9:
        yield (
            f"residual variance grows as eps^2 P = {grows}, {sizes.ratio(grows):.4g} times: "
            f"gradients then have exponents of their own"
        )
    if sizes.base[N] == 1 and sizes.target[N] > 1:
        yield (
            "loops=1 is an untied network: constants (not exponents) change from 1 to 2 loops, so "
            "a base of 2 loops or more transfers better"
        )


def _of_decay(known: Mapping[str, Rule], sizes: Sizes) -> Iterator[str]:
    shrinks: dict[str, list[str]] = {}
    for name, rule in known.items():
        product = rule.rate_x_decay
        if product is not None and not math.isclose(sizes.ratio(product), 1):
            shrinks.setdefault(f"{sizes.ratio(product):.4g}", []).append(name)
    if shrinks:
        text = ", ".join(
            f"{factor} times ({', '.join(names)})" for factor, names in shrinks.items()
        )
        yield (
            f"rate x decay becomes {text}: the papers leave the decay as the rate changes with "
            f"depth; decay=product keeps the product"
        )


def _of_scores(scale: str, s: float, sizes: Sizes) -> Iterator[str]:
    if not sizes.same(C) and s > 0 and scale == "sqrt":
        yield (
            "head_dim differs: logits take the row of attention, C^(-(1+s)/2); with 1/sqrt(C) "
            "their change in a step grows as C^(s/2)"
        )
    if not sizes.same(C) and s == 0 and scale == "linear":
        yield (
            "score_scale=linear at s=0: the logits' change falls as the heads grow; 1/sqrt(C) "
            "keeps it"
        )
    if scale == "zero_query":
        yield (
            "queries begin at zero: the std of their matrix stays 0, keys have no gradient until "
            "queries have moved"
        )
    if not sizes.same(n) and sizes.same(C):
        yield "head_dim is the same in both, so the logits' factor stays what it is in the base"
