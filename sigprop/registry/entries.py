"""Registered architectures: a name, a reference, and a builder whose keyword defaults are its
parameters."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import textwrap
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop.description.architecture import Architecture
from sigprop.description.family import Family
from sigprop.errors import InputError
from sigprop.language.expression import Activate
from sigprop.language.traversal import walk
from sigprop.registry.parameters import PARAMETERS, Parameter
from sigprop.registry.reading import read_parameters


@dataclass(frozen=True)
class Entry:
    """Hold one registered architecture; ``build(**parameters)`` checks the parameters and returns
    the description."""

    name: str
    summary: str
    reference: str
    builder: Callable[..., Architecture]
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])

    def build(self, /, **given: object) -> Architecture:
        """Return the architecture with these parameters (others at their defaults), which it
        records, and its family; raises ``InputError``."""
        parameters = read_parameters(self.name, given, self.defaults, self.parameters)
        check_inputs(parameters, self.defaults)
        arch = self.builder(**parameters)
        if any(parameters.get(name) is not None for name in ("words", "input_gram")):
            parameters |= {"token_cosine": None}  # the inputs say it
        order = sorted(parameters, key=lambda name: name != "loops")
        return recorded(
            arch,
            {name: shown(name, parameters[name], arch) for name in order},
            Family(
                Rebuilt(_FUNCTIONS[self.name], parameters),
                tokens=Lengthened(_FUNCTIONS[self.name], parameters),
            ),
        )


def check_inputs(parameters: Mapping[str, Any], defaults: Mapping[str, object]) -> None:
    """Raise ``InputError`` where the inputs are said twice, or words lie beyond the vocabulary."""
    words, gram, cosine, vocabulary = (
        parameters.get(name) for name in ("words", "input_gram", "token_cosine", "vocabulary")
    )
    if words is not None and gram is not None:
        raise InputError(
            "input_gram with words: both say what the inputs are; accepted: one of them"
        )
    if (
        cosine is not None
        and cosine != defaults.get("token_cosine")
        and (words is not None or (gram is not None and not has_cosine(gram, float(cosine))))
    ):
        raise InputError(
            f"token_cosine={cosine:g} with {'words' if words is not None else 'input_gram'}, "
            f"which say it already; accepted: one of them"
        )
    if words is not None and vocabulary is not None and max(words) >= vocabulary:
        raise InputError(
            f"words: {max(words)} at vocabulary={vocabulary}; accepted: words from 0 to "
            f"{vocabulary - 1}"
        )


def has_cosine(gram: NDArray[np.float64], cosine: float) -> bool:
    """Tell if all tokens of a Gram have that cosine."""
    size = np.sqrt(np.abs(np.diag(gram)))
    off = ~np.eye(len(gram), dtype=bool)
    return (
        gram.ndim == 2
        and gram.shape[0] == gram.shape[1]
        and bool(np.allclose(gram[off], cosine * np.outer(size, size)[off]))
    )


def shown(name: str, value: object, arch: Architecture) -> object:
    """Return a parameter as tables and JSON show it."""
    if name == "tokens":
        return arch.tokens  # what the inputs say
    if name == "activation":  # of the network: a slope may be its builder's choice
        used = (
            node.activation.name
            for block in arch.sub_blocks
            for node in walk(block.branch)
            if isinstance(node, Activate)
        )
        return next(used, getattr(value, "name", value))
    return (
        "inf" if isinstance(value, float) and value == math.inf else getattr(value, "name", value)
    )


def recorded(
    arch: Architecture, parameters: Mapping[str, object], family: Family[Architecture]
) -> Architecture:
    """Return the same network, with what it was built from: nothing that its checks read."""
    copied = copy.copy(arch)
    object.__setattr__(copied, "parameters", parameters)
    object.__setattr__(copied, "family", family)
    return copied


@dataclass(frozen=True)
class Rebuilt:
    """Build (L, N) -> the registered architecture with these parameters at that depth and loop
    count; an object, so that it goes to other processes.

    builder: the decorated function, which goes by its module and name.
    """

    builder: Callable[..., Architecture]
    parameters: Mapping[str, object]

    def __call__(self, depth: int, loops: int) -> Architecture:
        looped = "loops" in self.parameters
        if loops > 1 and not looped:
            raise InputError(
                f"loops={loops}: {self.builder.__name__} has weights of its own at every "
                f"application; accepted: 1"
            )
        return self.builder(
            **{**self.parameters, "depth": depth} | ({"loops": loops} if looped else {})
        )


@dataclass(frozen=True)
class Lengthened:
    """Build T -> the registered architecture with these parameters at T tokens; an object, as
    ``Rebuilt``. Raises ``InputError`` where a parameter says what each of the tokens is."""

    builder: Callable[..., Architecture]
    parameters: Mapping[str, object]

    def __call__(self, tokens: int) -> Architecture:
        mask = self.parameters.get("mask")
        said = [name for name in TABLES if self.parameters.get(name) is not None]
        said += ["mask"] if mask is not None and not isinstance(mask, str) else []
        if said:
            raise InputError(
                f"variable='tokens' with {said[0]}, which says what every token is; accepted: "
                f"token_cosine, and a mask by name"
            )
        return self.builder(**{**self.parameters, "tokens": tokens})


TABLES = ("words", "input_gram", "attention_bias", "attention_rescale")
"""Parameters with a value for every token."""
COLUMNS = 92  # of a builder's documentation
_ENTRIES: dict[str, Entry] = {}
_FUNCTIONS: dict[str, Callable[..., Architecture]] = {}


def register(
    name: str,
    reference: str,
    like: str | Callable[..., Architecture] | None = None,
    without: Collection[str] = (),
) -> Callable[[Callable[..., Architecture]], Callable[..., Architecture]]:
    """Decorate a builder: its keyword-only defaults become the architecture's parameters, and it
    checks what it is given.

    A parameter that other systems have too is known by its name; one of its own is declared where
    it stands: ``strength: Annotated[float, Parameter(help, accepts, readers.number(0))] = 1.0``.

    name: how it is called everywhere; reference: where it is described; like: a registered builder
    (or its name) whose parameters and defaults what ``**rest`` takes has, ``without`` some. Returns
    the builder, which checks like every other way in (command line, TOML, ``entry.build``). Raises
    ``InputError`` where ``like`` is not registered.
    """

    def add(builder: Callable[..., Architecture]) -> Callable[..., Architecture]:
        entry = _ENTRIES[name] = _entry(name, reference, builder, _Inherited.of(like, without))
        build = _FUNCTIONS[name] = _checking(entry)
        return build

    return add


@dataclass(frozen=True)
class _Inherited:
    """Hold what a builder has from the one that it is like: defaults, and declarations of
    parameters."""

    defaults: Mapping[str, object]
    parameters: Mapping[str, Parameter]

    @classmethod
    def of(
        cls, like: str | Callable[..., Architecture] | None, without: Collection[str]
    ) -> _Inherited:
        """Return all that a registered builder has, ``without`` some defaults; nothing of none."""
        if like is None:
            return cls({}, {})
        entry = _alike(like)
        kept = {key: value for key, value in entry.defaults.items() if key not in without}
        return cls(kept, entry.parameters)


def _entry(
    name: str, reference: str, builder: Callable[..., Architecture], inherited: _Inherited
) -> Entry:
    """Return what a builder's signature, annotations and docstring say; raise ``InputError`` for a
    parameter that nobody declares."""
    keywords = {
        parameter.name: parameter.default
        for parameter in inspect.signature(builder).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    summary = " ".join((inspect.getdoc(builder) or "").split("\n\n")[0].split())
    defaults = {**inherited.defaults, **keywords}
    declared = {**PARAMETERS, **inherited.parameters, **declarations(builder)}
    if undeclared := [key for key in defaults if key not in declared]:
        raise InputError(
            f"{name}: parameter {undeclared[0]!r} is not declared; accepted: an annotation "
            f"Annotated[type, Parameter(help, accepts, read)]"
        )
    parameters = {key: declared[key] for key in defaults}
    return Entry(name, summary, reference, builder, defaults, parameters)


def _checking(entry: Entry) -> Callable[..., Architecture]:
    """Return the builder as users call it: it checks what it is given."""

    @functools.wraps(entry.builder)
    def build(**given: object) -> Architecture:
        return entry.build(**given)

    build.__signature__ = signature(entry)  # pyright: ignore[reportAttributeAccessIssue]
    build.__doc__ = documented(entry)
    return build


def declarations(builder: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters that a builder's annotations declare."""
    annotated = inspect.signature(builder).parameters.values()
    if not any("Annotated" in str(parameter.annotation) for parameter in annotated):
        return {}
    hints = typing.get_type_hints(builder, include_extras=True)
    declared = {name: _declaration(hint) for name, hint in hints.items()}
    return {name: parameter for name, parameter in declared.items() if parameter is not None}


