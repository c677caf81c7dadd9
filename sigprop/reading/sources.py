"""Where a model and its example come from when they are named in text: a file of the user's, a
Hugging Face configuration, or a folder with trained weights."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sigprop.errors import InputError, near_miss, short
from sigprop.reading.requirements import EXTRAS, require

EXAMPLE = "example"
"""Name in the user's file of what the model is called with: a value, or a function of one."""


class Named(NamedTuple):
    """A function that builds a module, what the module is called with, and a module of trained
    weights where there is one."""

    build: Callable[[], Any]
    example: Any
    trained: Any = None


def from_file(text: str, tokens: int) -> Named:
    """Load ``FILE.py:function``: the function builds the module.

    What stands under ``example`` in the file (a tensor, a tuple, a dict, or a function of one) is
    what the module is called with; without it, the token ids 0, 1, ..., tokens - 1, of jax where
    the file imports it and no torch, else of torch (None where it imports sigprop and none of the
    libraries: its function returns a description); a function of the width stays one. Raises
    ``InputError`` for a file that cannot be loaded or has no such function.
    """
    path, _, name = text.rpartition(":")
    file = Path(path)
    if not path or file.suffix != ".py" or not file.is_file():
        raise InputError(f"model={text!r}; accepted: FILE.py:function, of a file that exists")
    names = _loaded(file)
    build = names.get(name)
    if not callable(build):
        functions = [known for known, value in names.items() if callable(value)]
        raise InputError(f"model={text!r}: no function {name!r}{near_miss(name, functions)}")
    example: Any = names[EXAMPLE] if EXAMPLE in names else _ids(names, tokens)
    return Named(build, example if takes(example) else called(example))


def _ids(names: Mapping[str, Any], tokens: int) -> Any:
    """Token ids of the library that a file's names are of; None where it is none that is read."""
    modules = {getattr(value, "__module__", None) or "" for value in names.values()}
    modules |= {getattr(value, "__name__", "") for value in names.values()}
    libraries = {str(module).partition(".")[0] for module in modules}
    if libraries & {"flax", "equinox", "jax"} and "torch" not in libraries:
        ids = np.arange(tokens)
        return ids if "equinox" in libraries else ids[None]
    if "sigprop" in libraries and not libraries & {"torch", "transformers"}:
        return None
    return require("torch").arange(tokens)[None]


def takes(example: Any) -> bool:
    """Tell whether an example is a function of something, of the width."""
    return callable(example) and bool(inspect.signature(example).parameters)


def called(example: Any, width: int | None = None) -> Any:
    """Return what a model is called with: an example as it is, or what a function of none, or of
    the width, returns. Raises ``InputError`` where that raises."""
    if not callable(example):
        return example
    try:
        return example(*([] if width is None or not takes(example) else [width]))
    except Exception as error:
        accepted = "without arguments" if width is None else "of the width"
        raise InputError(
            f"{EXAMPLE}: {type(error).__name__}: {short(error)}; accepted: a function {accepted} "
            f"that returns what the model is called with"
        ) from error


def _loaded(file: Path) -> dict[str, Any]:
    """Import a file of the user's, as ``python FILE.py`` would find what lies beside it."""
    import sys

    name = f"_sigprop_model_{file.stem}"  # no other module's
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"model={str(file)!r}; accepted: a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.resolve().parent))
    sys.modules[name] = module  # where dataclasses look for their annotations
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        lacking = error.name if isinstance(error, ImportError) else None
        if lacking in EXTRAS:
            require(lacking)
        raise InputError(
            f"model={str(file)!r}: {type(error).__name__}: {short(error)}; accepted: a file that "
            f"Python can import"
        ) from error
    finally:
        sys.path.pop(0)
    return vars(module)


