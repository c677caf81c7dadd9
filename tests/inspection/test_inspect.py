"""Modules measured beside their prediction: right ones are confirmed, planted bugs rejected, and
what is measured is what hooks and autograd find.

Seeds are fixed. A right network whose deviation is its tolerance would be confirmed with
probability 5 %, one that is exact is rejected with probability 1 % at most.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch_modules as modules
from torch_modules import TOKENS, F, ids, inputs, nn, torch

import sigprop as sp
from sigprop.errors import Diverged
from sigprop.inspection.measuring import PIECE, networks
from sigprop.reading.read import Reading

WIDTH, SEEDS = 384, 6
SCALE = (modules.WIDTH / WIDTH) ** 0.5
WIDE = {name: std * SCALE for name, std in modules.STDS.items() if name in "qkvuwxg"}
"""Standard deviations that keep variance times fan-in what it is at the helpers' width."""


def residual(planted: Callable[[Any], None] | None = None) -> Any:
    """A residual MLP with biases; planted: what is done to its second block."""
    module = modules.initialised(modules.Residual(2, WIDTH), WIDE)
    if planted is not None:
        with torch.no_grad():
            planted(module.blocks[1])
    return module


@pytest.fixture(scope="module")
def reading() -> Reading:
    return sp.read(residual, inputs(WIDTH))


def test_a_right_module_is_confirmed(reading: Reading):
    """6 networks of width 384: variance at 5 %, cosines and gradients at 10 %."""
    table = sp.inspect(reading, seeds=SEEDS)
    assert table.verdict == "confirmed"
    assert {row["verdict"] for row in table} == {"confirmed"}
    assert len(table) == 3 * 3 + 2 and table.notes["samples"] == SEEDS  # two writes
    assert [row["module"] for row in table][:3] == ["", "blocks.0.x", "blocks.1.x"]


def test_rows_hold_the_mean_the_prediction_and_an_interval(reading: Reading):
    """value is the mean of the networks' own; deviation lies in its interval, relative to the
    prediction (of cosines: absolute)."""
    table = sp.inspect(reading, seeds=3, quantities=["residual_variance", "token_cosine"])
    ran = networks(reading, range(3), lambda: None)
    variances = np.mean([network.variance.mean(axis=1) for network in ran], axis=0)
    rows = {(row["quantity"], row["application"]): row for row in table}
    for application in range(3):
        row = rows["residual_variance", application]
        assert row["measured"] == pytest.approx(variances[application], rel=1e-12)
        assert row["deviation"] == pytest.approx(row["measured"] / row["theory"] - 1, abs=1e-12)
        assert row["lower"] <= row["deviation"] <= row["upper"]
        row = rows["token_cosine", application]
        assert row["deviation"] == pytest.approx(row["measured"] - row["theory"], abs=1e-12)


def scaled(part: str, factor: float) -> Callable[[Any], None]:
    return lambda block: getattr(block, part).weight.mul_(factor)


def unbiased(block: Any) -> None:
    block.x.bias.add_(1.0)


