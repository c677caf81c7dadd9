"""Systems from outside the package, at most 30 lines each: derived, predicted, measured, confirmed,
with the gradients of every group, and their own parameters everywhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from long_cases import apart

import sigprop as sp
from sigprop import architectures
from sigprop.blocks.residual import every
from sigprop.blocks.transformer import check_norm, stack
from sigprop.cli import run
from sigprop.coordinate_check.rates import Rule, prescribed
from sigprop.errors import InputError
from sigprop.prescriptions.by_recursion import shares_of
from sigprop.registry import entries as registry

NAMES = ("hyper-connections", "layer-scale", "value-residual", "two-norms")
OWN = {
    "hyper-connections": ("exchange", "second"),
    "layer-scale": ("layer_scale",),
    "value-residual": ("value_share",),
    "two-norms": ("attention_eps", "mlp_eps"),
}
TOLERANCE = 0.05
JUDGED = ["residual_variance", "token_covariance", "gradient_variance", "weight_gradient"]
SMALL = {"tokens": 2, "score_scale": "zero_query", "activation": "relu", "mlp_ratio": 1}


@pytest.fixture(scope="module")
def systems() -> Iterator[ModuleType]:
    """The builders, registered for this file only: other tests list what the package registers."""
    registry.registered()
    yield importlib.import_module("own_systems")
    for name in NAMES:
        registry._ENTRIES.pop(name)
        registry._FUNCTIONS.pop(name)
    del sys.modules["own_systems"]


def build(systems: ModuleType, name: str, **given: Any) -> sp.Architecture:
    return systems.SYSTEMS[name][0](**given)


def test_each_is_at_most_thirty_lines():
    """From one registration to the next, blank lines left out; imports are shared."""
    text = (Path(__file__).parents[1] / "helpers" / "own_systems.py").read_text()
    sizes, lines = [], 0
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.Assign)):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            part = text.splitlines()[first - 1 : node.end_lineno]
            lines += sum(bool(line.strip()) for line in part)
            if getattr(node, "decorator_list", []):
                sizes, lines = [*sizes, lines], 0
    assert len(sizes) == len(NAMES)
    assert max(sizes) <= 30, sizes


@pytest.mark.parametrize("name", apart(NAMES, ["two-norms", "layer-scale"]))
def test_it_is_confirmed_with_the_gradients_of_every_group(systems: ModuleType, name: str):
    """At parameters that are not the defaults; the rows of weight gradients name every group."""
    given = systems.SYSTEMS[name][1] | SMALL
    arch = build(systems, name, **{k: v for k, v in given.items() if k != "qk_norm"})
    found = sp.verify(arch, tolerance=TOLERANCE, quantities=JUDGED)
    assert found.verdict == "confirmed"
    groups = {row["group"] for row in found if row["quantity"] == "weight_gradient"}
    # of one lane, rows of states say what those of stem and read-out would
    assert groups == set(arch.groups if arch.lanes > 1 else arch.weights)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_derived(systems: ModuleType, name: str):
    """Every group has its gradient's equation, and there is a tangent kernel."""
    arch = build(systems, name, **SMALL)
    names = {equation.name.split("|")[0] for equation in sp.derive(arch).equations}
    assert {f"weight_gradient[{group}]" for group in arch.groups} | {"ntk"} <= names


@pytest.mark.parametrize("name", NAMES)
def test_its_parameters_are_known_by_being_declared(
    systems: ModuleType, name: str, capfd: pytest.CaptureFixture[str]
):
    """In ``help``, in ``sigprop list`` as text and JSON, on the command line, in results."""
    builder, given = systems.SYSTEMS[name]
    assert run(["list", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)["architectures"]
    parameters = next(entry["parameters"] for entry in listed if entry["name"] == name)
    assert run(["list"]) == 0
    shown = capfd.readouterr().out
    for own in OWN[name]:
        declared = registry.registered()[name].parameters[own]
        assert inspect.signature(builder).parameters[own].annotation is float
        assert f"{own} " in inspect.getdoc(builder) and declared.help in inspect.getdoc(builder)
        assert parameters[own]["help"] == declared.help
        assert own in shown
        words = ["costs", name, "--width", "64", "--json", "--set", f"{own}=bad"]
        assert run(words) == 2
        assert f"{own}='bad'; accepted: {declared.accepts}" in capfd.readouterr().err
        assert run([*words[:-1], f"{own}={given.get(own, 0.5)}"]) == 0
        assert json.loads(capfd.readouterr().out)["parameters"][own] == given.get(own, 0.5)


def test_rezero_writes_nothing_and_its_gates_learn(systems: ModuleType):
    """Scales that begin at 0: the state stays the stem's, and only scales, read-out and stem have
    gradients."""
    arch = build(systems, "layer-scale", layer_scale=0, depth=2, **SMALL)
    variances = [row["value"] for row in sp.predict(arch, ["residual_variance"])]
    np.testing.assert_allclose(variances, 1.0, rtol=1e-12)
    gradients: dict[str, float] = {}
    for row in sp.predict(arch, ["weight_gradient"]):
        gradients[row["group"]] = gradients.get(row["group"], 0.0) + row["value"]
    alive = {group for group, value in gradients.items() if value > 0}
    assert alive == {"attention_scale", "mlp_scale", "readout", "stem"}


def test_equal_epsilons_are_the_parallel_transformer(systems: ModuleType):
    """Two norms of one state and one epsilon are one norm."""
    given = {"depth": 2, "norm_kind": "rms", "residual_scale": 0.5, **SMALL}
    two = build(systems, "two-norms", attention_eps=0.1, mlp_eps=0.1, **given)
    one = sp.architectures.transformer(block="parallel", norm_eps=0.1, **given)
    rows = [sp.predict(arch, JUDGED) for arch in (two, one)]
    for left, right in zip(*rows, strict=True):
        assert left["value"] == pytest.approx(right["value"], rel=1e-12)


def test_a_norm_that_the_rule_has_not_is_refused(systems: ModuleType):
    for norm in ("post", "sandwich"):
        with pytest.raises(InputError, match=f"norm={norm}: the rule of this network has none"):
            build(systems, "hyper-connections", norm=norm)


def test_a_parameter_that_is_left_out_is_named():
    @sp.register("half", reference="none", like="transformer", without=("residual_scale",))
    def half(**rest: Any) -> sp.Architecture:
        """A builder that hands on too little."""
        return stack("half", **rest)

    try:
        assert architectures.half is half  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="residual_scale: the transformer's stack is given no"):
            half()
    finally:
        registry._ENTRIES.pop("half")
        registry._FUNCTIONS.pop("half")


