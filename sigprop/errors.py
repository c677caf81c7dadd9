"""The two ways a run can end badly that a user has to read: bad input, and a network that
overflows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line and names the parameter, what
    came, what would do."""


class NoRule(NotImplementedError):
    """The calculus met an inner product that none of its rules covers (zero is never a default);
    one line, as of ``InputError``."""


def no_rule(node: object, reason: str, accepted: str) -> NoRule:
    """The refusal of ``node`` (shown in the user's own names): why no rule applies, and what to
    write instead."""
    return NoRule(f"{short(node)}: {reason}; accepted: {accepted}")


def short(value: object, most: int = 80) -> str:
    """The value's text on one line of at most ``most`` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[: most - 3] + "..."


class Diverged(ArithmeticError):
    """A finite network overflowed. application: the first one whose state is not finite; None
    where it is not known."""

    def __init__(self, application: int | None = None) -> None:
        self.application = application
        super().__init__(
            "diverged" if application is None else f"diverged at application {application}"
        )

    def __reduce__(self) -> tuple[type, tuple[int | None]]:
        return Diverged, (self.application,)  # from a process of its own


def line_of(error: Exception) -> str | None:
    """The one line of an error that is no fault of the package: bad input, no rule, a network that
    diverged, no memory; None of any other."""
    if isinstance(error, (InputError, NoRule)):
        return str(error)
    if isinstance(error, Diverged):
        return (
            f"a network {error}; accepted: parameters at which it stays finite, or (measure, "
            f"verify) dtype=float64"
        )
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"out of memory ({error or 'Python'}); accepted: fewer applications, tokens or "
            f"networks, or less width"
        )
    return None


def near_miss(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known name, else the list of what is known."""
    known = sorted(known)
    same = [other for other in known if other.lower() == name.lower()]
    close = same or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
