"""The list of cases that theory, engine and verdict must agree on: tests, ``sigprop verify`` and
CI all read this one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.description.rows import select
from sigprop.language.activations import ACTIVATIONS

QUICK, STRICT = 0.05, 0.01
DEPTHS = 3
SHORT = ("residual_variance", "token_covariance", "state_cosine", "log_norm", "gradient_variance")
TYING: dict[str, tuple[str, dict[str, int]]] = {
    "untied": ("residual-mlp", {"depth": 4}),
    "tied": ("looped-mlp", {"depth": 1, "loops": 4}),
    "looped": ("looped-mlp", {"depth": 3, "loops": 4}),
}


@dataclass(frozen=True)
class Case:
    """One architecture and the tolerance it is judged at; quantities, applications: None for
    those that a verdict looks at unasked."""

    label: str
    architecture: Architecture
    tolerance: float
    quantities: tuple[str, ...] | None = None
    applications: tuple[int, ...] | None = None


def registered(tolerance: float) -> list[Case]:
    """Every registered architecture with its default parameters (of ``DEPTHS`` applications or
    more); at ``QUICK`` the states and their gradients only."""
    cases = []
    for name, found in sorted(entries().items()):
        arch = found.build()
        arch = arch if arch.depth >= DEPTHS else found.build(depth=DEPTHS)
        short = tuple(quantity for quantity in SHORT if select(arch, [quantity]))
        cases.append(Case(name, arch, tolerance, short if tolerance == QUICK else None))
    return cases


def product() -> list[Case]:
    """activation x {untied, tied, looped} x {no norm, pre} x {1, 2 matrices} x {1, 3 tokens},
    and feed-forward stacks, at 1 %."""
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
    name, sizes = TYING[tying]
    cosine = {"token_cosine": 0.3} if parameters["tokens"] > 1 else {}
    label = (
        f"{tying} {parameters['activation']} {parameters['norm']} {parameters['matrices']} "
        f"{parameters['tokens']} {STRICT:g}"
    )
    return Case(label, entry(name).build(**sizes, **parameters, **cosine), STRICT)


SMALL = {"tokens": 3, "mlp_ratio": 2}
# at base 10^4 and few tokens a check of rotary is blind
FAST = {"positions": "rotary", "rope_base": 5, "token_cosine": 0.8, "c_q": 4}
BIAS = ((0.0, -1.0, -2.0), (1.0, 0.0, -1.0), (2.0, 1.0, 0.0))
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformer attention": {"block": "attention", "depth": 2},
    "transformer": {},
    "transformer causal": {"mask": "causal"},
    "transformer grouped": {"block": "attention", "heads": 4, "kv_heads": 2},
    "transformer rotary": {"block": "attention", **FAST},
    "transformer capped": {"block": "attention", "softcap": 1.0, "c_q": 9},
    "transformer qk-norm": {"block": "attention", "qk_norm": True, "softcap": 2.0},
    "transformer qk-norm rotary": {"block": "attention", "qk_norm": True, **FAST},
    "transformer biased": {
        "block": "attention",
        "attention_bias": BIAS,
        "attention_rescale": (1.0, 0.5, 2.0),
        "c_q": 4,
    },
    "transformer swiglu": {"activation": "silu", "gated": True},
    "transformer zero-query": {"score_scale": "zero_query", "depth": 2},
    "transformer linear": {"score_scale": "linear", "heads": 2},
    "transformer sandwich": {"norm": "sandwich"},
    "transformer no norm": {"norm": "none", "residual_scale": 0.5},
    **{
        f"transformer post {readout}": {"norm": "post", "readout": readout}
        for readout in ("each", "last", "mean")
    },
    "looped-transformer attention": {"block": "attention", "loops": 4},
    "looped-transformer causal": {"mask": "causal"},
    **{
        f"looped-transformer N={n} eps={eps}": {"loops": n, "residual_scale": eps}
        for n in (2, 4)
        for eps in ("1", "1/sqrt(N)", "1/N")
    },
}


def transformers() -> list[Case]:
    """Attention and its variants, untied and looped, at 5 %; the NTK of two blocks at 3 %;
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


