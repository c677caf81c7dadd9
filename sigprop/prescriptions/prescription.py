"""What ``prescribe`` returns: a table of settings by group, as text, JSON, CSV, Markdown and
LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sigprop.errors import InputError, near_miss
from sigprop.tables.cells import cell
from sigprop.tables.layout import columns_of, grid, total, wrapped
from sigprop.tables.plain import plain
from sigprop.tables.table import Table

KEYS = ("groups", "setting")
SHOWN = 4  # digits of what the recursion found


@dataclass(frozen=True, eq=False, repr=False)
class Prescription(Table):
    """Rows: group, setting, expression, ratio (target over base), base, value, criterion.

    rules   {group: ``sigprop.scaling.rule.Rule``}, the expressions as sympy objects
    """

    rules: Mapping[str, Any] = field(default_factory=dict)

    @property
    def optimizer(self) -> str:
        """sgd, adam, adamw or muon."""
        return self.parameters["optimizer"]

    @property
    def muon(self) -> Mapping[str, tuple[int, int]]:
        """Return {group that Muon trains: (n_out, n_in) of the target's matrix}; {} for other
        optimizers."""
        return (self.notes or {}).get("muon", {})

    def row(self, group: str, setting: str) -> dict[str, Any]:
        """Return the row of a group's setting; raises ``InputError`` for unknown ones."""
        settings = {row["setting"]: row for row in self._of(group)}
        if setting not in settings:
            raise InputError(f"{group} has no setting {setting!r}; accepted: {', '.join(settings)}")
        return settings[setting]

    def _of(self, group: str) -> list[dict[str, Any]]:
        """Return a group's rows; raises ``InputError`` for an unknown one."""
        groups = dict.fromkeys(row["group"] for row in self.rows)
        if group not in groups:
            raise InputError(f"group {group!r}{near_miss(group, groups)}")
        return [row for row in self.rows if row["group"] == group]

    def value(self, group: str, setting: str) -> float:
        """Return the target's number; the ratio to the base's where the base gave none."""
        return self.row(group, setting)["value"]

    def explain(self, group: str) -> str:
        """Say in a few lines where each setting of a group comes from: its monomial, what fixes it,
        and the numbers at both sizes. Raises ``InputError`` for unknown groups."""
        sides = (_sizes(self.parameters.get(side, {})) for side in ("base", "target"))
        lines = [f"{group}, {self.optimizer}: {' -> '.join(sides)}"]
        for row in self._of(group):
            if row["expression"] != "1":
                by = (
                    "" if row.get("by") != "recursion" else f", of it {cell(row['depth'])} by depth"
                )
                lines.append(f"{row['setting']} ~ {row['expression']}: x {cell(row['ratio'])}{by}")
                lines.append(f"    {row['criterion']}")
        return "\n".join(lines)

    def to_latex(self) -> str:
        r"""Return a ``tabular`` with one block of lines for groups of the same rules; \hline, no
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
        """Return the rule without sizes (other than n, L, N) that are the same in both."""
        rule = getattr(self.rules[row["group"]], row["setting"])
        unchanged = (self.notes or {}).get("unchanged", ())
        shown = rule.subs({symbol: 1 for symbol in rule.free_symbols if str(symbol) in unchanged})
        if row.get("by") != "recursion":
            return shown
        from sympy import Float

        return Float(row["depth"], SHOWN) * shown

    def _blocks(self) -> list[tuple[list[str], list[dict[str, Any]]]]:
        """(groups that share every number, their rows): multipliers of 1 that are 1 in the base are
        not worth a line."""
        by_group: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            if (row["setting"], row["expression"], row["base"]) != ("multiplier", "1", 1.0):
                by_group.setdefault(row["group"], []).append(row)
        blocks: dict[tuple[Any, ...], tuple[list[str], list[dict[str, Any]]]] = {}
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
            blocks.setdefault(same, ([], block))[0].append(name)
        return list(blocks.values())

    def to_text(self, width: int | None = None) -> str:
        """Return the settings by groups of the same rules, in lines of at most ``width`` characters
        (None: of any length)."""
        notes = self.notes or {}
        sides = [_sizes(self.parameters.get(side, {})) for side in ("base", "target")]
        title = f"{self.architecture} (prescribe, {self.optimizer}): {' -> '.join(sides)}"
        head = [title, *filter(None, [notes.get("parametrisation")])]
        values, starts = self._columns()
        columns, reasons = columns_of(values, KEYS), []
        if width is not None and total(columns) > width:
            values, reasons = _numbered(values)
            columns = columns_of(values, KEYS)
        rows = grid(columns, width, starts=starts[1:])
        reasons += ["", f"columns left out: {'; '.join(self._left_out(values))}"]
        remarks = (f"note: {remark}" for remark in notes.get("remarks", ()))
        below = [*reasons, *_symbols(notes), *remarks]
        lines = [*head, "", *rows, *below]
        return "\n".join(part for line in lines for part in (wrapped(line, width) or [""]))

    def _left_out(self, shown: Mapping[str, Any]) -> list[str]:
        """Name the columns that the text does not have, and say why."""
        none = "base, value (no settings of the base were given)"
        measured = any(row.get("by") == "recursion" for row in self.rows)
        by = (
            "by, error, depth (said under criterion and in a note)"
            if measured
            else "by, error (every row is by a law)"
        )
        return [*([] if "base" in shown else [none]), by]

    def _columns(self) -> tuple[dict[str, list[Any]], list[int]]:
        """(columns that are shown, where blocks begin)."""
        names = ("groups", "setting", "expression", "ratio", "base", "target", "criterion")
        rows: list[tuple[Any, ...]] = []
        starts = []
        for groups, block in self._blocks():
            starts.append(len(rows))
            labels = [", ".join(groups), *[""] * (len(block) - 1)]
            for label, row in zip(labels, block, strict=True):
                target = None if row["base"] is None else row["value"]
                numbers = (row["ratio"], row["base"], target)
                rows.append((label, row["setting"], self._shown(row), *numbers, row["criterion"]))
        columns = {name: [row[k] for row in rows] for k, name in enumerate(names)}
        if not any(value is not None for value in columns["base"]):
            del columns["base"], columns["target"]
        return columns, starts


def _numbered(columns: dict[str, list[Any]]) -> tuple[dict[str, list[Any]], list[str]]:
    """(columns with numbers for the criteria, which many rows share; the criteria by number)."""
    criteria = list(dict.fromkeys(columns["criterion"]))
    numbers = {text: k for k, text in enumerate(criteria, 1)}
    short = {name: values for name, values in columns.items() if name != "criterion"}
    short["why"] = [numbers[text] for text in columns["criterion"]]
    size = len(str(len(criteria)))
    return short, ["", "why (criterion)", *(f"{k:>{size}}  {text}" for text, k in numbers.items())]


def _sizes(side: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={cell(plain(value))}" for key, value in side.items())


def _symbols(notes: Mapping[str, Any]) -> list[str]:
    """Say what the sizes in expressions stand for."""
    symbols = notes.get("symbols")
    if not symbols:
        return []
    kept = [
        f"{name} {meaning}" for name, meaning in symbols.items() if name not in notes["unchanged"]
    ]
    left = [f"{name} {symbols[name]}" for name in notes["unchanged"]]
    more = f"; left out above, the same in both: {', '.join(left)}" if left else ""
    return ["", f"sizes: {', '.join(kept)}{more}"]


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
