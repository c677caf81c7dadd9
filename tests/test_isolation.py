"""Theory and simulation do not need each other, and importing sigprop changes nothing outside
it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(PREFIX):
            raise ImportError(f"{name} is not there")

sys.meta_path.insert(0, Refuse())
"""
SMALL = """
import sigprop as sp
from sigprop.architectures import entries
assert set(entries()) >= {"looped-mlp", "mlp", "residual-mlp"}
small = {name: entry.build(depth=2) for name, entry in entries().items()}
"""
FEW = """
small = {name: small[name] for name in ("mlp", "looped-mlp", "nag")}
"""
STATES = "['residual_variance']"
MEASURE = """
for name, arch in small.items():
    table = sp.measure(arch, quantities=QUANTITIES, width=8, samples=4)
    assert len(table) and all(row["value"] is not None for row in table), name
"""
PREDICT = """
for name, arch in small.items():
    table = sp.predict(arch, quantities=QUANTITIES)
    assert len(table) and all(row["value"] is not None for row in table), name
"""


def both_ways(task: str) -> str:
    """A task for the states of every architecture, and for all quantities of a few."""
    return task.replace("QUANTITIES", STATES) + FEW + task.replace("QUANTITIES", "None")


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize(
    ("missing", "task", "other"),
    [("sigprop.theory", MEASURE, "sp.predict"), ("sigprop.simulations", PREDICT, "sp.measure")],
    ids=["measure without theory", "predict without simulations"],
)
def test_each_half_works_without_the_other(missing: str, task: str, other: str):
    """The states of every registered architecture, all quantities of a few; what is blocked really
    is: the other half's function cannot be had."""
    check = (
        f"assert not any(name.startswith({missing!r}) for name in sys.modules)\ntry:\n    "
        f"{other}\nexcept ImportError:\n    print('done')"
    )
    done = python(BLOCK.replace("PREFIX", repr(missing)) + SMALL + both_ways(task) + check)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.long
@pytest.mark.parametrize(("missing", "task"), [("theory", MEASURE), ("simulations", PREDICT)])
def test_each_half_works_for_every_quantity_without_the_other(missing: str, task: str):
    """All quantities of every registered architecture."""
    whole = task.replace("QUANTITIES", "None")
    done = python(BLOCK.replace("PREFIX", repr(f"sigprop.{missing}")) + SMALL + whole)
    assert done.returncode == 0, done.stderr


def test_deriving_needs_no_simulation():
    done = python(
        BLOCK.replace("PREFIX", "'sigprop.simulations'")
        + "import sigprop as sp\nassert len(str(sp.derive(sp.architectures.mlp(depth=2)))) > 100"
    )
    assert done.returncode == 0, done.stderr


def test_the_configuration_of_jax_and_numpy_is_left_alone():
    """Every option of jax.config, numpy's error state and the environment before import are
    those after a prediction and a measurement."""
    state = (
        "(dict(jax.config.values), np.geterr(), np.get_printoptions(), dict(os.environ), "
        "jax.numpy.ones(1).dtype)"
    )
    code = (
        f"import os, jax, numpy as np\nbefore = {state}\n{SMALL}\nfrom "
        f"sigprop.agreement.verify import verify\n{FEW}\n{MEASURE}\n{PREDICT}\n"
    )
    code = code.replace("QUANTITIES", "None") + "sp.derive(small['mlp'])\n"
    code += (
        f"after = {state}\nassert before[0] and before[4] == np.float32\nassert "
        f"len(before[0]) > 50 and 'jax_enable_x64' in before[0]\n"
    )
    code += "for one, other in zip(before, after):\n    assert one == other, (one, other)\n"
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_the_comparison_of_configurations_can_fail():
    code = (
        "import jax\nbefore = dict(jax.config.values)\njax.config.update('jax_enable_x64', "
        "True)\nassert before != dict(jax.config.values)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "lines",
    [
        "import sigprop",
        "import sigprop.cli",
        "import sigprop as sp; dir(sp); sp.__version__; sp.Table; sp.InputError",
    ],
)
def test_importing_sigprop_imports_no_heavy_package(lines: str):
    done = python(
        lines + "\nimport sys\nprint(sorted({'jax', 'jaxlib', 'sympy', 'matplotlib', 'scipy'} & "
        "set(sys.modules)))"
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_missing_name_is_an_attribute_error():
    names = "import sigprop\nfor name in sigprop.__all__: getattr(sigprop, name)\n"
    done = python(
        names + "try:\n    sigprop.nothing\nexcept AttributeError as error:\n    print(error)"
    )
    assert (done.returncode, done.stdout) == (0, "module 'sigprop' has no attribute 'nothing'\n"), (
        done.stderr
    )
