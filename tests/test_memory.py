"""What a program asks of the C library, in processes of their own: it holds for the whole of one."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import resource
import numpy as np
from sigprop import memory
kept = {keep} and memory.keep()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**24)
before = faults()
for _ in range(4):
    np.ones(2**24)  # 128 MiB: 32,768 pages
print(kept, faults() - before)
"""


def _faults(keep: bool) -> tuple[bool, int]:
    done = subprocess.run([sys.executable, "-c", COUNT.format(keep=keep)], capture_output=True, text=True, check=True)
    kept, count = done.stdout.split()
    return kept == "True", int(count)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_given_back_is_kept_and_only_where_that_is_asked_for():
    kept, count = _faults(keep=True)
    if not kept:
        pytest.skip("another C library")
    assert count < 1000
    assert _faults(keep=False)[1] > count
