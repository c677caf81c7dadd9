"""The layout: which way imports point, what package code never calls, the links, the README."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigprop.registry import entries

ROOT = Path(__file__).parents[1]
HALVES = ("theory", "simulations")
ABOVE = (
    "sigprop.verdict",
    "sigprop.comparison",
    "sigprop.against",
    "sigprop.exponent_check",
    "sigprop.transfer",
    "sigprop.checking",
    "sigprop.cases",
    "sigprop.cli",
    "sigprop.plots",
    "sigprop.paper_figures",
)  # what stands on both halves
MAY_USE_BOTH = ("sigprop.comparison", "sigprop.exponent_check", "sigprop.transfer", "sigprop.checking")
LONGEST = 250


def module(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "sigprop" else ("sigprop", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files() -> Iterator[Path]:
    """Every file of the package where it lies, none twice."""
    for folder in ("sigprop", *HALVES, "paper_figures"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not any((ROOT / parent).is_symlink() for parent in path.relative_to(ROOT).parents):  # a link's files lie elsewhere
                yield path


SOURCES = {module(path): path for path in files()}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions too; ``from a import b`` counts as a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def modules(*packages: str) -> list[str]:
    return [name for name in TREES if within(name, *packages)]


def test_the_whole_package_is_looked_at():
    assert {"sigprop", "sigprop.theory.predict", "sigprop.simulations.measure", "sigprop.architectures.mlp", "sigprop.cli.verify"} <= set(TREES)
    assert len(SOURCES) == len(set(SOURCES.values())) > 50


@pytest.mark.parametrize(("half", "other"), [HALVES, HALVES[::-1]])
def test_theory_and_simulations_share_nothing_but_the_ground_floor(half: str, other: str):
    for name in modules(f"sigprop.{half}"):
        for imported in imports(TREES[name]):
            assert not within(imported, f"sigprop.{other}", *HALVES, *ABOVE), f"{name} imports {imported}"


def test_the_ground_floor_does_not_know_the_halves():
    """Only what compares or prescribes imports them; the package itself names them in strings, loaded when first used."""
    for name in set(TREES) - set(modules("sigprop.theory", "sigprop.simulations", *MAY_USE_BOTH)):
        for imported in imports(TREES[name]):
            assert not within(imported, "sigprop.theory", "sigprop.simulations", *HALVES), f"{name} imports {imported}"


def test_the_verdict_knows_no_network():
    for name in modules("sigprop.verdict"):
        for imported in imports(TREES[name]):
            assert not within(imported, "sigprop") or within(imported, "sigprop.verdict", "sigprop.errors"), f"{name} imports {imported}"


FORBIDDEN_CALLS = {"eval", "exec", "sympify", "parse_expr", "__import__", "compile"}
FORBIDDEN_MODULES = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")


def test_package_code_never_runs_text():
    for name, tree in TREES.items():
        for imported in imports(tree):
            assert not within(imported, *FORBIDDEN_MODULES), f"{name} imports {imported}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                bare = node.func.id if isinstance(node.func, ast.Name) else None
                dotted = node.func.attr if isinstance(node.func, ast.Attribute) and node.func.attr in ("sympify", "parse_expr") else None
                assert (bare or dotted) not in FORBIDDEN_CALLS, f"{name}, line {node.lineno}: {bare or dotted}()"
                pickled = any(key.arg == "allow_pickle" and not (isinstance(key.value, ast.Constant) and key.value.value is False) for key in node.keywords)
                assert not pickled, f"{name}, line {node.lineno}: allow_pickle"


def names_in(tree: ast.AST) -> set[str]:
    """Architectures that a file's code names as text, docstrings apart."""
    owners = [n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    documented = {id(n.body[0].value) for n in owners if n.body and isinstance(n.body[0], ast.Expr)}
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in documented]
    known = {spelling for name in entries() for spelling in (name, name.replace("-", "_"))}
    return {text for text in texts if text in known}


def test_no_engine_asks_for_an_architecture_by_name():
    for name in modules("sigprop.theory", "sigprop.simulations"):
        assert not names_in(TREES[name]), name


def test_a_name_would_be_found():
    assert names_in(ast.parse('"""mlp"""\nif arch.name == "looped-mlp": pass')) == {"looped-mlp"}
    assert list(imports(ast.parse("def f():\n    from sigprop.theory import dual"))) == ["sigprop.theory", "sigprop.theory.dual"]


def test_files_stay_short():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("name", [*HALVES, "paper_figures"])
def test_the_links_are_relative_and_resolve(name: str):
    link = ROOT / "sigprop" / name
    assert link.is_symlink() and os.readlink(link) == f"../{name}"
    assert link.resolve() == (ROOT / name).resolve() and (link / "__init__.py").is_file()


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_readme_has_two_commands():
    main, tests = blocks("sh")
    assert all("python3 -m venv .venv" in block and "-c constraints.txt" in block for block in (main, tests))
    assert "sigprop verify --quick" in main and "pytest" in tests


def test_constraints_name_a_version_of_everything_that_pyproject_asks_for():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for text in (*project["dependencies"], *project["optional-dependencies"]["test"], *project["optional-dependencies"]["docs"]):
        asked = Requirement(text)
        assert pinned[canonicalize_name(asked.name)] in asked.specifier, text
