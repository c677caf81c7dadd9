"""Units: cells with the key that says what determines their numbers, in the order in which they
share compiled programs."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sigprop.architectures import entry
from sigprop.description.architecture import Architecture
from sigprop.errors import InputError
from sigprop.language.activation import Activation
from sigprop.reading.named import names_a_model
from sigprop.registry.reading import read_parameters
from sigprop.runtime import fingerprint
from sigprop.studies.plan.cells import Cell
from sigprop.studies.plan.commands import Command
from sigprop.studies.plan.content import content
from sigprop.studies.store.store import Asked

SAMPLES = "samples"
VALUES = (SAMPLES, "seed", "tolerance")
"""Options whose values no program is compiled for."""
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy")
MODELS = ("torch", "transformers", "flax", "equinox")
"""Libraries that models by name are built by."""


def units(
    found: Sequence[Cell], command: Command, described: Mapping[str, Architecture]
) -> list[Asked]:
    """Return a unit a cell: its key, where it stands, its bunch.

    described: architectures that no name says, by the name that cells call them. Raises
    ``InputError`` where two cells have the same numbers.
    """
    varies = any(SAMPLES in cell.varied for cell in found)
    bunches = _bunches(found, command)
    asked, seen = [], dict[str, Cell]()
    for place, cell in enumerate(found):
        key, samples = _key(cell, command, varies, described)
        if key in seen:
            raise InputError(
                f"the cells {seen[key]} and {cell} have the same numbers; accepted: each once"
            )
        seen[key] = cell
        asked.append(Asked(key, place, bunches[place], cell.to_dict(), samples))
    return asked


def _key(
    cell: Cell, command: Command, varies: bool, described: Mapping[str, Architecture]
) -> tuple[str, int | None]:
    """Return the key of a cell's numbers, and how many networks it asks for where that is no part
    of them: those of an accumulating unit continue.

    Chunks are a function of description, width, rows, memory_mib, dtype and platform, all of which
    the key holds.
    """
    options = {**command.options, **cell.options}
    samples = options.pop(SAMPLES, None) if command.accumulates and not varies else None
    said = {
        "command": command.name,
        "architecture": _architecture(cell, described),
        "options": options,
        "source": source(),
        "jax": [versions()["jax"], _settings()],
        "platform": _platform(),
    }
    text = json.dumps(said, sort_keys=True, default=repr)
    whole = isinstance(samples, int) and not isinstance(samples, bool)
    return hashlib.sha256(text.encode()).hexdigest()[:32], samples if whole else None


def _architecture(cell: Cell, described: Mapping[str, Architecture]) -> Any:
    """Return everything that a cell's network is made from; of parameters that are refused, what
    was given: that unit will say why."""
    if cell.architecture in described:
        return content(described[cell.architecture])
    if names_a_model(cell.architecture):
        found = _contents(cell.architecture), _releases(MODELS)
        return cell.architecture, found, dict(cell.parameters)
    known = entry(cell.architecture)
    builder = _code(known.builder)
    try:
        read = read_parameters(known.name, cell.parameters, known.defaults, known.parameters)
    except InputError:
        return known.name, builder, dict(cell.parameters)
    return known.name, builder, {name: _plain(value) for name, value in read.items()}


def _plain(value: Any) -> Any:
    """Return a checked parameter as text or numbers that stand for it; of an activation of the
    user's own also what its function does."""
    if hasattr(value, "tobytes"):
        return [list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, Activation):
        return value.name, _code(value.function)
    return getattr(value, "name", value)


def _code(function: Any) -> str:
    """Return what a function of the user's own does: its code, what it closes over, and the file
    that it is written in; nothing of the package's and of jax, which the key holds otherwise.

    Raises ``InputError`` for one that nothing is known of.
    """
    inside = inspect.unwrap(getattr(function, "func", function))  # of a partial one
    if str(getattr(inside, "__module__", "")).partition(".")[0] in ("sigprop", "jax", "numpy"):
        return ""
    code = getattr(inside, "__code__", None)
    try:
        file = Path(inspect.getsourcefile(inside) or "").read_bytes()
    except (TypeError, OSError):
        code = None
    if code is None:
        raise InputError(
            f"{getattr(inside, '__name__', inside)!r}: a function whose source is not there; "
            f"accepted: one that is written in a file, so that its numbers can be kept by it"
        )
    cells = [cell.cell_contents for cell in inside.__closure__ or ()]
    said = repr((code.co_code, code.co_names, code.co_consts, inside.__defaults__, cells))
    return hashlib.sha256(re.sub("0x[0-9a-f]+", "", said).encode() + file).hexdigest()


