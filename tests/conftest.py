"""Every test runs under strict numerics: no silent dtype or rank promotion; warnings are errors
(pyproject.toml). Functions of ``shapes.CHECKED`` check the shapes that their annotations name.

Compiled programs are shared: by the test processes, by the commands they start, and with the
session before.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import jax
import pytest
from jaxtyping import install_import_hook
from programs import few_programs as few_programs  # a fixture of every file
from shapes import CHECKED

from sigprop.runtime import cache

# a trace is millions of objects that live until it is compiled: looking through them again and
# again finds nothing
gc.set_threshold(100_000, 5, 2)

# before anything of them is imported
install_import_hook(CHECKED, "shapes.check")


@pytest.fixture(autouse=True)
def strict_numerics() -> Iterator[None]:
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(autouse=True)
def lines_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are those of a file, not of the terminal that tests run in; the test processes are
    told its width."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True, scope="session")
def shared_programs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Programs are those of the user's cache (``sigprop.runtime.cache``); where that is off or
    cannot be used, of this session."""
    base = tmp_path_factory.getbasetemp()
    cache.begin(lambda _: None)
    session = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs")
    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", session)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(cache.WORTH_KEEPING)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", cache.WORTH_KEEPING)
