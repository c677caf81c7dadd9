"""The command line: ``sigprop list | derive | predict | measure | verify | figures | ...``.

Light on purpose: until ``main`` has begun to watch for interrupts, one of them is Python's own
traceback.
"""

from __future__ import annotations

import gc
import os
import sys

from sigprop.cli.codes import CONFIRMED, INTERRUPTED

ANYWHERE = DEBUG, NO_CACHE = "--debug", "--no-cache"
"""Options that every command has."""
SELDOM = 100_000, 5, 2
"""How seldom garbage is looked for: imports and traces make half a million objects that stay."""
TYPE_CHECKING = False  # typing's own takes milliseconds
if TYPE_CHECKING:
    from collections.abc import Sequence


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 confirmed or done, 1 rejected, 2 bad input, 3
    inconclusive, 70 an error of ours, 130 interrupted.

    arguments: the words after ``sigprop`` (default: the process's own). Nothing is raised.
    """
    from sigprop.cli.endings import ended

    words = list(sys.argv[1:] if arguments is None else arguments)
    return ended(
        lambda: _command([word for word in words if word not in ANYWHERE]), debug=DEBUG in words
    )


def _command(words: list[str]) -> int:
    from sigprop.cli.commands import app

    code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    sys.stdout.flush()
    return code or CONFIRMED


def main() -> None:
    """The console script."""
    gc.set_threshold(*SELDOM)
    try:
        from sigprop.runtime import interrupts

        interrupts.watch()
        from sigprop.cli import streams

        streams.prepare()
        if NO_CACHE not in sys.argv:
            from sigprop.runtime import cache, traced

            traced.keep(cache.begin(streams.remark))
        code = run()
        interrupts.finish()
    except KeyboardInterrupt:  # before the watch, or where there is none
        os.write(2, b"sigprop: interrupted; nothing was written\n")
        os._exit(INTERRUPTED)
    sys.exit(code)
