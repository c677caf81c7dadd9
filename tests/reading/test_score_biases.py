"""Biases on scores as they are read: drawn numbers of relative positions (T5), slopes that differ
between heads (Bloom, MPT), each held against the same written by hand; and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from torch_modules import HEADS, STDS, F, ids, nn, torch

import sigprop as sp
from sigprop import Activate, Linear, Normalise, Number, Product, Read, State, Write
from sigprop.errors import InputError
from sigprop.reading.sources import from_config

transformers = pytest.importorskip("transformers")

TOKENS, N, HEAD = 6, 48, 8
SMALL = {"vocab_size": 200}
T5 = SMALL | {"num_layers": 2, "d_model": N, "d_kv": HEAD, "num_heads": 4, "d_ff": 80}
T5 |= {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 12}
BLOOM = SMALL | {"n_layer": 2, "hidden_size": N, "n_head": 6, "initializer_range": 0.2}
MPT = SMALL | {"n_layers": 2, "d_model": N, "n_heads": 6, "max_seq_len": 32}
QUANTITIES = ("residual_variance", "token_covariance", "gradient_variance")
AT = np.arange(TOKENS)
DISTANCES = AT[None] - AT[:, None]  # of keys s from queries t


def read(kind: str, changes: dict[str, Any], tokens: int = TOKENS) -> Any:
    """A configuration's model as it is read."""
    texts = {name: str(value) for name, value in changes.items()}
    named = from_config(kind, tokens=tokens, changes=texts)
    return sp.read(named.build, named.example)


def bucket(distance: int) -> int:
    """T5's bucket of s - t: half of 8 for later keys; of each half two exact, two on a log scale
    that ends at 12."""
    late, far = 4 * (distance > 0), abs(distance)
    if far < 2:
        return late + far
    return late + min(3, 2 + int(2 * math.log(far / 2) / math.log(12 / 2)))


BUCKETS = [[bucket(distance) for distance in row] for row in DISTANCES]


def by_hand(
    bias: Any,
    mlp: Any,
    numbers: dict[str, float],
    *,
    gram: Any,
    norm: tuple[str, float] = ("rms", 1e-6),
    mask: str = "none",
    rows: Any = 1,
    slopes: Any = None,
) -> sp.Architecture:
    """Two blocks of attention (queries q, keys k, values v, output u) and an MLP, pre-norm."""
    read, rule = Number("gain") * Normalise(State(0), *norm), State(0) + Write()
    q, k, v = (Linear(leg, Read(), Number(f"c_{leg}"), rows) for leg in "qkv")
    scores = sp.Scores(HEAD, mask=mask)
    heads = sp.Attend(Number("scale") * q, k, v, scores, bias=bias)
    blocks = (
        sp.SubBlock(read, Linear("u", heads, Number("c_u")), rule),
        sp.SubBlock(read, mlp, rule),
    )
    names = {name for block in blocks for name in block.weights}
    return sp.Architecture(
        "by hand",
        blocks,
        {name: [0] * 4 if name == "b" else range(4) for name in names},
        numbers={"gain": 1.0, "scale": 1.0} | numbers,
        token_tables={} if slopes is None else {"slopes": slopes},
        input_gram=gram,
        readout=sp.Readout(read=read),
    )


def t5(gated: bool, factor: float) -> sp.Architecture:
    """As ``T5PreTrainedModel._init_weights`` has it: scores are not scaled, gains of norms are
    the factor; one bias for all layers."""
    square, up = factor**2, Linear("w", Read(), Number("c_w"), Fraction(80, N))
    gate = Linear("g", Read(), Number("c_w"), Fraction(80, N))
    units = Product(Activate("gelu-tanh", up), gate) if gated else Activate("relu", up)
    variances = {"c_q": square / HEAD, "c_b": square / N} | dict.fromkeys(
        ("c_k", "c_v", "c_u", "c_w"), square
    )
    rows = Fraction(4 * HEAD, N)
    return by_hand(
        sp.PositionBias("b", Number("c_b"), BUCKETS, HEAD, rows),
        Linear("x", units, Number("c_w")),
        variances | {"gain": factor, "scale": HEAD**0.5},
        gram=square * np.eye(TOKENS),
        rows=rows,
    )


BLOCK = 2  # applications of a layer


