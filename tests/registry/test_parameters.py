"""Parameters: every registered default is accepted by its own reader; every error names the
parameter."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.registry.entries import functions
from sigprop.registry.parameters import PARAMETERS
from sigprop.registry.reading import read_parameter, read_parameters

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**5000),
    st.floats(),
    st.text(max_size=20).filter(lambda text: "\0" not in text),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@pytest.mark.parametrize("name", sorted(entries()))
def test_defaults_are_known_accepted_and_build(name: str):
    known = entry(name)
    assert set(known.defaults) <= set(PARAMETERS)
    read = read_parameters(name, known.defaults, known.defaults)
    assert set(read) == set(known.defaults)
    arch = known.build()
    assert arch.name == name and known.reference and known.summary


@pytest.mark.parametrize("name", sorted(PARAMETERS))
@settings(max_examples=60, deadline=None)
@given(value=ANYTHING)
def test_any_value_is_read_or_refused_by_name_in_one_line(name: str, value: object):
    try:
        read = read_parameter(name, value)
    except InputError as error:
        assert str(error).startswith(f"{name}=")
        assert len(str(error).splitlines()) == 1
        assert "accepted" in str(error) or "known" in str(error) or "did you mean" in str(error)
    else:
        # the one limit that is a value
        assert (
            not isinstance(read, float)
            or math.isfinite(read)
            or (name == "head_dim" and read == math.inf)
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", 0),
        ("depth", "1e9"),
        ("depth", -3),
        ("depth", 2.5),
        ("depth", True),
        ("loops", 0),
        ("norm_eps", -1e-9),
        ("token_cosine", 1.5),
    ]
    + [
        ("residual_scale", math.nan),
        ("residual_scale", "inf"),
        ("residual_scale", True),
        ("c_w", "nan"),
        ("norm", "batch"),
        ("matrices", 3),
    ]
    + [
        ("input_gram", "/nowhere/gram.csv"),
        ("input_gram", "http://localhost:9/gram.csv"),
        ("input_gram", [[1, 2], [3]]),
        ("depth", np.eye(3)),
    ],
)
def test_bad_values_say_what_came_and_what_would_do(name: str, value: object):
    with pytest.raises(InputError, match=f"^{name}=.*; accepted: .*") as caught:
        read_parameter(name, value)
    assert len(str(caught.value).splitlines()) == 1


def test_text_and_numbers_read_alike():
    assert read_parameter("depth", "4") == read_parameter("depth", 4.0) == 4
    assert read_parameter("residual_scale", "0.5") == 0.5
    assert read_parameter("residual_scale", "1/N") == "1/N"
    assert read_parameter("c_b", "none") is None


def test_an_unknown_parameter_gets_the_nearest_known_one():
    with pytest.raises(
        InputError, match="looped-mlp has no parameter 'loop'; did you mean 'loops'?"
    ):
        entry("looped-mlp").build(loop=3)


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".npy"])
def test_a_gram_comes_from_a_file(tmp_path: Path, suffix: str):
    gram, path = np.array([[1.0, 0.25], [0.25, 2.0]]), tmp_path / f"gram{suffix}"
    if suffix == ".npy":
        np.save(path, gram)
    else:
        np.savetxt(path, gram, delimiter="," if suffix == ".csv" else " ", header="a comment")
    assert np.array_equal(read_parameter("input_gram", str(path)), gram)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", b""),
        ("a.npy", b"\x80\x04K\x01."),
        ("a.csv", b"1,x"),
        ("a.txt", b"\xff\xfe"),
        ("a.csv", b"1,2\n3"),
    ],
)
def test_a_malformed_gram_file_is_bad_input(tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="^input_gram=.*accepted: a T x T covariance matrix"):
        read_parameter("input_gram", str(path))


@pytest.mark.parametrize("content", ["", "1,2\n", "1,2\n2,1\n", "nan,0\n0,1\n"])
def test_a_gram_that_is_no_covariance_is_bad_input(
    tmp_path: Path, content: str, recwarn: pytest.WarningsRecorder
):
    path = tmp_path / "gram.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="input_gram"):
        entry("mlp").build(input_gram=str(path))
    assert not recwarn.list


def test_too_many_applications_are_refused():
    with pytest.raises(InputError, match="depth=1000000 x loops=8"):
        entry("looped-mlp").build(depth=10**6)


@pytest.mark.parametrize("name", sorted(entries()))
def test_help_shows_types_defaults_and_a_line_a_parameter(name: str):
    """Those that a builder shares with others too; nothing is typed ``Any``."""
    build, defaults = functions()[name], entry(name).defaults
    shown = inspect.signature(build)
    assert {key: one.default for key, one in shown.parameters.items()} == dict(defaults)
    assert shown.return_annotation is Architecture
    assert all(
        one.annotation not in (Any, inspect.Parameter.empty) for one in shown.parameters.values()
    )
    text = " ".join((build.__doc__ or "").split())
    for key in defaults:
        said = f"{key} {PARAMETERS[key].help}: {PARAMETERS[key].accepts}"
        assert " ".join(said.split()) in text, key
    assert max(map(len, (build.__doc__ or "").splitlines())) <= 100


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_types_are_those_of_the_defaults(name: str):
    """A default of the wrong type would be a lie of ``help``."""
    types = {"float": (int, float), "int": (int,), "bool": (bool,)}
    for owner in entries().values():
        default = owner.defaults.get(name)
        if default is not None and (
            kinds := types.get(getattr(PARAMETERS[name].type, "__name__", ""))
        ):
            assert isinstance(default, kinds), (owner.name, default)