def _declaration(hint: Any) -> Parameter | None:
    """Return the declaration in an annotation, if it has one."""
    metadata = getattr(hint, "__metadata__", ())
    return next((part for part in metadata if isinstance(part, Parameter)), None)


def signature(entry: Entry) -> inspect.Signature:
    """Return what ``help`` shows of a builder: every parameter, those that it shares with others
    too."""
    shown = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(default, "name", default),
            annotation=entry.parameters[name].type,
        )
        for name, default in entry.defaults.items()
    ]
    return inspect.Signature(shown, return_annotation=Architecture)


def documented(entry: Entry) -> str:
    """Return the builder's docstring and a line for each of its parameters."""
    size = max(map(len, entry.defaults), default=0)
    lines: list[str] = []
    for name, parameter in entry.parameters.items():
        line = f"{name:<{size}}  {parameter.help}: {parameter.accepts}"
        lines += textwrap.wrap(
            line, COLUMNS, subsequent_indent=" " * (size + 4), break_on_hyphens=False
        )
    return "\n".join([inspect.getdoc(entry.builder) or "", "", *lines])


def _alike(like: str | Callable[..., Architecture]) -> Entry:
    """Return the entry that is meant; raises ``InputError`` where there is none."""
    for name, function in _FUNCTIONS.items():
        if like in (name, function):
            return _ENTRIES[name]
    raise InputError(
        f"like={getattr(like, '__name__', like)!r} is not registered; accepted: a registered "
        f"builder, such as sp.architectures.transformer"
    )


def registered() -> dict[str, Entry]:
    """Return what is registered so far, by name; the package's own once ``sigprop.architectures``
    was imported."""
    return dict(_ENTRIES)


def functions() -> dict[str, Callable[..., Architecture]]:
    """Return the registered builders by name."""
    return dict(_FUNCTIONS)
