"""The command line: ``sigprop list | derive | predict | measure | verify | figures | ...``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

CONFIRMED, REJECTED, BAD_INPUT, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 130


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 confirmed or done, 1 rejected, 2 bad input, 3 inconclusive, 130 interrupted."""
    from cyclopts import CycloptsError

    from sigprop.cli.commands import app
    from sigprop.errors import Diverged, InputError, NoRule

    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
        return code or 0
    except CycloptsError as error:
        return _complain(error.__cause__ if isinstance(error.__cause__, InputError) else error)
    except InputError as error:
        return _complain(error)
    except NoRule as error:
        return _complain(f"the calculus has no rule for {error}; accepted: architectures whose inner products the rules cover")
    except Diverged as error:
        _complain(f"a network {error}; accepted: parameters at which it stays finite, or (measure, verify) dtype=float64")
        return INCONCLUSIVE
    except KeyboardInterrupt:
        print("sigprop: interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has gone, as in ``sigprop list | head -1``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CONFIRMED


def main() -> None:
    """The console script."""
    sys.exit(run())


def _complain(error: object) -> int:
    print("sigprop: " + " ".join(str(error).split()), file=sys.stderr)
    return BAD_INPUT
