"""Which law every parameter starts from, recorded while constructors and initialisers run.

A dispatch mode sees every fill, whatever called it (``torch.nn.init``, ``Tensor.normal_``,
``p.data.copy_(torch.randn(...) * s)``, an initialiser of a library's own), on tensors with or
without memory. What one storage holds is a law for all of it, or pieces: rectangles that were
filled on their own (a packed matrix). Two initialisers do nothing where there is no memory;
``watched`` says what they would have drawn.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch.utils._python_dispatch import (  # pyright: ignore[reportMissingImports]
    TorchDispatchMode,
)

from sigprop.modules.laws import (
    Law,
    constant,
    erfinv_of,
    normal,
    truncated_normal,
    uniform,
    unknown,
)

FILLS: dict[str, Callable[[Any], Law]] = {
    "normal_": lambda a: normal(a(1, "mean", 0.0), a(2, "std", 1.0)),
    "uniform_": lambda a: uniform(a(1, "from", 0.0), a(2, "to", 1.0)),
    "fill_": lambda a: constant(a(1, "value", 0.0)),
    "zero_": lambda a: constant(0.0),
}
"""Operations in place, by name, to the law that they leave; a(position, name, default) gives their
arguments."""
MAKERS: dict[str, Callable[[Any], Law]] = {
    "zeros": lambda a: constant(0.0),
    "zeros_like": lambda a: constant(0.0),
    "new_zeros": lambda a: constant(0.0),
    "ones": lambda a: constant(1.0),
    "ones_like": lambda a: constant(1.0),
    "new_ones": lambda a: constant(1.0),
    "full": lambda a: constant(a(1, "fill_value", 0.0)),
    "full_like": lambda a: constant(a(1, "fill_value", 0.0)),
    "new_full": lambda a: constant(a(2, "fill_value", 0.0)),
    "randn": lambda a: normal(0.0, 1.0),
    "randn_like": lambda a: normal(0.0, 1.0),
    "rand": lambda a: uniform(0.0, 1.0),
    "rand_like": lambda a: uniform(0.0, 1.0),
    "normal": lambda a: normal(a(0, "mean", 0.0), a(1, "std", 1.0)),
}
"""Operations that make a tensor, by name, to its law."""
SAME = {"clone", "_to_copy", "contiguous", "detach", "alias", "lift_fresh"}
CHANGES: dict[str, Callable[[Law, float], Law]] = {
    "mul": lambda law, c: law.affine(c),
    "div": lambda law, c: law.affine(1 / c),
    "add": lambda law, c: law.affine(1.0, c),
    "sub": lambda law, c: law.affine(1.0, -c),
}
QUIET = {
    "detach_",
    "requires_grad_",
    "set_",
    "resize_",
    "squeeze_",
    "unsqueeze_",
    "transpose_",
    "t_",
}
"""Operations whose names end as those in place do and that change no entry."""
SURE = 6.0  # standard deviations beyond which clamping changes nothing: 2 entries of 10^9


@dataclass
class Held:
    """What a storage holds: a law, and pieces (offset, shape, strides) that were filled after;
    origin: equal where one tensor is a copy of another."""

    law: Law
    origin: object = field(default_factory=object)
    pieces: list[tuple[int, tuple[int, ...], tuple[int, ...], Law]] = field(default_factory=list)


class Recorder(TorchDispatchMode):
    """Notes the law of every storage that is filled while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, Held] = {}
        self._storages: list[Any] = []  # kept: an address stands for one storage only

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        name = func._schema.name.split("::")[1]

        def argument(position: int, word: str, default: float) -> float:
            value = args[position] if len(args) > position else given.get(word, default)
            return default if value is None else _number(value)

        try:
            if not self._note(name, out, args, argument):
                for tensor in _written(func, args, given):
                    self._put(tensor, unknown(name))
        except (TypeError, ValueError, ZeroDivisionError):
            if isinstance(target := out, torch.Tensor):
                self._put(target, unknown(name))
        return out

    def _note(self, name: str, out: Any, args: tuple[Any, ...], argument: Any) -> bool:
        """Note what one operation leaves; False where it has no rule."""
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        stem = name.removesuffix("_")
        if name in FILLS and first is not None:
            self._put(first, FILLS[name](argument))
        elif name in MAKERS:
            self._put(out, MAKERS[name](argument))
        elif name == "copy_":
            self._copy(first, args[1])
        elif first is None:
            return False
        elif name in QUIET:
            pass
        elif name == "clamp_":
            return self._within(first, argument)
        elif stem in CHANGES or stem == "neg":
            self._change(stem, out if name == stem else first, first, args, argument)
        elif stem == "erfinv":
            self._put(out if name == stem else first, erfinv_of(self.law(first) or unknown(name)))
        elif name in SAME and isinstance(out, torch.Tensor):
            if self.law(first) is not None and _key(out) != _key(first):
                self._copy(out, first)
        else:
            return False
        return True

    def _within(self, tensor: Any, argument: Any) -> bool:
        """Tell whether clamping leaves a law as it is: what lies within already, or all but."""
        if (law := self.law(tensor)) is None or not law.known:
            return False
        low, high = argument(1, "min", -math.inf), argument(2, "max", math.inf)
        far = SURE * math.sqrt(law.variance)
        slack = 1e-6 * far
        above = low <= max(law.low + slack, law.mean - far)
        return above and high >= min(law.high - slack, law.mean + far)

    def _change(self, stem: str, target: Any, first: Any, args: Any, argument: Any) -> None:
        """Note c x, x/c, x + c, x - c, -x of what has a law."""
        if (law := self.law(first)) is None:
            return
        of = self._held.get(_key(first))
        value = -1.0 if stem == "neg" else argument(1, "other", 0.0)
        if stem in ("add", "sub"):
            value *= argument(2, "alpha", 1.0)
        self._put(target, law.affine(-1.0) if stem == "neg" else CHANGES[stem](law, value))
        held = self._held[_key(target)]
        if of is not None and not held.pieces and not of.pieces:
            scaled = stem in ("mul", "div") and value > 0  # the same draw, at another size
            held.origin = of.origin if scaled else (of.origin, stem, value)

    def _copy(self, target: Any, source: Any) -> None:
        """Note that a tensor holds what another one does."""
        law = self.law(source) or unknown("a copy of what no initialiser made")
        if source.numel() != target.numel() and law.variance:
            law = unknown("a smaller tensor, repeated")
        self._put(target, law)
        held, of = self._held[_key(target)], self._held.get(_key(source))
        if of is not None and not held.pieces and not of.pieces:
            held.origin = of.origin

    def _put(self, tensor: Any, law: Law) -> None:
        storage = tensor.untyped_storage()
        self._storages.append(storage)
        if tensor.numel() * tensor.element_size() == storage.nbytes():
            self._held[_key(tensor)] = Held(law)
            return
        held = self._held.setdefault(_key(tensor), Held(unknown("memory that nothing filled")))
        held.pieces.append((tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), law))

    def put(self, tensor: Any, law: Law) -> None:
        """Say what a tensor holds."""
        self._put(tensor, law)

    def law(self, tensor: Any) -> Law | None:
        """Return the law of all of a tensor; None where nothing is known, 'unknown' in pieces."""
        held = self._held.get(_key(tensor))
        if held is None:
            return None
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        return held.law if whole and not held.pieces else unknown("filled in pieces")

    def held(self, tensor: Any) -> Held | None:
        """Return what a tensor's storage holds, pieces and all."""
        return self._held.get(_key(tensor))


