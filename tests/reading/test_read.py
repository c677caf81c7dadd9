"""What is read of hand-written torch modules equals a description by hand in every prediction, at
parameters that are no defaults."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from descriptions import assert_alike, assert_same, predicted
from torch_modules import BIASES, HEADS, STDS, TOKENS, WIDTH, WORDS, ids, inputs, nn, torch

import sigprop as sp
from sigprop.language.activations import ACTIVATIONS

SAME = np.equal.outer(WORDS, WORDS).astype(float)


def c(name: str, fan_in: int = WIDTH) -> float:
    """Variance times fan-in of a matrix of this name."""
    return STDS[name] ** 2 * fan_in


def hand(depth: int = 1, **changed: Any) -> Any:
    """A transformer of the helpers' numbers."""
    given: dict[str, Any] = {
        "depth": depth,
        "activation": "gelu",
        "mlp_ratio": 2,
        "head_dim": WIDTH // HEADS,
        "mask": "causal",
        "words": WORDS,
        "norm_eps": 1e-5,
        "final_norm": True,
        "c_we": STDS["wte"] ** 2,
        "c_pe": STDS["wpe"] ** 2,
        "c_x": c("x", 2 * WIDTH),
    }
    given |= {f"c_{name}": c(name) for name in "qkvuw"}
    return sp.architectures.transformer(**given | changed)


def test_a_gpt():
    """Pre-norm, causal, learned positions: residuals, cosines, gradients and those of weights."""
    found = sp.read(lambda: modules.gpt(), ids())
    assert found.width == WIDTH
    assert found.paths == tuple(
        f"blocks.{k}.{part}" for k in range(2) for part in ("attention.u", "mlp.x")
    )
    quantities = ("residual_variance", "token_covariance", "gradient_variance", "weight_gradient")
    assert_alike(found.architecture, hand(2), quantities)


def test_a_llama():
    """RMS norms written out, rotary positions, two heads of keys for four, a gated MLP, a head."""
    found = sp.read(lambda: modules.llama(1), ids())
    expected = hand(
        activation="silu",
        gated=True,
        norm_kind="rms",
        positions="rotary",
        rope_base=500.0,
        heads=HEADS,
        kv_heads=2,
        c_g=c("g"),
        c_pe=None,
    )
    assert_alike(found.architecture, expected)


def test_another_number_would_be_found():
    """The companion: a rotary base, an epsilon or a variance that differs is no agreement."""
    found = sp.read(lambda: modules.placed("parallel", 1), ids()).architecture
    for changed in ({"norm_eps": 1e-3}, {"c_v": c("v") * 1.001}):
        with pytest.raises(AssertionError):
            assert_alike(found, hand(block="parallel", **changed))


def test_heads_that_normalise_queries_and_keys():
    """QK-norm per head, no mask."""
    found = sp.read(lambda: modules.gpt(1, norm=modules.WrittenRms, causal=False), ids())
    assert_alike(found.architecture, hand(qk_norm=True, mask="none"))


