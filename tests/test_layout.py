"""The layout: which way imports point, what package code never calls, the links, the README."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sigprop.architectures import entries

ROOT = Path(__file__).parents[1]
HALVES = ("theory", "simulations")
FLOORS = (
    "errors",
    "runtime",
    "language tables verdict",
    "description",
    "scaling",
    "blocks theory simulations cost",
    "registry",
    "architectures",
    "agreement prescriptions",
    "coordinate_check",
    "modules",
    "jaxmodules",
    "reading",
    "inspection",
    "studies",
    "training_runs",
    "paper_figures",
    "cli",
)
"""Folders (and files beside them) of the package, lowest first: each imports from lower lines
and from itself."""
WITHIN = {
    "theory": (
        "calculus",
        "gaussian attention",
        "recursion",
        "predictions",
        "fluctuations first_step",
        "derivations exponents",
    ),
    "simulations": ("network", "observables", "engines", "training measure", "learning"),
}
MAY_USE = {
    "theory": {"errors", "runtime", "language", "description", "scaling", "tables"},
    "simulations": {"errors", "runtime", "language", "description", "tables"},
    "verdict": {"errors"},
}
"""What some folders may import at most."""
CATALOGUES = ("sigprop/cli", "sigprop/architectures", "paper_figures")
MOST_FILES = 11
LONGEST = 360


def module(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "sigprop" else ("sigprop", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files() -> Iterator[Path]:
    """Every file of the package where it lies, none twice."""
    for folder in ("sigprop", *HALVES, "paper_figures"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            # a link's files lie elsewhere
            if not any((ROOT / parent).is_symlink() for parent in path.relative_to(ROOT).parents):
                yield path


SOURCES = {module(path): path for path in files()}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions too; ``from a import
    b`` counts as a and a.b."""
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
    assert {
        "sigprop",
        "sigprop.theory.predictions.predict",
        "sigprop.simulations.measure",
        "sigprop.architectures.mlp",
        "sigprop.cli.verify",
    } <= set(TREES)
    assert len(SOURCES) == len(set(SOURCES.values())) > 50


def folder(name: str) -> str:
    """The part of the package that a module belongs to: ``theory`` of
    sigprop.theory.recursion.passes."""
    return name.split(".")[1] if "." in name else ""


def arrows() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports anywhere; ``from package import module``
    is the module's alone."""
    found = {}
    for name, tree in TREES.items():
        named = {imported for imported in imports(tree) if imported in TREES}
        packages = {
            imported
            for imported in named
            if any(other.startswith(imported + ".") for other in named)
        }
        found[name] = (
            named - {package for package in packages if not names_taken(tree, package)} - {name}
        )
    return found


def names_taken(tree: ast.AST, package: str) -> bool:
    """Whether a file takes something from a package that is no module of it."""
    froms = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == package
    )
    return any(f"{package}.{alias.name}" not in TREES for node in froms for alias in node.names)


ARROWS = arrows()


def floor(name: str, floors: tuple[str, ...]) -> int:
    """The line of ``floors`` that names it."""
    return next(k for k, line in enumerate(floors) if name in line.split())


def test_every_folder_has_its_floor():
    for name in TREES:
        assert name in ("sigprop", "sigprop.__main__") or floor(folder(name), FLOORS) >= 0, name


def allowed(name: str, target: str) -> bool:
    """Whether a module may import another: of its own folder, or from a lower line."""
    one, other = folder(name), folder(target)
    return one in ("", "__main__", other) or floor(one, FLOORS) > floor(other, FLOORS)


def test_no_import_points_up():
    """Functions' own imports included. The package itself and ``python -m sigprop`` stand above
    all."""
    for name, targets in ARROWS.items():
        for target in sorted(targets - {"sigprop"}):
            assert allowed(name, target), f"{name} imports {target}"


def test_an_import_upwards_would_be_found():
    assert not allowed("sigprop.theory.predictions.predict", "sigprop.simulations.measure")
    assert not allowed("sigprop.language.scalar", "sigprop.description.rows")
    assert allowed("sigprop.agreement.verify", "sigprop.simulations.measure")


def outside(part: str) -> dict[str, set[str]]:
    """What every module of a folder imports from other folders."""
    return {
        name: {folder(t) for t in ARROWS[name] - {"sigprop"}} - {part}
        for name in modules(f"sigprop.{part}")
    }


@pytest.mark.parametrize(("half", "other"), [HALVES, HALVES[::-1]])
def test_theory_and_simulations_share_nothing_but_the_ground_floor(half: str, other: str):
    for name, parts in outside(half).items():
        assert other not in parts and parts <= MAY_USE[half], (
            f"{name} imports {parts - MAY_USE[half]}"
        )


def test_the_ground_floor_does_not_know_the_halves():
    """Only what compares or checks imports them; the package itself names them in strings,
    loaded when first used."""
    for part in (
        "errors",
        "runtime",
        "language",
        "tables",
        "verdict",
        "description",
        "scaling",
        "blocks",
        "cost",
        "registry",
        "architectures",
    ):
        for name, parts in outside(part).items():
            assert not parts & set(HALVES), f"{name} imports {parts & set(HALVES)}"


def test_prescriptions_know_theory_alone():
    """Rates where no law has them are the recursion's; nothing there is simulated."""
    for name, parts in outside("prescriptions").items():
        assert "simulations" not in parts, name