def from_config(
    config: Any, *, tokens: int = 32, changes: Mapping[str, str] | None = None
) -> Named:
    """Build a Hugging Face model from its configuration, with nothing downloaded.

    config: a configuration, or the name of its kind (``model_type``, such as 'gpt2'); tokens: of
    the example, distinct token ids (of an image model, the image its configuration says); changes:
    its fields, as text. Of kinds that are an encoder and a decoder (T5) the encoder alone is built,
    where transformers has one (AutoModelForTextEncoding). Returns the function that builds it and
    the example. Raises ``InputError`` for a kind or a field that is not known.
    """
    transformers = require("transformers")
    kind = config if isinstance(config, str) else None
    if kind is not None:
        known = transformers.models.auto.configuration_auto.CONFIG_MAPPING_NAMES
        if kind not in known:
            raise InputError(f"hf={kind!r}{near_miss(kind, known)}")
        config = transformers.AutoConfig.for_model(kind)
    if not isinstance(config, transformers.PretrainedConfig):
        raise InputError(
            f"config={short(config)}; accepted: a kind of configuration, or a configuration"
        )
    read = {name: _value(config, name, text) for name, text in (changes or {}).items()}
    if kind is not None:  # anew: fields that follow from others follow
        config = transformers.AutoConfig.for_model(kind, **read)
    for name, value in read.items():
        setattr(config, name, value)
    example = _example(config, tokens)
    auto = _auto_class(transformers, config)
    return Named(lambda: auto.from_config(config), example)


def _auto_class(transformers: Any, config: Any) -> Any:
    """What builds a configuration's model; of an encoder and decoder, the encoder alone where the
    library has one."""
    encoders = transformers.models.auto.modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING
    if getattr(config, "is_encoder_decoder", False) and type(config) in encoders:
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def from_folder(folder: str, *, tokens: int = 32) -> Named:
    """Load a Hugging Face checkpoint that lies in a folder: config.json and its weights.

    folder: with config.json and safetensors (or what ``torch.load`` reads with weights_only);
    tokens: as of ``from_config``. Returns the function that builds the model as it is initialised,
    the example, and the model with the folder's weights, in float32. Raises ``InputError`` for a
    folder that holds none, and for code of its own, which is not run.
    """
    transformers = require("transformers")
    if not (Path(folder) / "config.json").is_file():
        raise InputError(f"model={folder!r}; accepted: a folder with config.json and weights")
    given = {"local_files_only": True, "trust_remote_code": False}
    transformers.logging.set_verbosity_error()  # of weights that a head has and the model has not
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **given)
        trained = transformers.AutoModel.from_pretrained(
            folder, config=config, dtype=require("torch").float32, **given
        )
    except Exception as error:  # the library has no one kind of its own
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise InputError(
            f"model={folder!r}: {type(error).__name__}: {short(first, 160)}; accepted: a folder "
            f"with config.json and weights that transformers loads"
        ) from error
    config.dtype = None
    return from_config(config, tokens=tokens)._replace(trained=trained.eval())


def _value(config: Any, name: str, text: str) -> Any:
    """Read text as what a field holds."""
    fields = config.to_dict()
    if name not in fields and not hasattr(config, name):
        raise InputError(
            f"set: {name!r} is no field of {type(config).__name__}{near_miss(name, fields)}"
        )
    was = getattr(config, name)
    kinds = {bool: _boolean, int: int, float: float, str: str, type(None): _plain}
    read = kinds.get(type(was))
    if read is None:
        raise InputError(f"set: {name}={text!r}; accepted: a field that is a number or text")
    try:
        return read(text)
    except ValueError:
        raise InputError(f"set: {name}={text!r}; accepted: {type(was).__name__}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _plain(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _example(config: Any, tokens: int) -> dict[str, Any]:
    """What a model of this configuration is called with."""
    torch = require("torch")
    if hasattr(config, "image_size") and not hasattr(config, "vocab_size"):
        size = config.image_size
        sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(1, config.num_channels, *sides, generator=generator)
        return {"pixel_values": image}
    words = getattr(config, "vocab_size", tokens)
    if tokens > words:
        raise InputError(f"tokens={tokens}; accepted: up to the vocabulary of {words}")
    # not the first ones: a word for padding would be no token
    first = min(100, words - tokens)
    return {"input_ids": torch.arange(first, first + tokens)[None]}
