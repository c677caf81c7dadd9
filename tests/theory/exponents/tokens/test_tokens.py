"""Powers of the number of tokens: the counting of orders against numpy's own recursion of T x T
Grams at T = 32 to 256, which is the program's at 2 and 4 tokens; softmax attention and what has
no law get numbers."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import sigprop as sp
from sigprop.architectures import entries, entry
from sigprop.theory.exponents.numerical.limit import NUMERICAL, SHARE, limit_of
from sigprop.theory.exponents.numerical.reach import doublings
from sigprop.theory.exponents.tokens import growth
from sigprop.theory.exponents.tokens.ladder import logarithms_of_tokens
from sigprop.theory.exponents.tokens.laws import laws_of_tokens

Gram = np.ndarray


class Case(NamedTuple):
    """block, activation, cosine, mask and read-out of a transformer of uniform attention."""

    block: str
    activation: str
    cosine: float
    mask: str
    readout: str

    def arch(self, tokens: int = 3) -> sp.Architecture:
        parameters: dict[str, Any] = self._asdict() | {"token_cosine": self.cosine}
        del parameters["cosine"]
        return sp.architectures.transformer(
            **parameters,
            tokens=tokens,
            depth=2,
            score_scale="zero_query",
            norm_kind="rms",
            residual_scale=1.5,
            c_v=1.3,
            c_x=4.0,
            c_w=1.2,
        )


CASES = [
    Case(block, activation, cosine, mask, readout)
    for block, activation in (
        ("attention", "relu"),
        ("transformer", "erf"),
        ("transformer", "relu"),
    )
    for cosine in (0.0, 0.3)
    for mask in ("none", "causal")
    for readout in ("each", "last", "mean")
]


def kernels(case: Case, c: Gram, numbers: Any) -> tuple[Gram, Gram]:
    """<phi, phi'> and <phi', phi''> of arguments of variance c_w and cosines c."""
    size = float(numbers["c_w"])
    c = np.clip(c, -1, 1)
    if case.activation == "relu":
        theta = np.arccos(c)
        value = size * (np.sin(theta) + (np.pi - theta) * c) / (2 * np.pi)
        return value, (np.pi - theta) / (2 * np.pi)
    inside = 2 * size * c / (1 + 2 * size)
    root = np.sqrt((1 + 2 * size) ** 2 - (2 * size * c) ** 2)
    return 2 / np.pi * np.arcsin(inside), 4 / np.pi / root


def recursion(case: Case, tokens: int, layers: int = 2) -> dict[tuple[str, str | None], float]:
    """ln of every quantity at T tokens, constants of each group left out."""
    arch = case.arch()
    numbers = {name: float(np.mean(value)) for name, value in arch.numbers.items()}
    mean = np.ones((tokens, tokens))
    mean = np.tril(mean) if case.mask == "causal" else mean
    mean /= mean.sum(1, keepdims=True)
    q = case.cosine + (1 - case.cosine) * np.eye(tokens)
    square = numbers["residual_scale"] ** 2
    kinds = ["attention", "mlp"] if case.block == "transformer" else ["attention"]
    reads, first, added = [], q, np.zeros(tokens)
    for kind in kinds * layers:
        size = np.sqrt(np.diag(q))
        read = q / np.outer(size, size)
        reads.append((kind, read, size))
        if kind == "attention":
            write = numbers["c_u"] * numbers["c_v"] * mean @ read @ mean.T
        else:
            write = numbers["c_x"] * kernels(case, read, numbers)[0]
        q, added = q + square * write, added + square * np.diag(write)
    last = np.sqrt(np.diag(q))
    middle = q[tokens // 2 - 1, -1] / last[tokens // 2 - 1] / last[-1]
    found = {
        ("residual_rms", None): np.diag(q).mean() ** 0.5,
        ("update", None): added.mean() ** 0.5,
    }
    found["token_cosine", None] = middle
    top = {"each": np.eye(tokens), "mean": np.full((tokens, tokens), tokens**-2.0)}
    g = top.get(case.readout, np.diag(np.eye(tokens)[-1]))
    groups = {"readout": float((g * q).sum())}
    for kind, read, size in reversed(reads):
        parts, g = backward(case, kind, read, (g, mean, numbers, size))
        groups = {name: groups.get(name, 0.0) + parts.get(name, 0.0) for name in groups | parts}
    groups["stem"] = float((g * first).sum())
    found["gradient", None] = np.trace(g)
    found |= {("weight_gradient", name): value for name, value in groups.items()}
    return {key: math.log(value) for key, value in found.items() if value > 1e-300}


def backward(case: Case, kind: str, read: Gram, given: Any) -> tuple[dict[str, float], Gram]:
    """Squared gradients of one sub-block's weights, and the cotangents below it."""
    g, mean, numbers, size = given
    above = numbers["residual_scale"] ** 2 * g
    if kind == "mlp":
        value, slope = kernels(case, read, numbers)
        inside = numbers["c_x"] * above * slope
        parts = {"x": float((above * value).sum()), "w": float((inside * read).sum())}
        return parts, g + numbers["c_w"] * inside / np.outer(size, size)
    values = numbers["c_v"] * read
    spread, head = mean @ values, numbers["c_u"] * above
    below = mean.T @ head @ mean
    crossed = (spread * (mean @ read)) @ mean.T
    scores = mean @ (values * read) @ mean.T - crossed - crossed.T
    scores += (spread @ mean.T) * (mean @ read @ mean.T)
    parts = {
        "u": float((above * (spread @ mean.T)).sum()),
        "v": float((below * read).sum()),
        "q": float((head * read * scores).sum()),
    }
    return parts, g + numbers["c_v"] * below / np.outer(size, size)