def test_a_parameter_without_a_declaration_is_refused():
    with pytest.raises(InputError, match="parameter 'strength' is not declared; accepted: an "):

        @sp.register("undeclared", reference="none", like="transformer")
        def undeclared(*, strength: float = 1.0, **rest: Any) -> sp.Architecture:
            """A builder."""
            raise NotImplementedError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package whose entry point names the module ``plugged_systems``."""
    information = tmp_path / "plugged-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[sigprop.architectures]\nplugged = plugged_systems\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    architectures.installed.cache_clear()
    yield tmp_path
    registry._ENTRIES.pop("plugged", None)
    registry._FUNCTIONS.pop("plugged", None)
    sys.modules.pop("plugged_systems", None)
    architectures.installed.cache_clear()


PLUGGED = '''
from typing import Any
import sigprop as sp
from sigprop.blocks.residual import every
from sigprop.blocks.transformer import check_norm, stack

@sp.register("plugged", reference="none", like="transformer")
def plugged(**rest: Any) -> sp.Architecture:
    """A system of an installed package."""
    return stack("plugged", **rest)
'''


def test_installed_packages_register_their_systems(
    package: Path, capfd: pytest.CaptureFixture[str]
):
    (package / "plugged_systems.py").write_text(PLUGGED)
    assert run(["costs", "plugged", "--width", "64", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["architecture"] == "plugged"
    assert "plugged" in architectures.entries()


def test_an_installed_module_that_cannot_be_imported_is_named(
    package: Path, capfd: pytest.CaptureFixture[str]
):
    assert run(["costs", "plugged", "--width", "64"]) == 2
    assert "entry point plugged='plugged_systems'" in capfd.readouterr().err


def test_a_shared_weight_is_no_loop_and_has_no_law(systems: ModuleType):
    """Its slots do not grow as a family's do: named, instead of loops that the system has not."""
    with pytest.raises(InputError, match="weight 'v_first' has 1 slots used 4 times"):
        sp.exponents(build(systems, "value-residual", **SMALL), numbers=False)


def test_no_norm_of_a_network_that_reads_behind_one_is_refused():
    rule = sp.State(0) + sp.Write()
    join = sp.Join(sp.Normalise(sp.State(0)), every(rule), sp.Stem(), {})
    check_norm("pre", join, 1)
    with pytest.raises(InputError, match="norm=none: this network has a norm of its own"):
        check_norm("none", join, 1)


def test_prescribed_for_in_depth(systems: ModuleType) -> None:
    """No law has two streams in depth: the recursion's first step has, for every group, and shares
    of deeper networks are larger."""
    both = [
        shares_of(build(systems, "hyper-connections", depth=depth, tokens=1), "adamw")
        for depth in (1, 2)
    ]
    for group in ("u", "v", "x", "w"):
        assert 1.1 < both[1][group].value / both[0][group].value < 4, group


def test_it_is_checked_and_its_gates_are_named(systems: ModuleType) -> None:
    """Real steps of a system from outside: prescribed rates are confirmed in depth, and a gate's
    rate that grows with it is named."""
    arch = build(systems, "layer-scale", block="mlp", **SMALL, residual_scale="1/sqrt(L)")

    def planted(arch: sp.Architecture, width: int, optimizer: str) -> Rule:
        found = prescribed(arch, width, optimizer)
        gate = found.groups["mlp_scale"]
        wrong = {"mlp_scale": gate._replace(rate=gate.rate * arch.sizes["L"])}
        return found._replace(groups={**found.groups, **wrong})

    for rule, groups in (("prescribed", []), (planted, ["mlp_scale"])):
        table = sp.check(
            arch,
            parametrisation=rule,
            variables=["depth"],
            steps=(1,),
            ladders={"depth": (1, 4)},
            width=32,
        )
        notes: Any = table.notes
        assert table.verdict == ("rejected" if groups else "confirmed")
        assert [found["group"] for found in notes["breaks"]] == groups