def values(arch: sp.Architecture) -> dict[tuple[Any, ...], tuple[float, float]]:
    """What is predicted of states, by row, and all squared gradients of weights in order, with the
    stated errors."""
    keys = ("quantity", "application", "token", "token_2")
    states, gradients = sp.predict(arch, QUANTITIES), sp.predict(arch, ["weight_gradient"])
    found = {tuple(row.get(key) for key in keys): (row["value"], row["error"]) for row in states}
    own = [row for row in gradients if row["group"] in arch.weights]
    weights = sorted((row["value"], row["error"]) for row in own)
    return found | {("weight_gradient", k): value for k, value in enumerate(weights)}


def assert_equal(found: sp.Architecture, expected: sp.Architecture) -> None:
    """Every prediction to 1e-6 (graphs hold numbers in float32): of states up to the first block's,
    whose Grams both have to the bit, as it is; behind it within the stated errors, too, for tokens
    that are alike have Grams whose eigenvectors rounding turns, and the sampled heads with them."""
    ours, theirs = values(found), values(expected)
    assert ours.keys() == theirs.keys()
    for key, (value, error) in ours.items():
        other, more = theirs[key]
        state = key[0] in ("residual_variance", "token_covariance") and key[1] <= BLOCK
        turned = 0.0 if state else error + more
        assert abs(value - other) <= 1e-6 * abs(other) + 1e-9 + turned, key
        assert error < 0.03 * max(abs(value), abs(ours["residual_variance", 0, 0, None][0]))


@pytest.mark.parametrize(("gated", "implementation"), [(False, "sdpa"), (True, "eager")])
def test_t5_is_what_is_written_by_hand(gated: bool, implementation: str):
    """The encoder, with inner dimensions that are not the width, at a factor of its own; also of
    t5-v1_1, gated."""
    changes = T5 | {"initializer_factor": 1.5}
    changes |= {"feed_forward_proj": "gated-gelu"} if gated else {}
    config = transformers.T5Config(**changes)
    config._attn_implementation = implementation
    named = from_config(config, tokens=TOKENS)
    found = sp.read(named.build, named.example).architecture
    assert_equal(found, t5(gated, 1.5))
    (bias,) = (node.drawn_bias for block in found.sub_blocks for node in block.attention)
    assert bias is not None and bias.buckets == tuple(map(tuple, BUCKETS))
    assert list(found.applications_of(bias.weight)) == [0]  # one slot for both layers


def alibi(heads: int, order: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """-m_h (t - s), m_h = 2^(-8 (h+1)/H) of the next power of two H, as many as there are heads."""
    whole = 2 ** math.ceil(math.log2(heads))
    slopes = order(2.0 ** (-8 * np.arange(1, whole + 1) / whole))[:heads]
    return np.where(DISTANCES <= 0, slopes[:, None, None] * DISTANCES, 0.0)


def bloom_order(slopes: np.ndarray) -> np.ndarray:
    """Those of the power of two below, then every other of the one above."""
    return np.concatenate([slopes[1::2], slopes[::2]])


def gelu_mlp(activation: str) -> Any:
    return Linear("x", Activate(activation, Linear("w", Read(), Number("c_w"), 4)), Number("c_x"))


@pytest.mark.parametrize(
    ("kind", "given", "activation"), [("bloom", BLOOM, "gelu-tanh"), ("mpt", MPT, "gelu")]
)
def test_slopes_are_what_is_written_by_hand(kind: str, given: dict[str, Any], activation: str):
    """Six heads, of slopes that are no geometric sequence; every parameter of one deviation."""
    std = 0.2 if kind == "bloom" else read(kind, given).architecture.input_gram[0, 0] ** 0.5
    found = read(kind, given).architecture
    c, words = std**2 * N, std**2 * np.eye(TOKENS)
    variances = dict.fromkeys(("c_q", "c_k", "c_v", "c_u", "c_w"), c) | {"c_x": 4 * c}
    expected = by_hand(
        sp.TokenTable("slopes", 2, 6),
        gelu_mlp(activation),
        variances,
        gram=words / (std**2 + 1e-5) if kind == "bloom" else words,
        norm=("layer", 1e-5),
        mask="causal",
        slopes=alibi(6, bloom_order),
    )
    assert_equal(found, expected)
    tables = [table for table in found.token_tables.values()]
    assert [table.shape for table in tables] == [(6, TOKENS, TOKENS)]
    np.testing.assert_allclose(tables[0], alibi(6, bloom_order), rtol=1e-6)


class Heads(modules.Attention):
    """Attention with something added to its scores."""

    def __init__(self, added: Callable[[Any, int], Any], columns: int = HEADS) -> None:
        super().__init__()
        self.added, self.rows = added, nn.Embedding(5, columns)

    def forward(self, x: Any) -> Any:
        shape = (*x.shape[:2], HEADS, -1)
        q, k, v = (leg.view(shape).transpose(1, 2) for leg in self.legs(x))
        added = self.added(self, x.shape[1])
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=added)
        return self.u(mixed.transpose(1, 2).reshape(x.shape))


