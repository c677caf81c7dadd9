"""The grammar: agrees with Python's arithmetic on what it accepts, executes nothing, and always
ends in one line."""

from __future__ import annotations

import ast
import math
import operator
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.errors import InputError
from sigprop.language.grammar import parse, resolve

SIZES = {"N": 4, "L": 3, "S": 6}
OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
QUICK = settings(max_examples=200, deadline=None)


def _join(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Larger expressions from smaller ones; as Python and as the grammar they read the same."""
    binary = st.tuples(children, st.sampled_from(["+", "-", "*", "/", " * ", "**"]), children).map(
        "".join
    )
    return st.one_of(
        binary,
        children.map("({})".format),
        children.map("sqrt({})".format),
        children.map("-{}".format),
    )


ATOMS = st.one_of(
    st.sampled_from(["N", "L", "S", "0.5", ".25", "2.", "1e-3", "7e2"]), st.integers(0, 9).map(str)
)
EXPRESSIONS = st.recursive(ATOMS, _join, max_leaves=8).filter(lambda text: len(text) <= 100)


def python(node: ast.expr) -> Any:
    """What Python's own parser makes of an expression, in floats."""
    match node:
        case ast.Constant(int() | float() as value):
            return float(value)
        case ast.Name(name):
            return float(SIZES[name])
        case ast.UnaryOp(_, operand):
            return -python(operand)
        case ast.Call(_, [argument]):
            return python(argument) ** 0.5
        case ast.BinOp(left, op, right):
            return OPERATORS[type(op)](python(left), python(right))
    raise AssertionError(ast.dump(node))


@QUICK
@given(EXPRESSIONS)
def test_values_agree_with_python(text: str):
    try:
        expected = python(ast.parse(text.strip(), mode="eval").body)
        fine = isinstance(expected, float) and math.isfinite(expected)
    except (ZeroDivisionError, OverflowError):
        fine, expected = False, math.nan
    if fine:
        assert resolve(text, "residual_scale", SIZES) == pytest.approx(expected, rel=1e-12)
    else:
        with pytest.raises(InputError, match="residual_scale="):
            resolve(text, "residual_scale", SIZES)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=40), st.text("NLS0129.()+-*/^ esqrt_'\"[],", max_size=60)))
def test_any_text_gives_a_finite_number_or_one_line(text: str):
    try:
        assert math.isfinite(resolve(text, "residual_scale", SIZES))
    except InputError as error:
        assert str(error).startswith("residual_scale=")
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "os.system('touch x')",
        "N.__class__",
        "(lambda: 1)()",
        "open('x')",
        "exec",
        "[1][0]",
        "N if L else S",
        "print(1)",
        "1;2",
        "N\nL",
    ],
)
def test_nothing_is_executed(text: str):
    with pytest.raises(
        InputError, match="accepted: a number or an expression in N, L, S"
    ) as caught:
        parse(text, "residual_scale")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "(" * 150,
        "(" * 199,
        "-" * 199 + "1",
        "sqrt(" * 39,
        "2**" * 60 + "1",
        "(" * 60 + "1" + ")" * 60,
        "1" * 10**5,
    ],
)
def test_deep_or_long_text_is_refused_without_a_recursion_error(text: str):
    with pytest.raises(InputError, match="^c_w=.*accepted: "):
        resolve(text, "c_w", SIZES)


@pytest.mark.parametrize("text", ["(" * 25 + "N" + ")" * 25, "1" + "+1" * 99])
def test_ordinary_nesting_and_long_sums_are_read(text: str):
    assert resolve(text, "c_w", SIZES) in (4.0, 100.0)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9",
        "1/(N-N)",
        "(-1)**0.5",
        "((-1)**0.5)**2",
        "sqrt(0-1)",
        "0**-1",
        "1e400",
        "1e400-1e400",
        "9" * 150 + "**99",
    ],
)
def test_no_finite_value_is_quick_and_named(text: str):
    started = time.monotonic()
    with pytest.raises(InputError, match="no finite value at N=4, L=3, S=6"):
        resolve(text, "c_w", SIZES)
    assert time.monotonic() - started < 0.5


def test_precedence():
    cases = {
        "-2**2": -4,
        "2**-1": 0.5,
        "2**3**2": 512,
        "2^3": 8,
        "8/4/2": 1,
        "5-2-1": 2,
        "1/(N*sqrt(L))": 1 / (4 * 3**0.5),
        " N ": 4,
        "S/L": 2,
    }
    for text, value in cases.items():
        assert resolve(text, "c_w", SIZES) == pytest.approx(value), text
