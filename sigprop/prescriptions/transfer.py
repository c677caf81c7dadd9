"""Rules at a base's sizes and at a target's: ratios, numbers, and what the rules do not say by
themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import sympy as sp

from sigprop.errors import InputError
from sigprop.prescriptions.by_recursion import Depth, depths
from sigprop.prescriptions.initial import carries_depth_factor, initial
from sigprop.prescriptions.sides import Side
from sigprop.scaling.multiplier import unknown_in_depth
from sigprop.scaling.rates import RESIDUAL, growth, rules
from sigprop.scaling.rule import SETTINGS, Rule
from sigprop.scaling.sizes import CARRIED, MEANING, C, L, N, n, sizes_of


class Transfer(NamedTuple):
    """Carry settings from a base to a target: options (optimizer, s, decay, ...), the
    rules of both, the factor of depth that output matrices' stds carry, and where no law has depth,
    what the recursion has."""

    base: Side
    target: Side
    options: Mapping[str, Any]
    rules: dict[str, Rule]
    carried: sp.Expr
    depths: Mapping[str, Depth]


def transfer(
    base: Side,
    target: Side,
    options: Mapping[str, Any],
    *,
    init: str | Mapping[str, float] | None,
    carries: bool | None,
) -> Transfer:
    """Return the rules that base and target share; raises ``InputError`` where they have different
    ones."""
    both = (base, target)
    unknown = any(unknown_in_depth(side.arch) is not None for side in both)
    carried = (
        CARRIED if not unknown and carries_depth_factor(base, init, carries) else sp.Integer(1)
    )
    of_base, of_target = (
        rules(side.arch, **options, output_factor=carried, width_only=unknown) for side in both
    )
    for name in of_base.keys() | of_target.keys():
        if of_base.get(name) != of_target.get(name):
            also = " (of muon: n_out/n_in both from 1, or both below)"
            raise InputError(
                f"base and target have different rules for {name!r}; accepted: sides that differ "
                f"in sizes alone{also if options['optimizer'] == 'muon' else ''}"
            )
    heads = [sizes_of(side.arch, side.width)[C] for side in both]
    if options["optimizer"] == "sgd" and options["s"] > 0 and heads[0] != heads[1]:
        raise InputError(
            "head_dim: differs at optimizer='sgd', s > 0, where no rate keeps logits and output "
            "of order one; accepted: the same, or s=0"
        )
    same = all(base.arch.sizes.get(key, 1) == target.arch.sizes.get(key, 1) for key in ("L", "N"))
    measured = {}
    if unknown and not same:
        trained = [name for name, rule in of_target.items() if rule.learning_rate is not None]
        measured = depths(base.arch, target.arch, options["optimizer"], trained)
    return Transfer(base, target, options, of_target, carried, measured)


class Sizes(NamedTuple):
    """Hold the sizes of base and target, as values of the expressions' symbols."""

    base: Mapping[Any, Any]
    target: Mapping[Any, Any]

    def ratio(self, expression: Any) -> float:
        """Return the expression's value at the target over that at the base."""
        return float(expression.subs(self.target) / expression.subs(self.base))

    def same(self, symbol: Any) -> bool:
        """Tell if a size is the same in both."""
        return self.base[symbol] == self.target[symbol]


def rows_of(
    moved: Transfer,
    settings: Mapping[str, Mapping[str, float]],
    init: str | Mapping[str, float] | None,
) -> list[dict[str, Any]]:
    """Return one row a group and setting: expression, its ratio target/base, the base's number and
    the target's (the ratio where the base gave none)."""
    sizes = _sizes(moved)
    numbers = _base_numbers(moved.rules, settings, initial(moved.base, init, moved.rules))
    return [
        {"group": name, "setting": setting}
        | _row(rule, setting, numbers[setting].get(name), sizes)
        | _measured(moved, name, setting, numbers[setting].get(name), sizes)
        for name, rule in moved.rules.items()
        for setting in SETTINGS
        if getattr(rule, setting) is not None
    ]


def notes_of(moved: Transfer) -> dict[str, Any]:
    """Return what the numbers are numbers of, the symbols that stand in them, and remarks."""
    sizes = _sizes(moved)
    used = _symbols(moved.rules)
    unchanged = [
        str(symbol)
        for symbol in sizes.base
        if str(symbol) in used and symbol not in (n, L, N) and sizes.same(symbol)
    ]
    return {
        "parametrisation": _parametrisation(moved),
        "symbols": {name: text for name, text in MEANING.items() if name in used},
        "unchanged": unchanged,
        "remarks": _remarks(moved, sizes),
        **({"muon": _shapes(moved, sizes)} if moved.options["optimizer"] == "muon" else {}),
    }