class Bare(nn.Module):
    """x + attention(x), queries and keys normalised over all heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = modules.Words()
        norm = lambda n: nn.RMSNorm(n, eps=0.3)  # noqa: E731
        self.attention = modules.Attention(norm=norm, over_heads=True)

    def forward(self, words: Any) -> Any:
        x = self.stem(words)
        return x + self.attention(x)


def test_queries_and_keys_normalised_over_all_heads():
    """As the width grows the norm of W r divides by sqrt(c |r|^2/n + eps): W of r normalised with
    eps/c, at a variance of 1."""
    n = sp.Number
    query, key = (
        sp.Linear(name, sp.Normalise(sp.Read(), "rms", n(f"eps_{name}")), n("one")) for name in "qk"
    )
    heads = sp.Attend(
        query, key, sp.Linear("v", sp.Read(), n("c_v")), sp.Scores(WIDTH // HEADS, mask="causal")
    )
    block = sp.SubBlock((sp.State(0),), sp.Linear("u", heads, n("c_u")), sp.State(0) + sp.Write())
    numbers = {"one": 1.0, "c_v": c("v"), "c_u": c("u")}
    numbers |= {f"eps_{name}": 0.3 / c(name) for name in "qk"}
    gram = STDS["wte"] ** 2 * SAME + STDS["wpe"] ** 2 * np.eye(TOKENS)
    expected = sp.Architecture(
        "by hand", (block,), dict.fromkeys("qkvu", [0]), numbers, input_gram=gram
    )
    found = sp.read(lambda: modules.initialised(Bare()), ids()).architecture
    assert_alike(found, expected, ("residual_variance", "token_covariance"))


@pytest.mark.parametrize(
    ("where", "changed"), [("parallel", {"block": "parallel"}), ("sandwich", {"norm": "sandwich"})]
)
def test_blocks_placed_otherwise(where: str, changed: dict[str, Any]):
    """Attention and MLP of one norm, added at once; norms before and after every branch."""
    found = sp.read(lambda: modules.placed(where, 1), ids())
    assert_alike(found.architecture, hand(**changed))


class Feedforward(nn.Module):
    """A branch of an MLP alone, its norm placed before or after."""

    def __init__(self, post: bool, **mlp: Any) -> None:
        super().__init__()
        self.norm, self.mlp, self.post = modules.layer_norm(), modules.Mlp(**mlp), post

    def forward(self, x: Any) -> Any:
        return self.norm(x + self.mlp(x)) if self.post else x + self.mlp(self.norm(x))


def feedforward(
    depth: int = 1, post: bool = False, stem: dict[str, Any] | None = None, **mlp: Any
) -> Any:
    blocks = [Feedforward(post, **mlp) for _ in range(depth)]
    network = modules.Network(modules.Words(**(stem or {})), blocks)
    return modules.initialised(network)


def mlps(depth: int = 1, **changed: Any) -> Any:
    """The same by hand."""
    return hand(depth, **{"block": "mlp", "final_norm": False} | changed)


def test_a_bert():
    """Post-norm, words, positions and token types, normed together; no norm at the end."""
    stem = {"types": True, "norm": modules.layer_norm}
    found = sp.read(lambda: feedforward(2, post=True, stem=stem), ids())
    gram = STDS["wte"] ** 2 * SAME + STDS["wpe"] ** 2 * np.eye(TOKENS) + STDS["types"] ** 2
    size = np.sqrt(np.diag(gram) + 1e-5)
    expected = mlps(
        2, norm="post", c_we=None, c_pe=None, words=None, input_gram=gram / np.outer(size, size)
    )
    assert_alike(found.architecture, expected)


def test_a_scaled_embedding():
    """Words times sqrt(n), positions as they are."""
    found = sp.read(lambda: feedforward(stem={"scale": WIDTH**0.5}), ids())
    assert_alike(found.architecture, mlps(c_we=STDS["wte"] ** 2 * WIDTH))


def mlp_by_hand() -> Any:
    """X phi(W h + b) + b' by hand."""
    n = sp.Number
    hidden: Any = sp.Linear("w", sp.Read(), n("c_w"), Fraction(2))
    hidden = hidden + sp.Bias("w_b", n("c_wb"), Fraction(2))
    out: Any = sp.Linear("x", sp.Activate(ACTIVATIONS["tanh"], hidden), n("c_x"))
    return out + sp.Bias("x_b", n("c_xb"))


def residual(depth: int, slots: dict[str, list[int]] | None = None, **numbers: Any) -> Any:
    """lambda h + X phi(W h + b) + b' by hand, on the example's rows."""
    x = inputs().double().numpy()
    skip = numbers.pop("skip", 1.0)
    state: Any = sp.State(0) if skip == 1.0 else sp.Number("skip") * sp.State(0)
    block = sp.SubBlock((sp.State(0),), mlp_by_hand(), state + sp.Write())
    given = {"c_w": c("w"), "c_x": c("x", 2 * WIDTH)}
    given |= {"c_wb": BIASES["w"] ** 2, "c_xb": BIASES["x"] ** 2}
    given |= {} if skip == 1.0 else {"skip": skip}
    names = ("w", "w_b", "x", "x_b")
    tables = dict.fromkeys(names, list(range(depth))) | (slots or {})
    return sp.Architecture("by hand", (block,), tables, given | numbers, input_gram=x @ x.T / WIDTH)


def test_a_residual_network_without_norms():
    """Biases, a skip that is scaled, given rows as the stem."""
    found = sp.read(lambda: modules.initialised(modules.Residual(2, skip=0.9)), inputs())
    assert found.paths == ("blocks.0.x", "blocks.1.x")
    assert_alike(found.architecture, residual(2, skip=0.9))


class Repeated(modules.Residual):
    """One block that is applied several times."""

    def forward(self, x: Any) -> Any:
        for _ in range(2):
            x = super().forward(x)
        return x


