"""The documentation's worked example: a system of thirty lines is derived, predicted, measured
and confirmed like any other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sympy

import sigprop as sp
from sigprop.cli import run
from sigprop.errors import InputError
from sigprop.registry import entries as registry


@pytest.fixture
def system() -> Iterator[Any]:
    """The builder, registered for one test only: other tests list what the package registers."""
    registry.registered()
    yield importlib.import_module("adding_a_system").normalised_skip
    registry._ENTRIES.pop("normalised-skip")
    registry._FUNCTIONS.pop("normalised-skip")
    del sys.modules["adding_a_system"]


def test_it_is_derived_and_predicted(system: Any):
    """Variance 1 at every depth (unit-gain branches), cos(h_0, h_a) = (1 - alpha^2)^(a/2), and
    that recursion in symbols."""
    arch = system(alpha_0="1/sqrt(S)")
    np.testing.assert_allclose(
        [row["value"] for row in sp.predict(arch, ["residual_variance"])], 1.0, rtol=1e-12
    )
    cosines = [row["value"] for row in sp.predict(arch, ["state_cosine"]) if row["token"] == 0]
    np.testing.assert_allclose(cosines, (1 - 1 / 4) ** (np.arange(1, 5) / 2), rtol=1e-12)
    equation = sp.derive(arch)["state"]
    alpha = sympy.Symbol("alpha", positive=True)
    (before,) = [g for g in equation.rhs.atoms(sympy.Function) if g.func.__name__ == "G"]
    assert sympy.simplify(equation.rhs.coeff(before) - sympy.sqrt(1 - alpha**2)) == 0


def test_it_is_confirmed_and_has_the_commands(system: Any, capfd: pytest.CaptureFixture[str]):
    assert (
        sp.verify(
            system(),
            tolerance=0.05,
            quantities=["residual_variance", "state_cosine", "gradient_variance"],
        ).verdict
        == "confirmed"
    )
    assert run(["predict", "normalised-skip", "--set", "depth=2", "--json"]) == 0
    assert '"normalised-skip"' in capfd.readouterr().out


def test_what_it_refuses(system: Any):
    with pytest.raises(InputError, match="nothing is left of the skip"):
        system(alpha_0=1)