def test_the_verdict_knows_no_network():
    for name, parts in outside("verdict").items():
        assert parts <= MAY_USE["verdict"], f"{name} imports {parts - MAY_USE['verdict']}"


def test_the_package_itself_is_imported_from_above_alone():
    for name, targets in ARROWS.items():
        assert "sigprop" not in targets or folder(name) in ("cli", "paper_figures"), name


@pytest.mark.parametrize("half", HALVES)
def test_no_import_points_up_within_a_half(half: str):
    for name in modules(f"sigprop.{half}"):
        for target in sorted(
            t for t in ARROWS[name] if folder(t) == half and t != f"sigprop.{half}"
        ):
            one, other = name.split(".")[2:3] or ["measure"], target.split(".")[2]
            if one[0] != other and name != f"sigprop.{half}":
                assert floor(one[0], WITHIN[half]) > floor(other, WITHIN[half]), (
                    f"{name} imports {target}"
                )


def test_no_imports_go_round_in_circles():
    assert circle(ARROWS) is None


def circle(arrows: dict[str, set[str]]) -> list[str] | None:
    """Modules that import each other in turn, if any do."""
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> list[str] | None:
        if state.get(name) == 1:
            return path[path.index(name) :]
        if state.get(name) == 2:
            return None
        state[name] = 1
        found = next(
            (
                c
                for target in sorted(arrows.get(name, ()))
                if (c := visit(target, [*path, name])) is not None
            ),
            None,
        )
        state[name] = 2
        return found

    return next((c for name in sorted(arrows) if (c := visit(name, [])) is not None), None)


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_no_file_imports_its_own_package():
    for name, targets in ARROWS.items():
        parents = {name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1)} - {"sigprop"}
        assert not targets & parents, f"{name} imports {targets & parents}"


def test_folders_stay_small():
    counts: dict[str, int] = {}
    for path in SOURCES.values():
        if path.name != "__init__.py":
            counts[str(path.parent.relative_to(ROOT))] = (
                counts.get(str(path.parent.relative_to(ROOT)), 0) + 1
            )
    assert {
        name: count
        for name, count in counts.items()
        if count > MOST_FILES and name not in CATALOGUES
    } == {}


FORBIDDEN_CALLS = {"eval", "exec", "sympify", "parse_expr", "__import__", "compile"}
FORBIDDEN_MODULES = ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")


def test_package_code_never_runs_text():
    for name, tree in TREES.items():
        for imported in imports(tree):
            assert not within(imported, *FORBIDDEN_MODULES), f"{name} imports {imported}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                bare = node.func.id if isinstance(node.func, ast.Name) else None
                dotted = (
                    node.func.attr
                    if isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("sympify", "parse_expr")
                    else None
                )
                assert (bare or dotted) not in FORBIDDEN_CALLS, (
                    f"{name}, line {node.lineno}: {bare or dotted}()"
                )
                pickled = any(
                    key.arg == "allow_pickle"
                    and not (isinstance(key.value, ast.Constant) and key.value.value is False)
                    for key in node.keywords
                )
                assert not pickled, f"{name}, line {node.lineno}: allow_pickle"


def names_in(tree: ast.AST) -> set[str]:
    """Architectures that a file's code names as text, docstrings apart."""
    owners = [
        n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))
    ]
    documented = {id(n.body[0].value) for n in owners if n.body and isinstance(n.body[0], ast.Expr)}
    texts = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in documented
    ]
    known = {spelling for name in entries() for spelling in (name, name.replace("-", "_"))}
    return {text for text in texts if text in known}


def test_no_engine_asks_for_an_architecture_by_name():
    for name in modules("sigprop.theory", "sigprop.simulations"):
        assert not names_in(TREES[name]), name


def test_a_name_would_be_found():
    assert names_in(ast.parse('"""mlp"""\nif arch.name == "looped-mlp": pass')) == {"looped-mlp"}
    assert list(imports(ast.parse("def f():\n    from sigprop.theory import dual"))) == [
        "sigprop.theory",
        "sigprop.theory.dual",
    ]


def test_files_stay_short():
    """In characters a file may hold less than when lines had 160 of them and files 250 lines."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in SOURCES.items()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("name", [*HALVES, "paper_figures"])
def test_the_links_are_relative_and_resolve(name: str):
    link = ROOT / "sigprop" / name
    assert link.is_symlink() and os.readlink(link) == f"../{name}"
    assert link.resolve() == (ROOT / name).resolve() and (link / "__init__.py").is_file()


def blocks(language: str) -> list[str]:
    """The README's fenced blocks of a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        flags=re.M | re.S,
    )


def test_the_readme_has_two_commands():
    main, tests = blocks("sh")
    assert all(
        "python3 -m venv .venv" in block and "-c constraints.txt" in block
        for block in (main, tests)
    )
    assert "sigprop verify --quick" in main and "pytest" in tests


def test_constraints_name_a_version_of_everything_that_pyproject_asks_for():
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    pinned = {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines)
    }
    for text in (
        *project["dependencies"],
        *project["optional-dependencies"]["test"],
        *project["optional-dependencies"]["docs"],
    ):
        asked = Requirement(text)
        assert pinned[canonicalize_name(asked.name)] in asked.specifier, text
