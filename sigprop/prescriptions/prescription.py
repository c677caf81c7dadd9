"""What ``prescribe`` returns: a table of settings by group, as text, JSON, CSV, Markdown and
LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sigprop.errors import InputError, near_miss
from sigprop.tables.cells import cell, grid
from sigprop.tables.plain import plain
from sigprop.tables.table import Table


@dataclass(frozen=True, eq=False, repr=False)
class Prescription(Table):
    """Rows: group, setting, expression, ratio (target over base), base, value, criterion.

    rules   {group: ``sigprop.scaling.rates.Rule``}, the expressions as sympy objects
    """

    rules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def optimizer(self) -> str:
        """sgd, adam or adamw."""
        return self.parameters["optimizer"]

    def row(self, group: str, setting: str) -> dict[str, Any]:
        """The row of a group's setting; raises ``InputError`` for unknown ones."""
        groups = dict.fromkeys(row["group"] for row in self.rows)
        if group not in groups:
            raise InputError(f"group {group!r}{near_miss(group, groups)}")
        settings = {row["setting"]: row for row in self.rows if row["group"] == group}
        if setting not in settings:
            raise InputError(f"{group} has no setting {setting!r}; accepted: {', '.join(settings)}")
        return settings[setting]

    def value(self, group: str, setting: str) -> float:
        """The target's number; the ratio to the base's where the base gave none."""
        return self.row(group, setting)["value"]

    def to_latex(self) -> str:
        r"""A ``tabular`` with one block of lines for groups of the same rules; \hline, no
        packages."""
        from sympy import latex

        lines = [
            r"\begin{tabular}{llllrr}",
            r"\hline",
            r"group & setting & expression & ratio & base & target \\",
            r"\hline",
        ]
        for names, block in self._blocks():
            for k, row in enumerate(block):
                formula = f"${latex(self._shown(row))}$"
                numbers = (row["ratio"], row["base"], None if row["base"] is None else row["value"])
                shown = [
                    _tex(", ".join(names)) if k == 0 else "",
                    _tex(row["setting"]),
                    formula,
                    *map(_power, numbers),
                ]
                lines.append(" & ".join(shown) + r" \\")
            lines.append(r"\hline")
        return "\n".join([*lines, r"\end{tabular}"])

    def _shown(self, row: Mapping[str, Any]) -> Any:
        """The rule without sizes (other than n, L, N) that are the same in both."""
        rule = getattr(self.rules[row["group"]], row["setting"])
        unchanged = (self.notes or {}).get("unchanged", ())
        return rule.subs({symbol: 1 for symbol in rule.free_symbols if str(symbol) in unchanged})

    def _blocks(self) -> list[tuple[list[str], list[dict[str, Any]]]]:
        """(groups that share every number, their rows): multipliers that are 1 are not worth a
        line."""
        by_group: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            if row["setting"] != "multiplier" or row["expression"] != "1":
                by_group.setdefault(row["group"], []).append(row)
        found: dict[tuple[Any, ...], tuple[list[str], list[dict[str, Any]]]] = {}
        for name, block in by_group.items():
            shown = [
                {
                    key: self._shown(row) if key == "expression" else value
                    for key, value in row.items()
                    if key != "group"
                }
                for row in block
            ]
            same = tuple(tuple(row.values()) for row in shown)
            found.setdefault(same, ([], block))[0].append(name)
        return list(found.values())

    def __str__(self) -> str:
        notes = self.notes or {}
        sizes = [
            ", ".join(
                f"{key}={cell(plain(value))}"
                for key, value in self.parameters.get(side, {}).items()
            )
            for side in ("base", "target")
        ]
        out = [
            f"{self.architecture} (prescribe, {self.optimizer}): {sizes[0]} -> {sizes[1]}",
            *filter(None, [notes.get("parametrisation")]),
            "",
        ]
        columns: dict[str, list[Any]] = {
            name: []
            for name in ("groups", "setting", "expression", "ratio", "base", "target", "criterion")
        }
        starts = []
        for names, block in self._blocks():
            starts.append(len(columns["setting"]))
            shown = [", ".join(names), *[""] * (len(block) - 1)]
            for label, row in zip(shown, block, strict=True):
                target = None if row["base"] is None else row["value"]
                values = (
                    label,
                    row["setting"],
                    self._shown(row),
                    row["ratio"],
                    row["base"],
                    target,
                    row["criterion"],
                )
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
        if not any(value is not None for value in columns["base"]):
            del columns["base"], columns["target"]
        lines = grid(columns)
        for start in reversed(starts[1:]):
            lines.insert(2 + start, "")
        if symbols := notes.get("symbols"):
            kept = ", ".join(
                f"{symbol} {meaning}"
                for symbol, meaning in symbols.items()
                if symbol not in notes["unchanged"]
            )
            left = ", ".join(f"{symbol} {symbols[symbol]}" for symbol in notes["unchanged"])
            lines += [
                "",
                f"sizes: {kept}" + (f"; left out above, the same in both: {left}" if left else ""),
            ]
        return "\n".join(
            [*out, *lines, *(f"note: {remark}" for remark in notes.get("remarks", ()))]
        )

    __repr__ = __str__


def _tex(text: str) -> str:
    return text.replace("_", r"\_")


def _power(value: float | None) -> str:
    """6 digits, exponents as powers of ten."""
    head, _, exponent = cell(value).partition("e")
    return (
        (rf"${head}\times 10^{{{int(exponent)}}}$" if exponent else head)
        if value is not None
        else ""
    )
