"""Models named in text: functions of the user's files, and Hugging Face configurations."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from descriptions import assert_alike, assert_same
from torch_modules import torch

import sigprop as sp
from sigprop.reading.sources import from_config, from_file, from_folder

FILE = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from beside_it import WIDTH

@dataclass
class Sizes:
    width: int = WIDTH

class Net(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.w = nn.Linear(sizes.width, sizes.width)
    def forward(self, x):
        return x + self.w(x.tanh())

def build():
    return Net(Sizes())

def build_wide():
    return Net(Sizes(2 * WIDTH))

def example():
    return torch.ones(3, WIDTH)

number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside_it.py").write_text("WIDTH = 16\n")
    path = tmp_path / "network.py"
    path.write_text(FILE)
    return path


def test_a_function_of_a_file_and_its_example(file: Path):
    """The file is imported as Python would, what lies beside it and its dataclasses included."""
    before = list(sys.path)
    named = from_file(f"{file}:build", 7)
    assert sys.path == before
    found = sp.read(named.build, named.example)
    assert (found.width, found.architecture.tokens, found.paths) == (16, 3, ("w",))


@pytest.mark.parametrize(
    ("line", "shape"),
    [
        ("", (1, 7)),
        ("example = torch.zeros(2, 16)", (2, 16)),
        ("example = lambda: (torch.zeros(4, 16),)", (4, 16)),
        ("example = {'x': torch.zeros(5, 16)}", (5, 16)),
    ],
)
def test_an_example_is_a_value_a_function_or_ids(file: Path, line: str, shape: tuple[int, ...]):
    """Without one it is the token ids 0 to tokens - 1."""
    file.write_text(
        FILE.replace(FILE[FILE.index("def example") : FILE.index("number")], line + "\n")
    )
    example = from_file(f"{file}:build", 7).example
    first = example if isinstance(example, torch.Tensor) else None
    first = (
        first if first is not None else next(iter(getattr(example, "values", lambda: example)()))
    )
    assert tuple(first.shape) == shape


def refused(call: Callable[[], Any], *words: str) -> None:
    """One line that holds every word."""
    with pytest.raises(sp.InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


BAD_FILES = {
    "{file}": "FILE.py:function",
    "{file}:": "no function ''",
    "{file}:biuld": "did you mean 'build'?",
    "{file}:number": "no function 'number'",
    "nowhere.py:build": "a file that exists",
    "{folder}:build": "a file that exists",
    "": "FILE.py:function",
    ":build": "FILE.py:function",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_files_and_functions_that_do_not_exist(file: Path, text: str):
    """What came is shown, with the closest name."""
    given = text.format(file=file, folder=file.parent)
    refused(lambda: from_file(given, 4), "model=", BAD_FILES[text])


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def build(:", "SyntaxError"),
        ("import no_such_package", "ModuleNotFoundError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_files_that_cannot_be_imported(file: Path, source: str, word: str):
    """Python's own error in one line; the path of imports is as it was."""
    file.write_text(source)
    before = list(sys.path)
    refused(lambda: from_file(f"{file}:build", 4), word, "a file that Python can import")
    assert sys.path == before


def test_an_example_that_fails(file: Path):
    """A function of an example that raises is the file's, and is said."""
    file.write_text(FILE.replace("return torch.ones(3, WIDTH)", "return 1 / 0"))
    refused(lambda: from_file(f"{file}:build", 4), "example", "ZeroDivisionError")


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("torch", lambda: sp.read(lambda: None, None)),
        ("torch", lambda: from_file(f"{Path(sp.__file__).parent}/errors.py:short", 4)),
        ("transformers", lambda: from_config("gpt2")),
    ],
)
def test_a_package_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, package: str, call: Callable[[], Any]
):
    """The extra that installs it is named."""
    extra = {"torch": "torch", "transformers": "hf"}[package]
    monkeypatch.setitem(sys.modules, package, None)
    refused(call, f"{package} is not installed", f"pip install 'sigprop[{extra}]'")


SMALL = {"n_embd": "32", "n_layer": "1", "n_head": "4", "vocab_size": "60"}


def gpt2(**changes: str) -> Any:
    return from_config("gpt2", tokens=4, changes=SMALL | changes)


@pytest.fixture
def transformers() -> Any:
    return pytest.importorskip("transformers")


def test_a_configuration_by_its_type(transformers: Any):
    """GPT-2 with fields changed equals the transformer that init='gpt2' describes; its words are
    distinct; nothing is asked of the network."""
    named = gpt2()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    words = named.example["input_ids"]
    assert words.shape == (1, 4) and len(set(words.flatten().tolist())) == 4
    found = sp.read(named.build, named.example)
    expected = sp.architectures.transformer(
        init="gpt2",
        depth=1,
        model_width=32,
        activation="gelu-tanh",
        mask="causal",
        head_dim=8,
        words=range(4),
        final_norm=True,
    )
    assert_alike(found.architecture, expected)