SIZES = (32, 64, 128, 256)


@functools.cache
def far(case: Case) -> list[dict[tuple[str, str | None], float]]:
    """The recursion far out."""
    return [recursion(case, size) for size in SIZES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_laws_are_limits(case: Case) -> None:
    """The slope of what the law leaves at the last doubling is below 0.4, so that it is nearer
    to no other whole power (0.75 where the logarithm's power is open)."""
    found = laws_of_tokens(case.arch())
    assert not found.why
    logs = far(case)
    assert set(logs[0]) == set(found.laws), set(logs[0]) ^ set(found.laws)
    for key, law in found.laws.items():
        log, power = float(law.log_exponent or 0), float(law.exponent)
        late = [log * math.log(math.log(size)) for size in SIZES]
        left = [
            one[key] - more - power * math.log(size)
            for one, more, size in zip(logs, late, SIZES, strict=True)
        ]
        slopes = np.diff(left) / math.log(2)
        assert abs(slopes[-1]) < (0.4 if law.log_exponent is not None else 0.75), (key, slopes)


def test_harmonic_sums() -> None:
    """One layer of causal attention over orthogonal tokens, in closed form: update^2 is eps^2 c_v
    H_T/T, the gradient of u eps^2 c_v H_T: the powers -1/2 and 0, each with its logarithm."""
    case = Case("attention", "relu", 0.0, "causal", "each")
    laws = laws_of_tokens(case.arch()).laws
    shown = {key: (str(law.exponent), str(law.log_exponent)) for key, law in laws.items()}
    assert shown["update", None] == ("-1/2", "1/2") and shown["weight_gradient", "u"] == ("0", "1")
    for size in (4, 64):
        harmonic = sum(1 / t for t in range(1, size + 1))
        found = recursion(case, size, layers=1)
        scale = 1.5**2 * 1.3 * harmonic
        assert 2 * found["update", None] == pytest.approx(math.log(scale / size), abs=1e-12)
        assert found["weight_gradient", "u"] == pytest.approx(math.log(scale), abs=1e-12)


@pytest.mark.parametrize(
    "case",
    [
        Case("transformer", "erf", 0.3, "causal", "mean"),
        Case("transformer", "relu", 0.0, "none", "each"),
    ],
    ids=lambda case: case.mask,
)
def test_the_reference_is_the_programs_recursion(case: Case) -> None:
    """From 2 to 4 tokens every quantity moves by the same, to 1e-7."""
    mine = [recursion(case, size) for size in (2, 4)]
    theirs = [logarithms_of_tokens(case.arch(size)) for size in (2, 4)]
    keys = set(theirs[0]) - {("ntk", None)}
    assert keys == set(mine[0])
    for key in keys:
        moved = mine[1][key] - mine[0][key]
        assert theirs[1][key] - theirs[0][key] == pytest.approx(moved, abs=1e-7), key


def test_rows_have_the_law_beside_numbers() -> None:
    """Symbols alone run nothing; ``laws`` holds the sympy objects."""
    case = Case("transformer", "relu", 0.3, "causal", "mean")
    table = sp.exponents(case.arch(), ["tokens"], numbers=False)
    rows = {(row["quantity"], row["group"]): row for row in table}
    assert rows["gradient", None]["exponent"] == "-1" and rows["gradient", None]["leading"] == -1
    assert rows["weight_gradient", "q"]["exponent"] == "-1"
    assert table.laws["weight_gradient", "v", "tokens"].kind == "bounded"
    assert all(row["variable"] == "tokens" and row["leading"] is not None for row in table)


OPPOSED = [[1.0, -0.2, -0.2], [-0.2, 1.0, -0.2], [-0.2, -0.2, 1.0]]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "attention is not uniform"),
        ({"score_scale": "zero_query", "dropout": 0.1}, "attention is not uniform"),
        ({"score_scale": "zero_query", "residual_scale": 0}, "residual_scale is zero"),
        ({"score_scale": "zero_query", "skip_scale": 0}, "skip_scale is zero"),
        ({"score_scale": "zero_query", "input_gram": OPPOSED}, "negative cosine"),
    ],
)
def test_what_has_no_law_says_why(given: dict[str, Any], why: str) -> None:
    found = laws_of_tokens(sp.architectures.transformer(**given))
    assert not found.laws and why in found.why[""]