def _shapes(moved: Transfer, sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Return {group that Muon trains: (n_out, n_in) of the target's matrix}."""
    return {
        name: (int(rule.muon.rows.subs(sizes.target)), int(rule.muon.inputs.subs(sizes.target)))
        for name, rule in moved.rules.items()
        if rule.muon is not None
    }


def _sizes(moved: Transfer) -> Sizes:
    """Return the sizes of both sides."""
    both = (moved.base, moved.target)
    return Sizes(*(sizes_of(side.arch, side.width, side.inputs) for side in both))


def _base_numbers(
    rules: Mapping[str, Rule], settings: Mapping[str, Mapping[str, float]], std: Mapping[str, float]
) -> dict[str, Mapping[str, float]]:
    """Return {setting: {group: the base's number}}, products and multipliers of 1 included."""
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    ones = {name: 1.0 for name, rule in rules.items() if rule.multiplier == 1}
    return {
        **settings,
        "init_std": std,
        "rate_x_decay": {name: rate[name] * decay[name] for name in rate.keys() & decay.keys()},
        "multiplier": {**ones, **settings["multiplier"]},
    }


def _row(rule: Rule, setting: str, base: float | None, sizes: Sizes) -> dict[str, Any]:
    """Return a setting's expression, and its numbers."""
    expression = getattr(rule, setting)
    ratio = sizes.ratio(expression)
    return {
        "expression": str(expression),
        "ratio": ratio,
        "base": base,
        "value": ratio if base is None else ratio * base,
        "criterion": rule.criteria[setting],
    }


def _measured(
    moved: Transfer, name: str, setting: str, base: float | None, sizes: Sizes
) -> dict[str, Any]:
    """Return by what a row is found, and where that is the recursion its own ratio, value and
    error."""
    depth, optimizer = moved.depths.get(name), moved.options["optimizer"]
    decay = "adam" if optimizer == "adam" else moved.options["decay"]
    factor = 1.0 if depth is None else depth.factor(setting, decay)
    if depth is None or factor == 1.0:
        return {"by": "law", "error": None}
    rule, text = moved.rules[name], depth.text
    if setting == "init_std":
        text = "depth as the description has it (rms over blocks)"
    ratio = sizes.ratio(getattr(rule, setting)) * factor
    return {
        "by": "recursion",
        "ratio": ratio,
        "value": ratio if base is None else ratio * base,
        "error": depth.error * (ratio if base is None else ratio * base),
        "depth": factor,
        "criterion": f"{rule.criteria[setting].split('; ')[0]}; {text}",
    }


def _symbols(rules: Mapping[str, Rule]) -> set[str]:
    """Return the names of the symbols that the expressions hold."""
    expressions = [getattr(rule, setting) for rule in rules.values() for setting in SETTINGS]
    return {str(symbol) for e in expressions for symbol in getattr(e, "free_symbols", ())}


def _parametrisation(moved: Transfer) -> str:
    """Say what the numbers are numbers of."""
    carried, readout = moved.carried, moved.rules["readout"]
    parts = [
        f"matrices of std "
        f"sqrt(C/n_in){'' if carried == 1 else f', the last of a branch times {carried}'}",
        f"read-out std {readout.init_std}"
        + ("" if readout.multiplier == 1 else f" times the factor {readout.multiplier}"),
    ]
    if RESIDUAL in moved.rules:
        parts.append(f"residual branches times {moved.rules[RESIDUAL].multiplier}")
    return (
        f"s={moved.options['s']:g}: {', '.join(parts)}; all up to constants, which are the base's"
    )


def _remarks(moved: Transfer, sizes: Sizes) -> list[str]:
    """Say what the rules do not say by themselves."""
    options = moved.options
    attention = (node for block in moved.target.arch.sub_blocks for node in block.attention)
    scores = next((node.scores for node in attention), None)
    return [
        *(_of_depth(moved, sizes) if RESIDUAL in moved.rules else []),
        *(_of_recursion(moved) if moved.depths else []),
        *(_of_decay(moved.rules, sizes) if options["optimizer"] != "adam" else []),
        *(_of_scores(scores.scale, options["s"], sizes) if scores is not None else []),
    ]


def _of_depth(moved: Transfer, sizes: Sizes) -> Iterator[str]:
    """Remark on a residual stream that grows, and on a base without loops."""
    grows = growth(moved.target.arch, moved.carried)
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


def _of_recursion(moved: Transfer) -> Iterator[str]:
    """Remark on what the recursion's numbers are."""
    worst = max(depth.error for depth in moved.depths.values())
    yield (
        f"depth and loops by the recursion at both sizes, to {worst:.1%} (no law: "
        f"{unknown_in_depth(moved.target.arch)}); branches join as the architecture has it there"
    )


def _of_decay(rules: Mapping[str, Rule], sizes: Sizes) -> Iterator[str]:
    """Remark on decay that becomes stronger or weaker a step."""
    shrinks: dict[str, list[str]] = {}
    for name, rule in rules.items():
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
    """Remark on what heads of another size, or queries that begin at zero, do to logits."""
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