def test_a_configuration_as_an_object(transformers: Any):
    """The same fields in an object of the library's class."""
    config = transformers.GPT2Config(**{name: int(value) for name, value in SMALL.items()})
    named, other = from_config(config, tokens=4), gpt2()
    one, two = (sp.read(n.build, n.example).architecture for n in (named, other))
    assert_same(one, two)


def test_an_image_is_what_its_configuration_says(transformers: Any):
    """A vision transformer is called with one image; patches and a class token are its tokens."""
    changes = {"hidden_size": "32", "num_hidden_layers": "1", "num_attention_heads": "4"}
    changes |= {"intermediate_size": "64", "image_size": "8", "patch_size": "4"}
    named = from_config("vit", changes=changes)
    assert named.example["pixel_values"].shape == (1, 3, 8, 8)
    assert sp.read(named.build, named.example).architecture.tokens == 5


BAD_CONFIGS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "type": (lambda: from_config("gtp2"), ("hf='gtp2'", "did you mean 'gpt2'?")),
    "field": (lambda: gpt2(n_layers="2"), ("'n_layers' is no field of GPT2Config", "'n_layer'")),
    "number": (lambda: gpt2(n_layer="two"), ("n_layer='two'", "accepted: int")),
    "fraction": (lambda: gpt2(n_layer="1.5"), ("n_layer='1.5'", "accepted: int")),
    "boolean": (lambda: gpt2(use_cache="1"), ("use_cache='1'", "accepted: bool")),
    "a table": (lambda: gpt2(label2id="{}"), ("label2id", "a number or text")),
    "tokens": (lambda: from_config("gpt2", tokens=100_000), ("tokens=100000", "50257")),
    "no configuration": (lambda: from_config(3), ("config=3",)),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configurations(transformers: Any, name: str):
    """The field, what came, what is accepted."""
    call, words = BAD_CONFIGS[name]
    refused(call, *words)


def test_fields_that_follow_from_others_follow(transformers: Any):
    """Key heads are as many as heads where nothing is said."""
    changes = {"hidden_size": "64", "num_attention_heads": "8", "intermediate_size": "96"}
    named = from_config("llama", tokens=4, changes=changes | {"num_hidden_layers": "1"})
    found = sp.read(named.build, named.example)
    assert found.width == 64 and found.built.module.config.num_key_value_heads == 8


def test_a_configuration_that_cannot_be_built(transformers: Any):
    """The library's own error in one line."""
    named = gpt2(n_head="5")
    refused(lambda: sp.read(named.build, named.example), "build: ValueError")


def test_changes_are_of_the_kind_that_fields_have(transformers: Any):
    """Integers, fractions, booleans and text are read as what they were."""
    config = transformers.GPT2Config()
    changes = {"n_inner": "48", "resid_pdrop": "0.25", "scale_attn_weights": "False"}
    from_config(config, tokens=4, changes=changes | {"activation_function": "relu"})
    assert (config.n_inner, config.resid_pdrop) == (48, 0.25)
    assert config.scale_attn_weights is False and config.activation_function == "relu"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder as save_pretrained leaves it, of a model with a head whose matrices are scaled."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=200)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_proj.weight.mul_(3)
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_is_measured_beside_its_initialisation(checkpoint: Path):
    """Its configuration is read, its own weights are measured once, in float32: no verdict."""
    named = from_folder(str(checkpoint), tokens=4)
    assert {p.dtype for p in named.trained.parameters()} == {torch.float32}
    table = sp.inspect(
        named.build,
        named.example,
        weights=named.trained,
        quantities=["residual_variance", "write_variance", "second_moment"],
    )
    assert table.verdict is None and table.notes["samples"] == 1
    rows = {(row["quantity"], row["module"]): row for row in table}
    assert rows["second_moment", "h.0.mlp.c_proj.weight"]["deviation"] == pytest.approx(8, rel=0.1)
    assert rows["second_moment", "h.0.mlp.c_fc.weight"]["deviation"] == pytest.approx(0, abs=0.1)
    state = named.trained.wte(named.example["input_ids"]) + named.trained.wpe.weight[:4]
    first = rows["residual_variance", ""]["measured"]
    assert first == pytest.approx(state.pow(2).mean().item(), rel=1e-5)


def test_bad_folders(tmp_path: Path, checkpoint: Path):
    """One line each: nothing there, another configuration, weights that are none."""
    with pytest.raises(sp.InputError, match="accepted: a folder with config.json"):
        from_folder(str(tmp_path / "other"))
    (weights,) = checkpoint.glob("*.safetensors")
    weights.write_bytes(b"no weights")
    with pytest.raises(sp.InputError, match="accepted: a folder with config.json and weights") as e:
        from_folder(str(checkpoint))
    assert "\n" not in str(e.value)
    (checkpoint / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(sp.InputError, match="accepted: a folder") as e:
        from_folder(str(checkpoint))
    assert "\n" not in str(e.value)


def test_an_example_of_the_width_needs_one(file: Path):
    """Without widths it is refused, in one line."""
    text = file.read_text().replace("def example():", "def example(n):")
    file.write_text(text)
    named = from_file(f"{file}:build", 4)
    refused(lambda: sp.read(named.build, named.example), "example", "without arguments")