@pytest.mark.parametrize("name", entries())
def test_every_registered_network_has_laws_or_a_reason(name: str) -> None:
    """Of tokens, at the defaults and with uniform attention where that is a parameter."""
    uniform = {"score_scale": "zero_query", "heads": None}
    defaults = entry(name).defaults
    known = {key: value for key, value in uniform.items() if key in defaults}
    for given in ({}, known if "score_scale" in known else {}):
        found = laws_of_tokens(entry(name).build(**given, tokens=3))
        assert bool(found.laws) != bool(found.why), name
        assert found.laws or found.why[""].startswith("no law: ")


def test_families_say_what_more_tokens_are() -> None:
    """What each token is, is no family; one of one's own says it."""
    words = sp.architectures.transformer(words=(0, 1))
    with pytest.raises(sp.InputError, match="tokens' with words, which says what every token is"):
        sp.exponents(words, ["tokens"], numbers=False)
    with pytest.raises(sp.InputError, match="sizes=\\(1, 2, 4\\); accepted over tokens: from 2"):
        sp.exponents(sp.architectures.transformer(), ["tokens"], sizes=(1, 2, 4))

    def build(depth: int, loops: int) -> sp.Architecture:
        return sp.architectures.residual_mlp(depth=depth)

    family = sp.Family(build, formulas={"residual_scale": "1/sqrt(L)"})
    with pytest.raises(sp.InputError, match="at other numbers of tokens is not said"):
        sp.exponents(build(4, 1), ["tokens"], family=family, numbers=False)
    longer = dataclasses.replace(family, tokens=lambda t: sp.architectures.residual_mlp(tokens=t))
    table = sp.exponents(build(8, 1), ["tokens"], family=longer, numbers=False)
    assert table.filter(quantity="residual_rms")[0]["kind"] == "bounded"


def test_softmax_has_numerical_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a law: an interval from 2 to 64 tokens, which holds uniform attention's
    exponents where its numbers stand in; ``sizes`` go up to twice the last, and too few say so."""
    case = Case("transformer", "erf", 0.3, "none", "each")
    softmax = sp.architectures.transformer(mask="none", token_cosine=0.3)
    seen: list[int] = []

    def numbers(arch: sp.Architecture) -> dict[tuple[str, str | None], float]:
        seen.append(arch.tokens)
        return recursion(case, arch.tokens)

    monkeypatch.setattr(growth, "logarithms_of_tokens", numbers)
    table = sp.exponents(softmax, ["tokens"])
    assert seen == [2, 4, 8, 16, 32, 64]
    laws = laws_of_tokens(case.arch()).laws
    for row in table:
        assert row["exponent"] is None and row["method"] == NUMERICAL
        law = float(laws[row["quantity"], row["group"]].exponent)
        assert abs(row["limit"] - law) <= row["limit_error"], row
    assert "not uniform" in dict(table.notes or {})["why"]["tokens"]
    short = sp.exponents(softmax, ["tokens"], sizes=(2, 4, 8))
    assert {row["method"] for row in short} == {"none: 4 sizes that double, of 5 at least"}


def test_limits_over_tokens_cover() -> None:
    """From 2 to 64 tokens, of uniform attention's exponents, quantity by quantity."""
    sizes = doublings(growth.FARTHEST)
    found: dict[str, list[bool]] = {}
    for case in CASES:
        logs = [recursion(case, size) for size in sizes]
        for key, law in laws_of_tokens(case.arch()).laws.items():
            if not all(key in one for one in logs):
                continue
            states = key[0] in ("residual_rms", "update")
            given = limit_of(sizes, [one[key] for one in logs], not states, False, growth.FEWEST)
            if given.value is not None and given.error is not None:
                inside = abs(given.value - float(law.exponent)) <= given.error
                found.setdefault(key[0], []).append(inside)
    assert {name: len(inside) for name, inside in found.items() if len(inside) < 25} == {}
    assert all(np.mean(inside) >= SHARE for inside in found.values()), found
