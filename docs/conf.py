"""Sphinx configuration; the derived equations and the verdict tables of the system pages are
written at build time."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import component_table  # noqa: E402
import first_step_table  # noqa: E402
import real_model_table  # noqa: E402

project = "sigprop"
author = "the sigprop developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
html_theme = "furo"
exclude_patterns = ["_build", "_generated"]
autodoc_typehints = "none"
suppress_warnings = ["autodoc"]

NEIGHBOURS = (
    "completep ",
    "deepnorm ",
    "deeploop ",
    "deepscalelm ",
    "parallel-transformer ",
    "sandwich-transformer ",
)
SYSTEMS = {
    "mlp": ({"activation": "tanh", "c_w": 1.5, "c_b": 0.05}, "mlp "),
    "residual-mlp": ({"activation": "relu"}, "untied "),
    "looped-mlp": ({"depth": 2, "loops": 4, "activation": "relu"}, ("tied ", "looped ")),
    "transformer": ({"activation": "relu", "norm_kind": "rms"}, "transformer "),
    "looped-transformer": ({"activation": "relu", "norm_kind": "rms"}, "looped-transformer "),
    "nag": ({"depth": 4, "tokens": 1}, ("nag ", "looped-nag ")),
    "nag-learned": ({"depth": 4, "tokens": 1, "modulator": "learned"}, "nag skipping "),
    "vanilla": (
        {"tokens": 2, "depth": 2},
        ("vanilla ", "u-spa ", "e-spa ", "value-skipinit ", "shaped-attention "),
    ),
    "value-skipinit": ({"tokens": 2, "depth": 2}, "value-skipinit "),
    "variable-width": (
        {
            "depth": 3,
            "schedule": (4, 2, 4),
            "reference_width": 2,
            "block": "mlp",
            "gated": False,
            "activation": "relu",
            "final_norm": False,
            "tokens": 2,
        },
        "variable-width ",
    ),
    "neighbours": ({}, NEIGHBOURS),
}


def equations(name: str, parameters: dict) -> str:
    """The derived equations of one system as MyST display math, one a line, and the closed
    forms."""
    import sigprop as sp
    from sigprop.architectures import entry

    derivation = sp.derive(entry(name).build(**parameters))
    lines = [f"`{e.name}`\n\n$$\n{e.latex}\n$$\n" for e in derivation.equations]
    if derivation.closed_form:
        lines += ["**Closed form**\n"] + [
            f"`{e.name}`\n\n$$\n{e.latex}\n$$\n" for e in derivation.closed_form
        ]
    if derivation.mean_field:
        lines += [
            "**Mean field** at these parameters: "
            + ", ".join(f"{key} = {value:.6g}" for key, value in derivation.mean_field.items())
            + "\n"
        ]
    return "\n".join(lines)


def verdicts(prefix: str | tuple[str, ...]) -> str:
    """The cases of one system out of docs/verdicts.csv: per case, the row nearest to the
    tolerance."""
    path = HERE / "verdicts.csv"
    if not path.exists():
        return "The product of cases has not been judged yet (`python docs/make_verdicts.py`).\n"
    cases: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(path.open()):

        def reach(r):
            return max(float(r["upper"]), -float(r["lower"]))

        if row["case"].startswith(prefix) and (
            row["case"] not in cases or reach(row) > reach(cases[row["case"]])
        ):
            cases[row["case"]] = row
    head = (
        "| case | tolerance | verdict | nearest row | a | se | 90 % interval |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| {r['case']} | {r['tolerance']} | {r['verdict']} | {r['quantity']} {r['row']} | "
        f"{r['a']} | {r['se']} | {r['lower']} .. {r['upper']} |\n"
        for r in cases.values()
    )


def approximations() -> str:
    """One layer of attention under every approximation: its own rows, the expectation's, and how
    far off they are."""
    import sigprop as sp
    from sigprop.theory.attention.approximations import APPROXIMATIONS

    layer = sp.architectures.transformer(
        block="attention",
        tokens=16,
        token_cosine=0.3,
        head_dim="inf",
        norm="none",
        skip_scale=1e-9,
        c_q=2,
    )
    shown = {
        "residual_variance": "variance",
        "token_covariance": "covariance",
        "participation": "participation",
    }
    head = "| approximation | row | value | expectation | off |\n|---|---|---|---|---|\n"
    lines = []
    for name in APPROXIMATIONS:
        table = sp.predict(layer, list(shown), [0, 1], approximation=name)
        for quantity, label in shown.items():
            row = next(
                r
                for r in table
                if r["quantity"] == quantity and r["application"] == (quantity != "participation")
            )
            lines.append(
                f"| {name} | {label} | {row['value']:.4f} | {row['reference']:.4f} | "
                f"{row['deviation']:+.1%} |\n"
            )
    return head + "".join(lines)


def generate(app: object) -> None:
    """Write docs/_generated (not committed)."""
    out = HERE / "_generated"
    out.mkdir(exist_ok=True)
    (out / "approximations.md").write_text(approximations())
    (out / "real-models.md").write_text(real_model_table.table(real_model_table.FILE))
    (out / "first-step.md").write_text(first_step_table.table(first_step_table.FILE))
    (out / "components.md").write_text(component_table.tables(HERE / "components.csv"))
    for name, (parameters, prefix) in SYSTEMS.items():
        if name != "neighbours":  # their equations are the transformer's
            (out / f"{name}-equations.md").write_text(
                equations(name.removesuffix("-learned"), parameters)
            )
        (out / f"{name}-verdicts.md").write_text(verdicts(prefix))


def columns(app, what, name, obj, options, lines: list[str]) -> None:
    """Write docstrings' lists of ``name   what it is`` as fields; lines that go on are indented."""
    found: list[str] = []
    listed = False
    for line in lines:
        item = re.match(r"(\S+(?:, \S+)*) {2,}(\S.*)", line)
        if item:
            found += [
                *([""] if not listed and found and found[-1] else []),
                f":{item[1]}: {item[2]}",
            ]
            listed = True
        elif listed and line.startswith(" "):
            found.append(f"    {line.strip()}")
        else:
            found += [*([""] if listed and line else []), line]
            listed = False
    lines[:] = found


def setup(app) -> None:
    """Hook into the build."""
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-docstring", columns, priority=400)
