"""The list of cases that theory, engine and verdict must agree on: tests, ``sigprop verify`` and
CI all read this one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sigprop.agreement.biased import buckets, own_but_bias, slopes
from sigprop.agreement.case_tables import (
    BANDS,
    GATED,
    KERNEL,
    NAGS,
    NEIGHBOURS,
    SHORT,
    SKIPLESS,
    SKIPPING,
    SMALL,
    TRANSFORMERS,
    TYING,
    WIDTHS,
)
from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.description.rows import select
from sigprop.language.activations import ACTIVATIONS

QUICK, STRICT = 0.05, 0.01
DEPTHS = 3


@dataclass(frozen=True)
class Case:
    """Hold one architecture and the tolerance it is judged at; quantities, applications: None for
    those that a verdict looks at unasked."""

    label: str
    architecture: Architecture
    tolerance: float
    quantities: tuple[str, ...] | None = None
    applications: tuple[int, ...] | None = None


def registered(tolerance: float) -> list[Case]:
    """Return every registered architecture with its default parameters (of ``DEPTHS`` applications
    or more); at ``QUICK`` the states and their gradients only."""
    cases = []
    for name, architecture in sorted(entries().items()):
        arch = architecture.build()
        arch = arch if arch.depth >= DEPTHS else architecture.build(depth=DEPTHS)
        short = tuple(quantity for quantity in SHORT if select(arch, [quantity]))
        cases.append(Case(name, arch, tolerance, short if tolerance == QUICK else None))
    return cases


def product() -> list[Case]:
    """Return activation x {untied, tied, looped} x {no norm, pre} x {1, 2 matrices} x {1, 3
    tokens}, and feed-forward stacks, at 1 %."""
    names = sorted(ACTIVATIONS)
    cases = [
        _case(tying, activation=act, norm=norm, matrices=matrices, tokens=tokens)
        for act, tying, norm, matrices, tokens in itertools.product(
            names, TYING, ("none", "pre"), (1, 2), (1, 3)
        )
    ]
    return cases + [
        Case(
            f"mlp {act} {STRICT:g}",
            entry("mlp").build(depth=4, activation=act, c_b=0.1, tokens=3, token_cosine=0.3),
            STRICT,
        )
        for act in names
    ]


def _case(tying: str, **parameters: Any) -> Case:
    """Return one of ``product``."""
    name, sizes = TYING[tying]
    cosine = {"token_cosine": 0.3} if parameters["tokens"] > 1 else {}
    label = (
        f"{tying} {parameters['activation']} {parameters['norm']} {parameters['matrices']} "
        f"{parameters['tokens']} {STRICT:g}"
    )
    return Case(label, entry(name).build(**sizes, **parameters, **cosine), STRICT)


def transformers() -> list[Case]:
    """Return attention and its variants, untied and looped, at 5 %; the NTK of two blocks at 3 %;
    twelve sub-blocks of 8 tokens at 1 %."""
    cases = [
        Case(f"{label} {QUICK:g}", entry(label.split()[0]).build(**{**SMALL, **given}), QUICK)
        for label, given in TRANSFORMERS.items()
    ]
    two = entry("transformer").build(depth=2, tokens=2, mlp_ratio=1, head_dim=4, residual_scale=0.5)
    deep = entry("transformer").build(
        depth=6,
        tokens=8,
        token_cosine=0.3,
        head_dim=64,
        c_w=1,
        c_x=1,
        residual_scale=1,
        norm_kind="layer",
    )
    states = Case(
        "transformer twelve sub-blocks 0.01",
        deep,
        STRICT,
        ("residual_variance", "token_covariance"),
        (1, 2, 6, 12),
    )
    return [*cases, Case("transformer ntk 0.03", two, 0.03, ("ntk",)), states]


def norm_agnostic() -> list[Case]:
    """Return norm-agnostic networks at 1 %, with transformer blocks at 5 %, and the share that
    Mixture-of-Depths skips at every application to 0.01."""
    blocks = entry("nag").build(
        depth=2, block="transformer", activation="gelu", head_dim=4, **SMALL
    )
    return [
        *_named(NAGS, STRICT, tokens=2),
        Case(f"nag transformer {QUICK:g}", blocks, QUICK),
        *(
            Case(
                f"nag skipping C={directions} {STRICT:g}",
                entry("nag").build(**SKIPPING, directions=directions),
                STRICT,
                ("skip_rate",),
                tuple(range(32)),
            )
            for directions in (1, 32)
        ),
    ]


def skipless() -> list[Case]:
    """Return skipless networks at 1 %, and their groups of parameters away from the start at 5 %:
    there (Q, K and gates, ``GATED``) theory's own error can be most of 1 %."""
    at_start = [
        replace(case, quantities=KERNEL) if given.get("shape_beta") else case
        for case, given in zip(_named(SKIPLESS, STRICT), SKIPLESS.values(), strict=True)
    ]
    return [*at_start, *_named(GATED, QUICK)]


def variable_widths() -> list[Case]:
    """Return bands of variable widths at 5 %."""
    narrow = {"depth": 4, "schedule": (32, 16, 8, 32), "reference_width": 16, **SMALL}
    return [
        Case(
            f"{label} {QUICK:g}", entry("variable-width").build(**{**narrow, **given}), QUICK, BANDS
        )
        for label, given in WIDTHS.items()
    ]


def neighbours() -> list[Case]:
    """Return transformers that differ in one idea, at 5 %."""
    return [Case(f"{name} {QUICK:g}", entry(name).build(**SMALL), QUICK) for name in NEIGHBOURS]


def biased() -> list[Case]:
    """Return biases on scores, head by head, at 5 %: fixed slopes; drawn numbers that applications
    share, each its own, and where they alone differ between heads."""
    found = {
        "slopes untied": slopes(range(2)),
        "slopes looped": slopes([0] * 2, "none"),
        "buckets shared": buckets(own_but_bias(2)),
        "buckets untied": buckets(range(2), mask="causal"),
        "buckets looped zero_query": buckets([0] * 2, scale="zero_query"),
    }
    return [Case(f"{label} {QUICK:g}", arch, QUICK) for label, arch in found.items()]


def _named(table: Mapping[str, Mapping[str, Any]], tolerance: float, **shared: Any) -> list[Case]:
    """Return a case a line of a table; a label's first word is the architecture."""
    return [
        Case(f"{label} {tolerance:g}", entry(label.split()[0]).build(**shared, **given), tolerance)
        for label, given in table.items()
    ]


def every() -> list[Case]:
    """Return all cases: what ``sigprop verify --all`` judges and docs/verdicts.csv records; every
    registered network with its defaults at 1 % is one of them."""
    cases = [
        *product(),
        *transformers(),
        *norm_agnostic(),
        *skipless(),
        *variable_widths(),
        *neighbours(),
        *biased(),
    ]

    judged = {
        _described(case) for case in cases if case.tolerance == STRICT and case.quantities is None
    }
    defaults = [case for case in registered(STRICT) if _described(case) not in judged]
    return cases + [replace(case, label=f"default {case.label} {STRICT:g}") for case in defaults]


def _described(case: Case) -> tuple[str, str]:
    """Return what a case is about, whatever it is judged on."""
    return (case.architecture.name, repr(case.architecture.parameters))
