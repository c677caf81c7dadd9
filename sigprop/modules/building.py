"""A module to read: built by the user's function without memory for its parameters, every
initialiser recorded; or given, and its parameters' second moments taken.

Buffers keep their values (angles of rotary positions, masks): only parameters go without.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

from sigprop.errors import InputError, short
from sigprop.modules.laws import Built, Law, Parameter, measured, unknown
from sigprop.modules.recording import Held, Recorder, watched


@contextlib.contextmanager
def _without_memory() -> Iterator[None]:
    """Let every parameter that a module registers go without memory, but for those that are not
    trained: they may be numbers that no initialiser draws (positions)."""
    register = nn.Module.register_parameter
    moved: dict[int, tuple[Any, Any]] = {}

    def put(self: Any, name: str, param: Any) -> None:
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise InputError(
                f"{type(self).__name__}.{name}: a lazy parameter; accepted: modules that know "
                f"their sizes"
            )
        if param is not None and not param.is_meta and param.requires_grad:
            if id(param) not in moved:
                empty = nn.Parameter(param.detach().to("meta"), param.requires_grad)
                vars(empty).update(vars(param))
                moved[id(param)] = param, empty
            param = moved[id(param)][1]
        register(self, name, param)

    nn.Module.register_parameter = put
    try:
        yield
    finally:
        nn.Module.register_parameter = register


def build(function: Callable[[], Any]) -> Built:
    """Call the user's function and record what its parameters start from.

    Where it cannot run without memory it runs with. Raises ``InputError`` where it raises, or
    returns no module.
    """
    recorder = Recorder()
    try:
        with watched(recorder), _without_memory():
            module = _checked(function())
            _finish(module)
    except InputError:
        raise
    except Exception:
        recorder = Recorder()
        try:
            with watched(recorder):
                module = _checked(function())
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"build: {type(error).__name__}: {short(error)}; accepted: a function without "
                f"arguments that returns a torch module"
            ) from error
    return _built(module.eval(), recorder)


def given(module: Any) -> Built:
    """Take a module as it is: the mean and variance of what its parameters hold."""
    _checked(module)
    if module.training and any(
        isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0 for part in module.modules()
    ):
        raise InputError("module: in training mode, with dropout; accepted: module.eval()")
    return _built(module, None)


HALVES = {torch.float16: "float16", torch.bfloat16: "bfloat16"}


def half(module: Any) -> str | None:
    """Return the name of the half precision that parameters are held in; None where none is."""
    kinds = (HALVES.get(tensor.dtype) for tensor in module.parameters())
    return next((kind for kind in kinds if kind is not None), None)


def _checked(module: Any) -> Any:
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model={short(module)}; accepted: a torch.nn.Module, or a function of one"
        )
    return module


def _finish(module: Any) -> None:
    """Let a library that leaves parameters without memory alone initialise them all the same."""
    initialise = getattr(module, "initialize_weights", None)
    if callable(initialise) and any(p.is_meta for p in module.parameters()):
        initialise()


def _built(module: Any, recorder: Recorder | None) -> Built:
    parameters: dict[str, Parameter] = {}
    first: dict[int, str] = {}
    same: dict[str, str] = {}
    origins: dict[object, str] = {}
    copies: dict[str, str] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        same[name] = first.setdefault(id(tensor), name)
        held = recorder.held(tensor) if recorder is not None else None
        parameters[name] = _parameter(name, tensor, held, numbers=recorder is not None)
        origin = _contents(tensor) if held is None else held.origin
        copies[name] = same[name] if origin is None else origins.setdefault(origin, same[name])
    return Built(module, type(module).__name__, parameters, same, copies)


def _contents(tensor: Any) -> object:
    """What two parameters that hold the same entries have in common; None where there are none, or
    all are one number."""
    if tensor.is_meta or tensor.numel() == 0:
        return None
    values = tensor.detach().cpu().contiguous().flatten()
    if bool((values == values[0]).all()):
        return None
    digest = hashlib.sha256(values.view(torch.uint8).numpy().data).hexdigest()
    return digest, tuple(tensor.shape), tensor.dtype


def _parameter(name: str, tensor: Any, held: Held | None, *, numbers: bool) -> Parameter:
    """A parameter and its law; numbers: what is not trained and was not drawn is taken as it is."""
    if held is not None:
        return Parameter(name, tuple(tensor.shape), held.law, tuple(held.pieces))
    if numbers and not tensor.requires_grad:
        return Parameter(name, tuple(tensor.shape), unknown("not trained, and no draw"))
    if tensor.is_meta:
        return Parameter(name, tuple(tensor.shape), unknown("no initialiser and no memory"))
    return Parameter(name, tuple(tensor.shape), moments(name, tensor))


def moments(name: str, tensor: Any) -> Law:
    """Return the law of a parameter that is held: its entries' mean and variance.

    Raises ``InputError`` for entries that are not finite, or quantised.
    """
    if not tensor.is_floating_point():
        raise InputError(f"{name}: {tensor.dtype}; accepted: floating-point parameters")
    return measured(name, tensor.detach().to(torch.float64).numpy().ravel())