def _contents(name: str) -> str:
    """Return a digest of the file that a model's name points to, or of the names, sizes and times
    of a folder's files; of another name nothing."""
    path = name if os.path.isdir(name) else name.rpartition(":")[0]
    if os.path.isdir(path):
        found = sorted((file.name, file.stat()) for file in os.scandir(path) if file.is_file())
        said = repr([(file, of.st_size, of.st_mtime_ns) for file, of in found]).encode()
    elif os.path.isfile(path):
        said = Path(path).read_bytes()
    else:
        return ""
    return hashlib.sha256(said).hexdigest()


def _bunches(found: Sequence[Cell], command: Command) -> list[int]:
    """Return the number of every cell's bunch: cells that differ in numbers alone share compiled
    programs, those that differ in sizes some of them, and stand next to each other."""
    kinds: dict[str, dict[str, int]] = {}
    labels = []
    for cell in found:
        kind, sizes = _structure(cell, command)
        kinds.setdefault(kind, {}).setdefault(sizes, 0)
        labels.append((kind, sizes))
    order = {
        label: number
        for number, label in enumerate(
            (kind, sizes) for kind, inside in kinds.items() for sizes in inside
        )
    }
    return [order[label] for label in labels]


def _structure(cell: Cell, command: Command) -> tuple[str, str]:
    """Return what a cell's programs are made for, as text: its kind, and its sizes."""
    known = None if names_a_model(cell.architecture) else _defaults(cell.architecture)
    kind: dict[str, Any] = {"": cell.architecture}
    sizes: dict[str, Any] = {}
    for name, value in cell.parameters.items():
        type_ = known.get(name, object) if known is not None else object
        if type_ is int:
            sizes[name] = value
        elif type_ is not float and str(type_).find("float") < 0:
            kind[name] = value
    for name, value in cell.options.items():
        if name not in VALUES:
            whole = isinstance(value, int) and not isinstance(value, bool)
            (sizes if whole else kind)[name] = value
    return json.dumps(kind, sort_keys=True), json.dumps(sizes, sort_keys=True)


@cache
def _defaults(name: str) -> Mapping[str, Any] | None:
    """Return the types of an architecture's parameters; None of one that no name says."""
    try:
        return {key: parameter.type for key, parameter in entry(name).parameters.items()}
    except InputError:
        return None


@cache
def source() -> str:
    """Return a digest of what numbers come from here."""
    return fingerprint.origin()


@cache
def versions() -> dict[str, str]:
    """Return the releases that numbers come from: of this package, Python, the libraries."""
    return {"sigprop": version("sigprop"), "python": platform.python_version()} | _releases(
        LIBRARIES
    )


def _releases(names: Sequence[str]) -> dict[str, str]:
    """Return the releases of libraries; none of one that is not installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


@cache
def _settings() -> dict[str, Any]:
    """Return what of jax's configuration decides which networks are drawn."""
    import jax

    names = ("jax_default_prng_impl", "jax_threefry_partitionable")
    return {name: getattr(jax.config, name, None) for name in names}


@cache
def _platform() -> str:
    """Return what kind of device computes here."""
    import jax

    return jax.default_backend()


def _processor() -> str:
    """Return the processor's name, or its kind where the system says no name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@cache
def machine() -> str:
    """Return what computes here, as a record keeps it: the device and how many; releases."""
    import jax

    devices = jax.local_devices()
    kind = devices[0].device_kind if _platform() != "cpu" else _processor()
    releases = ", ".join(f"{name} {release}" for name, release in versions().items())
    there = f"{os.cpu_count()} cores, {len(devices)} devices"
    return f"{_platform()}: {kind.strip()}, {there}; {releases}"
