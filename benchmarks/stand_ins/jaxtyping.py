"""In place of jaxtyping where it is not installed (``gpu.sh``): names for annotations, which say
nothing of shapes and check nothing."""

from __future__ import annotations

from typing import Any


class _Annotation:
    def __class_getitem__(cls, item: Any) -> type[_Annotation]:
        return cls


def __getattr__(name: str) -> type[_Annotation]:
    if name.startswith("_"):
        raise AttributeError(name)
    return _Annotation