def _key(tensor: Any) -> int:
    return tensor.untyped_storage()._cdata


def _written(func: Any, args: tuple[Any, ...], given: Any) -> Iterator[Any]:
    """The tensors that an operation writes into, as its schema says."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) else given.get(argument.name)
        for tensor in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(tensor, torch.Tensor):
                yield tensor


def _number(value: Any) -> float:
    """A plain number; raises ``TypeError`` for anything that is not known to be one."""
    if isinstance(value, torch.Tensor):
        if value.is_meta or value.numel() != 1:
            raise TypeError
        return float(value)
    return float(value)


def _through(tensor: Any, gain: Any = 1, generator: Any = None) -> Any:
    """What stands in for an initialiser's code: its globals are those of ``torch.nn.init``."""
    return _sigprop_watched(tensor, gain, generator)  # noqa: F821  # pyright: ignore


@contextlib.contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """Enter the recorder, with the two initialisers that return early made to say their law.

    One of them is a name that users import: its code is replaced, so that theirs changes too.
    """
    init = torch.nn.init
    truncate, public = init._no_grad_trunc_normal_, init.orthogonal_
    code = public.__code__
    orthogonal = FunctionType(code, init.__dict__)

    def trunc_normal(t: Any, mean: float, std: float, a: float, b: float, **more: Any) -> Any:
        out = truncate(t, mean, std, a, b, **more)
        recorder.put(t, truncated_normal(mean, std, a, b))
        return out

    def orthogonal_(tensor: Any, gain: float, generator: Any) -> Any:
        out = tensor if tensor.is_meta else orthogonal(tensor, gain, generator)
        rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
        recorder.put(tensor, Law("orthogonal", 0.0, gain**2 / max(rows, columns)))
        return out

    with recorder, contextlib.ExitStack() as stack:
        stack.callback(setattr, init, "_no_grad_trunc_normal_", truncate)
        init._no_grad_trunc_normal_ = trunc_normal
        stack.callback(init.__dict__.pop, "_sigprop_watched")
        setattr(init, "_sigprop_watched", orthogonal_)  # noqa: B010 (a name torch has not)
        stack.callback(setattr, public, "__code__", code)
        public.__code__ = _through.__code__
        yield