ALL = {"w": [0, 0], "x": [0, 0], "w_b": [0, 0], "x_b": [0, 0]}


def looped() -> Any:
    return modules.initialised(Repeated(1))


def copies() -> Any:
    import copy

    module = modules.Residual(1)
    modules.initialised(module)
    module.blocks.append(copy.deepcopy(module.blocks[0]))
    return module


def shared() -> Any:
    module = modules.initialised(modules.Residual(2))
    module.blocks[1].x.weight = module.blocks[0].x.weight
    return module


@pytest.mark.parametrize(("make", "slots"), [(looped, ALL), (copies, ALL), (shared, {"x": [0, 0]})])
def test_what_starts_equal_is_tied(make: Callable[[], Any], slots: dict[str, list[int]]):
    """Shared modules, copies and one shared matrix are slots; everything else is of its own."""
    assert_alike(sp.read(make, inputs()).architecture, residual(2, slots))


def test_ties_change_what_is_predicted():
    """The companion: with matrices of their own the same predictions differ by more than 1 %."""
    one, other = (predicted(residual(2, slots), ["residual_variance"]) for slots in (ALL, {}))
    assert max(abs(other[key] / value - 1) for key, value in one.items()) > 0.01


def test_a_module_as_it_is_has_the_variances_it_holds():
    """A given module's numbers are the second moments of its own entries; copies stay tied."""
    torch.manual_seed(3)
    module = copies().eval()
    found = sp.read(module, inputs()).architecture
    first = module.blocks[0]
    numbers = {
        "c_w": first.w.weight.double().var(correction=0).item() * WIDTH,
        "c_x": first.x.weight.double().var(correction=0).item() * 2 * WIDTH,
        "c_wb": first.w.bias.double().var(correction=0).item(),
        "c_xb": first.x.bias.double().var(correction=0).item(),
    }
    means = [abs(p.mean()) / p.std() * p.numel() ** 0.5 for p in first.parameters()]
    assert max(means) < 4, "or means would count as well"
    assert_alike(found, residual(2, ALL, **numbers))


def test_encoder_layers_of_torch_start_equal():
    """nn.TransformerEncoder copies one layer: every weight of both is one slot."""

    def make() -> Any:
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, batch_first=True)
        return nn.TransformerEncoder(layer, 2)

    found = sp.read(make, inputs()[None])
    slots = found.architecture.slots
    assert len(found.paths) == 4 and len(slots) == 8  # q, k, v, u, two matrices, their biases
    assert all(set(table) == {0} for table in slots.values())


def test_gains_on_writes():
    """LayerScale: a write times gamma is one of variance gamma^2 c."""
    found = sp.read(lambda: modules.placed("pre", 1, layer_scale=0.3), ids()).architecture
    expected = hand(c_u=c("u") * 0.09, c_x=c("x", 2 * WIDTH) * 0.09)
    assert_alike(found, expected, ("residual_variance", "token_covariance"))


def test_a_tied_head_is_none_of_the_stream():
    """A head that shares the embedding changes no description."""

    def make(head: str | None) -> Any:
        network = modules.Network(modules.Words(), [Feedforward(False)], modules.layer_norm(), head)
        modules.initialised(network)
        if head is not None:
            network.head.weight = network.stem.wte.weight
        return network

    one, other = (sp.read(lambda h=h: make(h), ids()).architecture for h in ("own", None))
    assert_same(one, other)


def test_named_arguments_and_tuples_are_examples_too():
    """One call, three ways of writing it; an argument that is None is none."""

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = feedforward()

        def forward(self, words: Any, mask: Any = None, flag: bool = False) -> Any:
            assert mask is None and flag is False
            return self.network(words)

    examples = [ids(), (ids(), None, False), {"words": ids(), "mask": None}]
    first, *others = (sp.read(Called, example).architecture for example in examples)
    for other in others:
        assert_same(first, other)


def test_reading_changes_nothing_of_the_module():
    """A module that is read holds the same tensors afterwards, on its own device, in its mode."""
    module = feedforward()
    module.train()
    before = {name: (id(p), p.clone()) for name, p in module.named_parameters()}
    sp.read(module, ids())
    after = dict(module.named_parameters())
    assert all(
        id(after[name]) == key and torch.equal(after[name], p) for name, (key, p) in before.items()
    )
    assert module.training