SKIPPING = {"depth": 32, "tokens": 1, "modulator": "learned", "mod_rate": 0.25}
NAGS: dict[str, dict[str, Any]] = {
    "nag": {},
    "nag tanh": {"activation": "tanh"},
    "looped-nag": {},
    "looped-nag blocks": {"depth": 3, "loops": 4},
}
WIDTHS: dict[str, dict[str, Any]] = {
    "variable-width bands": {},
    "variable-width zero": {"resize": "zero"},
    "variable-width head_dim": {"score_scale": "sqrt", "heads": None, "head_dim": 4},
}
SKIPLESS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "u-spa": {},
    "e-spa": {},
    "vanilla transformer": {"block": "transformer", "depth": 18, "mlp_ratio": 1},
    "u-spa skips": {
        "block": "transformer",
        "depth": 2,
        "mlp_ratio": 1,
        "skip_scale": "sqrt(1-2/S)",
    },
    "value-skipinit": {},
    "value-skipinit beta=0.1": {"shape_beta": 0.1},
    "value-skipinit beta=0.5": {"shape_beta": 0.5},
    "shaped-attention": {},
    "shaped-attention gamma=0.5": {"shape_gamma": 0.5, "mask": "none"},
}
# all their groups of parameters
GATED = {
    "value-skipinit beta=0.1": {"shape_beta": 0.1},
    "value-skipinit beta=0.5": {"shape_beta": 0.5, "c_q": 4},
}
KERNEL = ("residual_variance", "token_covariance", "gradient_variance", "gradient_covariance")
BANDS = (
    "residual_variance",
    "matrix_entropy",
    "band_variance",
    "band_covariance",
    "gradient_variance",
    "band_gradient",
)
NEIGHBOURS = (
    "completep",
    "deepnorm",
    "deeploop",
    "deepscalelm",
    "parallel-transformer",
    "sandwich-transformer",
)


def others() -> list[Case]:
    """Norm-agnostic networks at 1 %, the share that Mixture-of-Depths skips at every application
    to 0.01; skipless ones at 1 %, their groups of parameters away from the start, bands of
    variable widths and the neighbours at 5 %."""
    nags = [
        Case(f"{label} {STRICT:g}", entry(label.split()[0]).build(tokens=2, **given), STRICT)
        for label, given in NAGS.items()
    ]
    blocks = Case(
        f"nag transformer {QUICK:g}",
        entry("nag").build(depth=2, block="transformer", activation="gelu", head_dim=4, **SMALL),
        QUICK,
    )
    skips = [
        Case(
            f"nag skipping C={c} {STRICT:g}",
            entry("nag").build(**SKIPPING, directions=c),
            STRICT,
            ("skip_rate",),
            tuple(range(32)),
        )
        for c in (1, 32)
    ]
    narrow = {"depth": 4, "schedule": (32, 16, 8, 32), "reference_width": 16, **SMALL}
    widths = [
        Case(
            f"{label} {QUICK:g}", entry("variable-width").build(**{**narrow, **given}), QUICK, BANDS
        )
        for label, given in WIDTHS.items()
    ]

    # (Q, K and gates there: ``GATED``, theory's own error can be most of 1 %)
    def kernels(given):
        return KERNEL if given.get("shape_beta") else None

    skipless = [
        Case(f"{label} {STRICT:g}", entry(label.split()[0]).build(**given), STRICT, kernels(given))
        for label, given in SKIPLESS.items()
    ]
    groups = [
        Case(f"{label} {QUICK:g}", entry("value-skipinit").build(**given), QUICK)
        for label, given in GATED.items()
    ]
    return [
        *nags,
        blocks,
        *skips,
        *skipless,
        *groups,
        *widths,
        *(Case(f"{name} {QUICK:g}", entry(name).build(**SMALL), QUICK) for name in NEIGHBOURS),
    ]


def every() -> list[Case]:
    """All cases: what ``sigprop verify --all`` judges and docs/verdicts.csv records; every
    registered network with its defaults at 1 % is one of them."""
    found = product() + transformers() + others()

    def described(case):
        return (case.architecture.name, repr(case.architecture.parameters))

    judged = {
        described(case) for case in found if case.tolerance == STRICT and case.quantities is None
    }
    defaults = [case for case in registered(STRICT) if described(case) not in judged]
    return found + [replace(case, label=f"default {case.label} {STRICT:g}") for case in defaults]
