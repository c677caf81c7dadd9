"""Two descriptions held against each other: by what is predicted of them, or entry by entry with
names left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

import sigprop as sp

FORWARD = ("residual_variance", "token_covariance", "gradient_variance")
STEM = ("stem", "embedding", "position")


def predicted(arch: Any, quantities: Sequence[str] = FORWARD) -> dict[tuple[Any, ...], float]:
    """Value of every row, by what names the row; but for gradients of the stem's parts, which what
    is read has as one."""
    keys = ("quantity", "application", "application_2", "token", "token_2", "group")
    table = sp.predict(arch, quantities)
    found = {tuple(row.get(key) for key in keys): row["value"] for row in table}
    assert len(found) == len(table), "or rows go by one name"
    return {key: value for key, value in found.items() if key[-1] not in STEM}


def assert_alike(one: Any, other: Any, quantities: Sequence[str] = FORWARD) -> None:
    """Every prediction of two descriptions agrees to 1e-9 of its value (of 1e-12 where it is 0)."""
    found, expected = predicted(one, quantities), predicted(other, quantities)
    assert found == {key: pytest.approx(value, rel=1e-9) for key, value in expected.items()}
    assert len(found) > len(quantities) and any(found.values())


def _in_order(names: Iterable[str]) -> dict[str, str]:
    return {name: f"n{k}" for k, name in enumerate(dict.fromkeys(names))}


def plain(arch: Any) -> tuple[str, dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """Expressions as text, numbers and slots, names replaced by the order in which they are met."""
    text = repr((arch.sub_blocks, arch.readout.read, arch.kinds))
    numbers = _in_order(re.findall(r"Number\(name='(\w+)'", text))
    weights = _in_order(re.findall(r"weight='(\w+)'", text))
    text = re.sub(r"Number\(name='(\w+)'", lambda m: f"Number({numbers[m[1]]}", text)
    text = re.sub(r"weight='(\w+)'", lambda m: f"weight={weights[m[1]]}", text)
    depth = len(arch.kinds)
    values = {
        numbers[name]: np.broadcast_to(np.asarray(value, float), depth)
        for name, value in arch.numbers.items()
    }
    return text, values, {weights[name]: tuple(table) for name, table in arch.slots.items()}


def assert_same(one: Any, other: Any) -> None:
    """Two descriptions are one but for names: expressions and slots equal, numbers and the stem's
    Gram to 1e-9."""
    (text, numbers, slots), (expected, others, tables) = plain(one), plain(other)
    assert text == expected and slots == tables
    assert numbers.keys() == others.keys()
    for name, values in numbers.items():
        np.testing.assert_allclose(values, others[name], rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(one.input_gram, other.input_gram, rtol=1e-9)
