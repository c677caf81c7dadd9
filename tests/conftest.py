"""Every test runs under strict numerics: no silent dtype or rank promotion; warnings are errors (pyproject.toml).

Compiled programs are shared: by the test processes, by the commands they start, and with what one of them has let go of.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import jax
import pytest

WORTH_KEEPING = 0.3  # seconds of compilation


@pytest.fixture(autouse=True)
def strict_numerics() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    folder = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH_KEEPING)
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(WORTH_KEEPING)}