def distances(tokens: int) -> Any:
    at = torch.arange(tokens)
    return (at[None, :] - at[:, None]).clamp(-2, 2) + 2


def drawn(self: Any, tokens: int) -> Any:
    return self.rows(distances(tokens)).permute(2, 0, 1)[None]


def hidden(self: Any, tokens: int) -> Any:
    causal = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    return torch.where(causal, drawn(self, tokens), -1e30)


def same_for_all(self: Any, tokens: int) -> Any:
    return -0.5 * (distances(tokens) - 2).abs().float()


def model(added: Callable[[Any, int], Any], columns: int = HEADS, std: float = 0.7) -> Any:
    def make() -> Any:
        heads = Heads(added, columns)
        module = modules.Network(
            modules.Words(), [modules.Block(heads, modules.Mlp(), modules.layer_norm)]
        )
        return modules.initialised(module, STDS | {"rows": std})

    return make


def attends(make: Any) -> Any:
    (node,) = (
        node for block in sp.read(make, ids()).architecture.sub_blocks for node in block.attention
    )
    return node


def test_drawn_numbers_are_read_beside_a_mask_and_the_other_way_round():
    """The bucket of a pair of tokens is what reaches its score, however it was laid out."""
    plain, masked = attends(model(drawn)), attends(model(hidden))
    size = len(plain.drawn_bias.buckets)
    assert plain.drawn_bias.buckets == tuple(map(tuple, distances(size).tolist()))
    assert plain.scores.mask == "none" and masked.scores.mask == "causal"
    seen = np.tril(np.ones((size, size), dtype=bool))
    assert (masked.drawn_bias.table == plain.drawn_bias.table)[seen].all()
    turned = attends(model(lambda self, t: drawn(self, t).transpose(2, 3)))
    assert (turned.drawn_bias.table == plain.drawn_bias.table.T).all()
    assert attends(model(drawn, std=0.0)).bias is None


def test_one_table_for_all_heads_is_no_table_of_kinds():
    """A bias that falls with distance, less its largest in a row."""
    found = sp.read(model(same_for_all), ids()).architecture
    (table,) = found.token_tables.values()
    at = np.arange(found.tokens)
    np.testing.assert_allclose(table, -0.5 * np.minimum(abs(at[:, None] - at[None]), 2))
    assert attends(model(same_for_all)).kinds == 1


def by_head(self: Any, tokens: int) -> Any:
    masks = torch.ones(HEADS, tokens, tokens, dtype=torch.bool).tril()
    return torch.cat([masks[:1] | True, masks[1:]])[None]


REFUSED: dict[str, tuple[Any, str]] = {
    "masks of heads": (model(by_head), "a mask that differs between heads or inputs"),
    "one number for all heads": (model(drawn, columns=1), "drawn numbers on scores"),
    "fixed and drawn": (
        model(lambda self, t: drawn(self, t) + same_for_all(self, t)),
        "several biases on scores",
    ),
    "a curve of drawn numbers": (model(lambda self, t: drawn(self, t).exp()), "has no rule"),
    "twice the drawn numbers": (model(lambda self, t: 2 * drawn(self, t)), "has no rule"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_biases_that_the_description_has_no_word_for(name: str):
    make, says = REFUSED[name]
    with pytest.raises(InputError) as caught:
        sp.read(make, ids())
    message = str(caught.value)
    assert says in message and "blocks.0.attention" in message and "accepted: " in message
    assert "\n" not in message


def test_of_an_encoder_and_decoder_the_encoder_is_built():
    named = from_config("t5", tokens=TOKENS, changes={k: str(v) for k, v in T5.items()})
    assert type(named.build()).__name__ == "T5EncoderModel"
