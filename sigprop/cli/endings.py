"""How a command can end, and the one line that is said of it: an exit code that means a verdict
is a verdict's alone."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Callable

from sigprop.cli.codes import BAD_INPUT, CONFIRMED, INCONCLUSIVE, INTERRUPTED, OURS
from sigprop.cli.streams import mute, remark
from sigprop.errors import Diverged, InputError, line_of
from sigprop.runtime import interrupts

WHERE = "please report it with the command line in the project's issue tracker"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
LONGEST_WORD, LONGEST = 200, 2000  # characters of what was given, and of a line


def ended(command: Callable[[], int], debug: bool = False) -> int:
    """The exit code of ``command``; whatever it raises is one line on stderr. debug: with the
    traceback, where the error is ours."""
    interrupts.begin()
    if sys.stdout is None:
        return _say("stdout is closed; accepted: a terminal, a file or a pipe", BAD_INPUT)
    try:
        return command()
    except KeyboardInterrupt:
        remark(interrupts.line())
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has gone, as in ``sigprop --help | head -1``
        mute(sys.stdout)
        return CONFIRMED
    except Exception as error:
        found = known(error)
        if found is not None:
            return _say(*found)
        if debug:
            remark(traceback.format_exc().rstrip())
        return _say(
            f"an error of ours: {type(error).__name__}: {error}; {WHERE}; --debug shows the "
            f"traceback",
            OURS,
        )


def known(error: Exception) -> tuple[str, int] | None:
    """(what to say, exit code) of an error that is not ours; None of any other."""
    from cyclopts import CycloptsError

    if isinstance(error, CycloptsError):
        cause = error.__cause__
        return str(cause if isinstance(cause, InputError) else error), BAD_INPUT
    line = line_of(error)
    if line is not None:
        return line, INCONCLUSIVE if isinstance(error, Diverged) else BAD_INPUT
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename!r}: {error.strerror}; accepted: a file that can be read or written",
            BAD_INPUT,
        )
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        mute(sys.stdout)
        return (
            f"stdout: {error.strerror}; accepted: a terminal, a file or a pipe that takes the "
            f"answer",
            BAD_INPUT,
        )
    return None


def _say(text: str, code: int) -> int:
    remark("sigprop: " + one_line(text))
    return code


def one_line(text: str) -> str:
    """``text`` on one line of printable characters, endless words and lines shortened in the
    middle."""
    words = [
        word if len(word) <= LONGEST_WORD else f"{word[: LONGEST_WORD // 2]}...{word[-20:]}"
        for word in text.split()
    ]
    line = re.sub(
        r"[^\x20-\x7e\xa0-\U0010ffff]", lambda found: repr(found[0])[1:-1], " ".join(words)
    )
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