PLANTED: dict[str, tuple[Callable[[Any], None], str, int]] = {
    "output matrix times 1.5": (scaled("x", 1.5), "residual_variance", 2),
    "hidden matrix times 3": (scaled("w", 3.0), "residual_variance", 2),
    "biases of mean 1": (unbiased, "residual_variance", 2),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_rejected_where_it_sits(reading: Reading, name: str):
    """Judged against the reading of the right builder; rows before it stay confirmed."""
    planted, quantity, application = PLANTED[name]
    wrong = replace(reading, make=lambda: residual(planted))
    table = sp.inspect(wrong, seeds=SEEDS, quantities=["residual_variance"])
    assert table.verdict == "rejected"
    verdicts = {row["application"]: row["verdict"] for row in table if row["quantity"] == quantity}
    first = min(at for at, verdict in verdicts.items() if verdict == "rejected")
    assert first == application
    assert all(verdicts[at] == "confirmed" for at in range(application))


def measured_by_hand(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variances [D + 1, T], cosines, gradients [D + 1, T] of one network, by a loop over blocks."""
    torch.manual_seed(seed)
    module = residual()
    generator = torch.Generator().manual_seed(seed + 7919)
    states = [inputs(WIDTH).requires_grad_()]
    for block in module.blocks:
        states.append(states[-1] + block(states[-1]))
    v = torch.randn(TOKENS, WIDTH, generator=generator, dtype=torch.float64).float()
    ((v * states[-1]).sum() / WIDTH**0.5).backward(inputs=states)
    arrays = [state.detach().double().numpy() for state in states]
    cosine = np.stack([_cosine(a) for a in arrays])
    gradients = np.stack([s.grad.double().pow(2).sum(1).numpy() for s in states])  # pyright: ignore
    return np.stack([(a**2).mean(1) for a in arrays]), cosine, gradients


def _cosine(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_what_is_measured_is_what_a_loop_over_blocks_finds(reading: Reading):
    """Variances, cosines and gradients of one network, to float32's rounding."""
    (network,) = networks(reading, [4], lambda: None)
    variance, cosine, gradient = measured_by_hand(4)
    np.testing.assert_allclose(network.variance, variance, rtol=1e-5)
    np.testing.assert_allclose(network.cosine, cosine, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(network.gradient, gradient, rtol=1e-4)


def test_mean_squares_of_parameters_are_those_of_numpy(reading: Reading):
    """Of the entries of one network and of width times their squared gradients; matrices are summed
    piece by piece, the last one shorter."""
    (network,) = networks(reading, [4], lambda: None)
    torch.manual_seed(4)
    module = residual()
    v = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(4 + 7919), dtype=float)
    state = inputs(WIDTH)
    for block in module.blocks:
        state = state + block(state)
    ((v.float() * state).sum() / WIDTH**0.5).backward()
    parameters = dict(module.named_parameters())
    assert set(network.second) == set(parameters)
    largest = max(parameter.numel() for parameter in parameters.values())
    assert largest > PIECE and largest % PIECE
    for name, parameter in parameters.items():
        entries, gradient = (x.double().numpy() for x in (parameter.detach(), parameter.grad))
        assert network.second[name] == pytest.approx((entries**2).mean(), rel=1e-12)
        expected = WIDTH * (gradient**2).mean()
        assert network.weight_gradient[name] == pytest.approx(expected, rel=1e-4)


def test_a_write_is_measured_with_its_factor():
    """What (h + f(h))/2 adds is f/2: half the write of the module that computes it."""

    class Halved(modules.Residual):
        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = (x + block(x)) / 2
            return x

    def make() -> Any:
        return modules.initialised(Halved(1, WIDTH), WIDE)

    (network,) = networks(sp.read(make, inputs(WIDTH)), [3], lambda: None)
    torch.manual_seed(3)
    write = make().blocks[0](inputs(WIDTH)).detach().double() / 2
    np.testing.assert_allclose(network.write[0], write.pow(2).mean(1).numpy(), rtol=1e-5)


def gpt() -> Any:
    """A pre-norm transformer with a last norm and a head that is tied."""
    module = modules.gpt(1, packed="chunk", form="eager")
    nn.init.ones_(module.norm.weight)
    return module


def test_gradients_of_a_transformer_are_those_of_hooks():
    """Of v . norm(h_D)/sqrt(n) by the state before every branch, attention's and the MLP's."""
    reading = sp.read(gpt, ids())
    (network,) = networks(reading, [2], lambda: None)
    torch.manual_seed(2)
    module, states = gpt(), []
    block = module.blocks[0]
    for norm in (block.norms[0], block.norms[1], module.norm):
        norm.register_forward_pre_hook(lambda part, given: states.append(given[0]))
    final = module(ids())[0]
    for state in states:
        state.retain_grad()
    generator = torch.Generator().manual_seed(2 + 7919)
    v = torch.randn(TOKENS, modules.WIDTH, generator=generator, dtype=torch.float64).float()
    gradients = torch.autograd.grad((v * final).sum() / modules.WIDTH**0.5, states)
    expected = np.stack([g[0].double().pow(2).sum(1).numpy() for g in gradients])
    np.testing.assert_allclose(network.gradient, expected, rtol=1e-4)
    writes = [(states[k + 1] - states[k])[0].detach().double().pow(2).mean(1) for k in range(2)]
    np.testing.assert_allclose(network.write, np.stack([w.numpy() for w in writes]), rtol=1e-3)


def test_a_transformer_is_confirmed_and_its_bugs_rejected():
    """Attention, a gated MLP, rotary positions and grouped queries at width 512, 12 networks; with
    queries 8 times too large in the planted one."""
    width, count = 512, 12

    def make(scale: float = 1.0) -> Any:
        attention = modules.Attention(width, kv_heads=2, base=500.0)
        block = modules.Block(
            attention, modules.Mlp(width, act=F.silu, gated=True), lambda: nn.RMSNorm(width)
        )
        network = modules.Network(modules.Words(width, positions=False), [block])
        matrices = {
            name: std * (modules.WIDTH / width) ** 0.5 for name, std in modules.STDS.items()
        }
        module = modules.initialised(network, matrices | {"wte": modules.STDS["wte"]})
        with torch.no_grad():
            attention.q.weight.mul_(scale)
        return module

    quantities = ["residual_variance", "token_cosine"]
    reading = sp.read(make, ids())
    assert sp.inspect(reading, seeds=count, quantities=quantities).verdict == "confirmed"
    wrong = replace(reading, make=lambda: make(8.0))
    assert sp.inspect(wrong, seeds=count, quantities=quantities).verdict == "rejected"


def test_a_module_as_it_is_is_measured_once_and_not_judged():
    """A given network has no verdict, and its rows are its own numbers."""
    torch.manual_seed(1)
    module = residual().eval()
    table = sp.inspect(module, inputs(WIDTH), quantities=["residual_variance"])
    assert table.verdict is None and table.notes["samples"] == 1
    states = [inputs(WIDTH)]
    for block in module.blocks:
        states.append(states[-1] + block(states[-1]))
    for row, state in zip(table, states, strict=True):
        assert "verdict" not in row and row["se"] is None
        assert row["measured"] == pytest.approx(state.double().pow(2).mean().item(), rel=1e-5)


def test_too_few_networks_for_a_tolerance_are_inconclusive(reading: Reading):
    """At a tolerance far below the scatter of networks nothing is confirmed, nor rejected."""
    table = sp.inspect(
        reading,
        seeds=2,
        quantities=["residual_variance"],
        tolerances={"residual_variance": 1e-4},
    )
    assert table.verdict == "inconclusive"
    assert table.notes["tolerances"] == {"residual_variance": 1e-4}


def test_progress_counts_networks(reading: Reading):
    """One step a network."""

    class Counted:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def start(self, total: int, unit: str) -> None:
            self.said.append((total, unit))

        def advance(self, count: int = 1) -> None:
            self.said.append(count)

    counted = Counted()
    quantities = ["residual_variance"]
    sp.inspect(reading, seeds=2, quantities=quantities, progress=counted)  # pyright: ignore
    assert counted.said == [(2, "networks"), 1, 1]


def refused(call: Callable[[], Any], *words: str) -> None:
    with pytest.raises(sp.InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in (*words, "accepted: "):
        assert word in message, message


def test_bad_input(reading: Reading):
    """One line each: quantities, seeds, tolerances, modules without memory."""
    refused(lambda: sp.inspect(reading, quantities=["ntk"]), "quantities='ntk'")
    refused(lambda: sp.inspect(reading, seeds=1), "seeds=1")
    tolerances = {"residual_variances": 0.1}
    with pytest.raises(sp.InputError, match="did you mean 'residual_variance'"):
        sp.inspect(reading, tolerances=tolerances)
    refused(lambda: sp.inspect(reading, tolerances={"token_cosine": -0.1}), "token_cosine", "-0.1")
    refused(lambda: sp.inspect(residual().to("meta"), inputs(WIDTH)), "blocks.0", "no memory")
    built = replace(reading, make=None)
    refused(lambda: networks(built, [0], lambda: None), "blocks.0", "holds no memory")


def test_another_module_than_what_was_read(reading: Reading):
    """A builder whose parameters go by other names is refused by the name that lacks."""
    other = replace(reading, make=lambda: modules.initialised(modules.Residual(1, WIDTH), WIDE))
    refused(lambda: sp.inspect(other, seeds=2), "blocks.1")


def test_a_state_that_overflows(reading: Reading):
    """The first application that is not finite is said."""
    wrong = replace(
        reading, make=lambda: residual(lambda block: block.x.weight.mul_(1e30).mul_(1e30))
    )
    with pytest.raises(Diverged) as caught:
        sp.inspect(wrong, seeds=2)
    assert caught.value.application == 2


def of_width(width: int) -> Any:
    """The residual MLP at a width, sums of one variance."""
    factor = (modules.WIDTH / width) ** 0.5
    stds = {name: std * factor for name, std in modules.STDS.items() if name in "qkvuwxg"}
    return modules.initialised(modules.Residual(2, width), stds)


class Plain(nn.Module):
    """h + w tanh(h)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.w.weight, std=width**-0.5)

    def forward(self, x: Any) -> Any:
        return x + self.w(torch.tanh(x))


def test_two_widths_are_extrapolated():
    """A right network is confirmed by a of a + b/n; at one width, what is 1/n counts."""
    quantities = ["residual_variance", "write_variance"]
    table = sp.inspect(of_width, inputs, widths=(384, 192), seeds=30, quantities=quantities)
    assert table.verdict == "confirmed"
    assert table.notes["widths"] == [192, 384] and table.notes["width"] == 384

    one, two = (abs(deviations(widths)[1]) for widths in ((), (128, 512)))
    assert one > 0.04 and two < one / 2


def deviations(widths: tuple[int, ...]) -> list[float]:
    """Of the variance, of a network whose matrix is drawn 1 + 40/n times too large after it was
    read."""
    reads: set[int] = set()

    def build(width: int = 512) -> Any:
        net = Plain(width)
        if width in reads:
            with torch.no_grad():
                net.w.weight.mul_(1 + 40 / width)
        reads.add(width)
        return net

    example = inputs if widths else inputs(512)
    table = sp.inspect(build, example, widths=widths, seeds=24, quantities=["residual_variance"])
    return [row["deviation"] for row in table]


def test_parameters_are_compared_too(reading: Reading):
    """The gradient of every matrix and bias, and the second moment of what is drawn; a module
    whose matrix is drawn twice as wide has neither."""
    quantities = ["second_moment", "weight_gradient"]
    table = sp.inspect(reading, seeds=12, quantities=quantities)
    rows = {(row["quantity"], row["module"]): row for row in table}
    names = {f"blocks.{k}.{part}" for k in range(2) for part in ("w.weight", "x.weight")}
    assert {name for _, name in rows} >= names
    assert all(row["application"] is None for row in table)
    assert all(rows["second_moment", name]["verdict"] == "confirmed" for name in names)
    assert not [row for row in table if row["verdict"] == "rejected"]
    wrong = replace(reading, make=lambda: residual(scaled("w", 2.0)))
    table = sp.inspect(wrong, seeds=12, quantities=quantities)
    bad = {(row["quantity"], row["module"]) for row in table if row["verdict"] == "rejected"}
    assert ("second_moment", "blocks.1.w.weight") in bad
    assert ("second_moment", "blocks.0.w.weight") not in bad
    assert any(quantity == "weight_gradient" for quantity, _ in bad)


def unsized() -> Any:
    return residual()


def test_bad_widths(reading: Reading):
    """One line each."""
    refused(lambda: sp.inspect(of_width, inputs, widths=(64,)), "widths=64")
    refused(lambda: sp.inspect(reading, widths=(64, 128)), "widths")
    refused(lambda: sp.inspect(unsized, inputs(WIDTH), widths=(64, 128)), "function of the width")


class Zeroed(nn.Module):
    """h + d f(u h), d zero: as many start their last matrices."""

    def __init__(self, zero: bool = True) -> None:
        super().__init__()
        self.u, self.d = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        for parameter in self.d.parameters():
            if zero:
                nn.init.zeros_(parameter)

    def forward(self, x: Any) -> Any:
        return x + self.d(torch.relu(self.u(x)))


def test_writes_of_zero_are_confirmed_as_zero():
    """What is predicted to be zero is held against the largest of its kind; one that is not zero
    is rejected."""
    reading = sp.read(lambda: nn.Sequential(Zeroed(), Zeroed()), inputs(WIDTH))
    table = sp.inspect(reading, seeds=SEEDS)
    assert table.verdict == "confirmed"
    assert [row["theory"] for row in table if row["quantity"] == "write_variance"] == [0.0, 0.0]
    wrong = replace(reading, make=lambda: nn.Sequential(Zeroed(), Zeroed(zero=False)))
    assert sp.inspect(wrong, seeds=SEEDS).verdict == "rejected"


def test_biases_of_queries_keys_and_values():
    """torch's own layers as they are initialised: every bias uniform within 1/sqrt(n)."""
    width = 256

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x: Any) -> Any:
            parts = self.qkv(self.norm(x)).chunk(3, -1)
            q, k, v = (part.view(1, TOKENS, 4, 64).transpose(1, 2) for part in parts)
            heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return x + self.out(heads.transpose(1, 2).reshape(1, TOKENS, width))

    table = sp.inspect(
        lambda: nn.Sequential(Layer(), Layer()),
        inputs(width)[None],
        seeds=24,
        quantities=["residual_variance", "token_cosine", "weight_gradient"],
        tolerances={"weight_gradient": 0.3},
    )
    assert table.verdict == "confirmed"
    assert {"0.qkv.bias", "1.out.bias"} <= {row["module"] for row in table}


def test_copies_have_gradients_of_their_own():
    """Layers that start as copies: theory has the sum of their gradients, so their parameters have
    no row; those of one parameter that two applications use have it."""

    def copies(tied: bool) -> Callable[[], Any]:
        def make() -> Any:
            first = modules.Residual(1, WIDTH)
            second = first if tied else copy.deepcopy(first)
            return nn.Sequential(first, second)

        return make

    tied = sp.inspect(copies(True), inputs(WIDTH), seeds=12, quantities="weight_gradient")
    assert len(tied) == 4 and tied.verdict != "rejected"
    refused(
        lambda: sp.inspect(copies(False), inputs(WIDTH), quantities="weight_gradient"),
        "weight_gradient",
        "no row",
    )


def test_what_would_decide_is_said(reading: Reading):
    """Two networks decide nothing at 2 %; with about as many as are named, it is decided."""
    tolerances = {"residual_variance": 0.03}
    table = sp.inspect(reading, seeds=3, quantities="residual_variance", tolerances=tolerances)
    (remark,) = (line for line in table.notes["remarks"] if line.startswith("inconclusive"))
    seeds = int(re.search(r"about (\d+) seeds", remark)[1])  # type: ignore[index]
    assert 3 < seeds < 200
    assert "residual_variance at blocks." in remark


def test_with_widths_what_is_measured_is_extrapolated():
    """measured is theory (1 + deviation), to which its standard error belongs; one width and an
    example without arguments are taken as they come."""
    table = sp.inspect(
        of_width,
        lambda width: inputs(width),
        widths=(192, 384),
        seeds=4,
        quantities="write_variance",
    )
    for row in table:
        assert row["measured"] == pytest.approx(row["theory"] * (1 + row["deviation"]), rel=1e-12)
    refused(lambda: sp.inspect(of_width, lambda: inputs(64), widths=64), "widths=64")


class InPlace(nn.Module):
    """x += f(x), the sum of two branches added in place, a relu in place."""

    def __init__(self, mutate: bool) -> None:
        super().__init__()
        self.up, self.down, self.side = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.mutate = mutate

    def forward(self, x: Any) -> Any:
        for _ in range(2):
            inner = F.relu(self.up(x), inplace=self.mutate)
            out = self.down(inner)
            if self.mutate:
                out += self.side(x)
                out += x
                x = out
            else:
                x = out + self.side(x) + x
        return x


def test_what_is_written_in_place_is_measured_as_if_it_were_not():
    """States, writes and gradients of one network, to rounding."""
    found = []
    for mutate in (True, False):
        reading = sp.read(lambda mutate=mutate: InPlace(mutate), inputs(WIDTH))
        (network,) = networks(reading, [5], lambda: None)
        found.append(network)
    for name in ("variance", "cosine", "gradient", "write"):
        one, two = (getattr(network, name) for network in found)
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    assert found[0].write.min() > 0.01


def test_a_part_that_is_overwritten_is_refused():
    """A whole tensor that is changed in place is one more state; a part of one has no rule."""

    class Again(nn.Module):
        def __init__(self, part: bool) -> None:
            super().__init__()
            self.w, self.part = nn.Linear(WIDTH, WIDTH), part

        def forward(self, x: Any) -> Any:
            h = x + self.w(x)
            (h[:, :3] if self.part else h).add_(self.w(h)[:, :3] if self.part else self.w(h))
            return h + self.w(h)

    assert len(sp.read(lambda: Again(False), inputs(WIDTH)).paths) == 3
    refused(lambda: sp.read(lambda: Again(True), inputs(WIDTH)), "overwrites a part")
