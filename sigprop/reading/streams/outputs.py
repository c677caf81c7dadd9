"""Which of a module's outputs is the state's: the one whose stream holds all others, or the one
that was named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sigprop.errors import InputError, near_miss
from sigprop.modules.terms import Matrix, Term
from sigprop.reading.stem import where
from sigprop.reading.stream import Stream, depends, stream
from sigprop.reading.streams.waists import in_order

MOST = 8
"""Names of outputs that a message lists."""


class Chosen(NamedTuple):
    """A stream, the output that it ends in, and those that are no part of it."""

    stream: Stream
    output: str
    apart: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the module the description has not, a line each."""
        heads = dict.fromkeys(where(of) for of in self.stream.head if isinstance(of, Matrix))
        said = (
            f"{', '.join(reversed(heads))}: above the last state, left out; gradients are of a "
            f"random read-out of it",
        )
        others = f"outputs left out, no part of {self.output}'s stream: {', '.join(self.apart)}"
        return (*(said if heads else ()), *((others,) if self.apart else ()))


def chosen(outputs: Mapping[str, Term], wanted: str | int | None = None) -> Chosen:
    """Find the stream of a module's outputs.

    outputs: by name, in order; wanted: the name or the place of the one to read, else the one whose
    stream all others are part of: heads of it, states on the way. Raises ``InputError`` for a name
    that is none, for outputs without a stream, and for two of which neither holds the other.
    """
    if wanted is not None:
        name = _named(outputs, wanted)
        return Chosen(stream(outputs[name]), name)
    found: Chosen | None = None
    refused: dict[str, InputError] = {}
    for name in _largest_first(outputs):
        if found is not None and _is_part(outputs[name], found.stream):
            continue
        try:
            other = Chosen(stream(outputs[name]), name)
        except InputError as error:
            refused[name] = error
            continue
        if found is None or _is_part(_last(found.stream), other.stream):
            found = other
        elif not _is_part(_last(other.stream), found.stream):
            raise _several(found, other, outputs)
    if found is None:
        first = refused[next(iter(outputs))]
        raise first if len(outputs) == 1 else _none(outputs, first)
    last = _last(found.stream)
    apart = tuple(n for n in outputs if n in refused and not depends(outputs[n], last))
    return found._replace(apart=apart)


def _largest_first(outputs: Mapping[str, Term]) -> list[str]:
    """Names of outputs, those that most is computed for first."""
    sizes = {name: len(in_order(term)) for name, term in outputs.items()}
    return sorted(outputs, key=lambda name: -sizes[name])


def _named(outputs: Mapping[str, Term], wanted: str | int) -> str:
    """The name of the output that is asked for."""
    names = list(outputs)
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted < len(names):
        return names[wanted]
    if wanted in names:
        return str(wanted)
    raise InputError(f"output={wanted!r}{near_miss(str(wanted), names)}")


def _last(found: Stream) -> Term:
    return found.steps[-1].after


def _is_part(term: Term, of: Stream) -> bool:
    """Tell whether a term is a stream's last state, or on the way to it."""
    last = _last(of)
    return term is last or depends(last, term)


def _several(one: Chosen, other: Chosen, outputs: Mapping[str, Term]) -> InputError:
    """Return the error for streams of their own."""
    places = ", ".join(f"{of.output} (at {where(_last(of.stream))})" for of in (one, other))
    return InputError(
        f"model: outputs with streams of their own, {places}; accepted: output, one of "
        f"{_listed(outputs)}"
    )


def _listed(outputs: Mapping[str, Term]) -> str:
    return ", ".join([*outputs][:MOST]) + (", ..." if len(outputs) > MOST else "")


def _none(outputs: Mapping[str, Term], first: InputError) -> InputError:
    """Return the error for several outputs none of which has a stream: the first one's."""
    return InputError(f"{first} (of outputs {_listed(outputs)}, none has one)")
