"""Modules that return several tensors: which one's stream is read, what is left out and said, how
one is chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from descriptions import assert_same
from refusals import refused
from torch_modules import VOCABULARY, WIDTH, F, ids, nn, torch

import sigprop as sp
from sigprop.cli import run


class Model(nn.Module):
    """Two residual layers, two heads, and an embedding of its own. returned: what forward gives."""

    def __init__(self, returned: Callable[[Any, dict[str, Any]], Any]) -> None:
        super().__init__()
        self.wte, self.other = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(2)])
        self.head, self.value = nn.Linear(WIDTH, VOCABULARY), nn.Linear(WIDTH, 1)
        self.norm, self.middle = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)
        self.returned = returned

    def forward(self, words: Any) -> Any:
        states = [self.wte(words)]
        for layer in self.layers:
            states.append(states[-1] + layer(torch.tanh(states[-1])))
        last, aside = states[-1], self.other(words)
        named = {"words": words, "states": states, "last": last, "aside": aside}
        named["another"] = aside + self.layers[0](torch.tanh(aside))
        named["logits"] = self.head(last)
        return self.returned(self, named)


def described(returned: Callable[[Any, dict[str, Any]], Any], output: Any = None) -> Any:
    return sp.read(lambda: Model(returned), ids(), output=output)


PLAIN = lambda self, t: t["last"]  # noqa: E731

SAME: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "two heads": lambda self, t: (t["logits"], self.value(t["last"])),
    "a dict": lambda self, t: {"logits": t["logits"], "hidden": t["last"]},
    "all states, first one first": lambda self, t: t["states"],
    "all states, last one first": lambda self, t: t["states"][::-1],
    "nested": lambda self, t: {"a": {"b": [t["logits"], {"c": t["states"][1]}]}},
    "a loss first": lambda self, t: (F.cross_entropy(t["logits"][0], t["words"][0]), t["logits"]),
    "a loss alone": lambda self, t: t["logits"].square().mean(),
    "words first": lambda self, t: (t["words"], t["words"].float(), t["logits"]),
    "what was chosen": lambda self, t: (t["logits"].argmax(-1), t["logits"]),
    "logarithms": lambda self, t: torch.log_softmax(t["logits"], -1),
    "a head that normalises": lambda self, t: self.head(self.norm(F.gelu(self.middle(t["last"])))),
    "a head that adds": lambda self, t: t["logits"] + self.value(t["last"]),
    "a head on the way": lambda self, t: (self.head(t["states"][1]), t["logits"]),
    "pooled": lambda self, t: self.head(torch.tanh(self.middle(t["last"][:, 0]))),
}


@pytest.mark.parametrize("name", SAME)
def test_outputs_of_one_stream_are_one_description(name: str):
    """Heads, losses and earlier states beside it change nothing of what is read."""
    assert_same(described(SAME[name]).architecture, described(PLAIN).architecture)


def test_what_is_left_out_is_said():
    """The heads by their modules, and outputs that are no part of the stream by their names."""
    (line,) = described(SAME["a dict"]).findings
    assert line == "head: above the last state, left out; gradients are of a random read-out of it"
    assert described(PLAIN).findings == ()
    beside = lambda self, t: {"aside": t["aside"], "logits": t["logits"]}  # noqa: E731
    assert "outputs left out, no part of logits's stream: aside" in described(beside).findings


STREAMS = lambda self, t: {"one": t["last"], "two": [t["another"]]}  # noqa: E731


def test_two_streams_are_chosen_between():
    """By name or by place; without either both are named."""
    refused(lambda: Model(STREAMS), ids(), "one (at ", "two.0 (at ", "output, one of one, two.0")
    one, other = described(STREAMS, "one"), described(STREAMS, "two.0")
    assert (len(one.paths), len(other.paths)) == (2, 1)
    assert_same(described(STREAMS, 1).architecture, other.architecture)
    assert_same(one.architecture, described(PLAIN).architecture)


@pytest.mark.parametrize("wanted", ["three", 2, -1, True, 0.0])
def test_an_output_that_is_none(wanted: Any):
    """The names that there are."""
    with pytest.raises(sp.InputError, match="output=") as caught:
        described(STREAMS, wanted)
    assert "two.0" in str(caught.value) and "\n" not in str(caught.value)


def test_outputs_none_of_which_has_a_stream():
    """The first one's reason, and their names."""
    aside = lambda self, t: {"a": t["aside"], "b": torch.tanh(t["aside"])}  # noqa: E731
    refused(lambda: Model(aside), ids(), "no residual stream", "of outputs a, b, none")


def test_inspect_and_compare_take_the_output():
    """The same networks as of the module that returns it alone."""
    rows = [
        [row["measured"] for row in sp.inspect(lambda m=m: Model(m), ids(), seeds=2, output=which)]
        for m, which in ((STREAMS, "one"), (PLAIN, None))
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 3
    meant = lambda: Model(STREAMS)  # noqa: E731
    assert sp.compare(meant, ids(), against=meant, seeds=8, output="one").verdict == "inconclusive"
    with pytest.raises(sp.InputError, match="output='one': accepted: with a module"):
        sp.inspect(described(STREAMS, "one"), seeds=2, output="one")


FILE = """
import torch
from torch import nn

class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        return {"left": x + self.a(x), "right": x + self.b(x)}

def example():
    return torch.ones(1, 3, 16)
"""


def test_the_command_line_takes_the_output(tmp_path: Any, capsys: pytest.CaptureFixture[str]):
    """--output NAME; without it the names are listed."""
    file = tmp_path / "both.py"
    file.write_text(FILE)
    assert run(["inspect", f"{file}:Both", "--seeds", "2"]) == 2
    assert "output, one of left, right" in capsys.readouterr().err
    run(["inspect", f"{file}:Both", "--seeds", "2", "--output", "right", "--json"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["module"] for row in rows} == {"", "b"}


SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
HEADS = {
    "gpt2": ("GPT2", "LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "llama": ("Llama", "ForCausalLM", SIZES | {"num_key_value_heads": 2}),
    "bert": ("Bert", "ForMaskedLM", {}),
    "roberta": ("Roberta", "ForMaskedLM", {}),
    "bert, two heads": ("Bert", "ForPreTraining", {}),
    "bert, question answering": ("Bert", "ForQuestionAnswering", {}),
    "bert, classes": ("Bert", "ForSequenceClassification", {}),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_hugging_face_model_with_a_head_is_the_one_without(name: str):
    """What AutoModel builds, read through the logits of its heads, whatever output they are in."""
    transformers: Any = pytest.importorskip("transformers")
    kind, head, changed = HEADS[name]
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=50,
        bos_token_id=1,
        eos_token_id=2,
        **(changed or SIZES),
    )
    plain = {"add_pooling_layer": False} if kind in ("Bert", "Roberta") else {}
    example = {"input_ids": ids()}
    one = sp.read(lambda: getattr(transformers, f"{kind}{head}")(config), example)
    other = sp.read(lambda: getattr(transformers, f"{kind}Model")(config, **plain), example)
    assert_same(one.architecture, other.architecture)
    assert any("above the last state, left out" in line for line in one.findings)
