"""Parameter groups of torch and transformations of optax: every parameter gets its group's
numbers, and steps do what the rules say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sigprop.errors import InputError
from sigprop.prescriptions.frameworks import EPSILON, matched, optax_transform, torch_param_groups
from sigprop.prescriptions.prescribe import prescribe
from sigprop.prescriptions.prescription import Prescription

SMALL, LARGE = {"width": 64, "depth": 2}, {"width": 256, "depth": 8}
PATTERNS = {
    "w": "*/w",
    "x": "*/x",
    "bias": ["*/b_w", "*/b_x"],
    "embedding": "embed",
    "readout": "head",
}
LANGUAGE = {"words": "0,1,0", "vocabulary": 10, "block": "mlp"}


@pytest.fixture(autouse=True)
def promotion_that_optax_needs(strict_numerics: None) -> Iterator[None]:
    """Its bias correction raises a float to an integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def made(optimizer: str = "adamw", **options: Any) -> Prescription:
    given = {"learning_rate": 1e-2, "residual_scale": "1/sqrt(L)"} | options
    return prescribe(
        "transformer", base=SMALL, target=LARGE, optimizer=optimizer, **LANGUAGE, **given
    )


def params(width: int = 4) -> dict[str, Any]:
    def block():
        return {
            "w": jnp.ones((width, width)),
            "x": jnp.ones((width, width)),
            "b_w": jnp.ones(width),
            "b_x": jnp.ones(width),
        }

    return {"embed": jnp.ones((3, width)), "blocks": [block(), block()], "head": jnp.ones(width)}


def stepped(optimizer: Any, tree: Any, grads: Any, steps: int = 1) -> Any:
    import optax

    state = optimizer.init(tree)
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, tree)
        tree = optax.apply_updates(tree, updates)
    return tree


def leaves(tree: Any) -> Iterator[tuple[str, np.ndarray]]:
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        yield jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf)


def test_one_step_of_adam_moves_every_entry_by_its_groups_rate():
    optax = pytest.importorskip("optax")
    assert optax.__version__
    plan, tree = made(), params()
    keys = iter(jax.random.split(jax.random.key(0), 20))
    grads = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), tree)
    after = stepped(optax_transform(tree, plan, PATTERNS), tree, grads)
    labels, rates = matched([name for name, _ in leaves(tree)], plan, PATTERNS), set()
    for (name, old), (_, new), (_, gradient) in zip(
        leaves(tree), leaves(after), leaves(grads), strict=True
    ):
        rate = plan.value(labels[name], "learning_rate")
        np.testing.assert_allclose(new - old, -rate * np.sign(gradient), rtol=2e-2, atol=1e-7)
        np.testing.assert_allclose(abs(new - old).mean(), rate, rtol=1e-3)
        rates.add(round(rate, 12))
    assert len(rates) > 2  # groups differ, so a wrong label would be seen


def test_decay_epsilon_and_sgd_reach_their_groups():
    pytest.importorskip("optax")
    tree = params()
    plan = made(weight_decay=0.1, epsilon=1.0)
    zero = stepped(optax_transform(tree, plan, PATTERNS), tree, jax.tree.map(jnp.zeros_like, tree))
    one = stepped(optax_transform(tree, plan, PATTERNS), tree, jax.tree.map(jnp.ones_like, tree))
    labels = matched([name for name, _ in leaves(tree)], plan, PATTERNS)
    for (name, shrunk), (_, moved) in zip(leaves(zero), leaves(one), strict=True):
        rate, decay, epsilon = (
            plan.value(labels[name], setting)
            for setting in ("learning_rate", "weight_decay", "epsilon")
        )
        np.testing.assert_allclose(1 - shrunk, rate * decay, rtol=1e-2, atol=1e-7)
        np.testing.assert_allclose(shrunk - moved, rate / (1 + epsilon), rtol=1e-2, atol=1e-7)
    plan = made("sgd", weight_decay=0.1)
    after = stepped(
        optax_transform(tree, plan, PATTERNS, schedule=lambda step: 0.5),
        tree,
        jax.tree.map(lambda p: 2 * p, tree),
    )
    for name, moved in leaves(after):
        rate, decay = (
            plan.value(labels[name], setting) for setting in ("learning_rate", "weight_decay")
        )
        np.testing.assert_allclose(1 - moved, 0.5 * rate * (2 + decay), rtol=1e-4)


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (
            {key: value for key, value in PATTERNS.items() if key != "bias"},
            "'blocks/0/b_w' is matched by no pattern",
        ),
        ({**PATTERNS, "norm": "*/b_w"}, "'blocks/0/b_w' is matched by bias and norm"),
        ({**PATTERNS, "norm": "*/gain"}, "'\\*/gain' of norm matches no parameter"),
        ({**PATTERNS, "residual": "*/b_w"}, "group 'residual'"),
        ({**PATTERNS, "nrm": "*/gain"}, "group 'nrm'; did you mean 'norm'"),
    ],
)
def test_patterns_must_match_each_parameter_once(patterns: dict[str, Any], says: str):
    pytest.importorskip("optax")
    with pytest.raises(InputError, match=says) as caught:
        optax_transform(params(), made(), patterns)
    assert "\n" not in str(caught.value)


def test_ratios_alone_cannot_train():
    pytest.importorskip("optax")
    with pytest.raises(
        InputError, match="learning_rate of bias: the prescription holds ratios alone"
    ):
        optax_transform(params(), made(learning_rate=None), PATTERNS)


@pytest.mark.parametrize("name", ["torch", "optax"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        InputError, match=rf"{name} is not installed; accepted: after pip install sigprop\[{name}\]"
    ):
        {"torch": torch_param_groups, "optax": optax_transform}[name](params(), made(), PATTERNS)


def torch_model(torch: Any, width: int = 8) -> Any:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.w, self.x = (
                torch.nn.LayerNorm(width),
                torch.nn.Linear(width, 4 * width),
                torch.nn.Linear(4 * width, width),
            )

        def forward(self, h: Any) -> Any:
            return h + self.x(torch.nn.functional.gelu(self.w(self.norm(h))))

    torch.manual_seed(0)
    layers = {
        "embed": torch.nn.Embedding(5, width),
        "blocks": torch.nn.Sequential(Block(), Block()),
        "head": torch.nn.Linear(width, 5),
    }
    return torch.nn.ModuleDict(layers)


TORCH = {
    "embedding": "embed.weight",
    "norm": "*.norm.*",
    "w": "*.w.weight",
    "x": "*.x.weight",
    "bias": ["*.w.bias", "*.x.bias"],
    "readout": "head.weight",
    "readout_bias": "head.bias",
}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_torch_takes_the_groups_and_one_step_moves_them_by_their_rates(optimizer: str):
    torch = pytest.importorskip("torch")
    model, plan = torch_model(torch), made(optimizer, epsilon=None if optimizer == "sgd" else 1e-12)
    groups = torch_param_groups(model, plan, TORCH)
    assert {entry["name"] for entry in groups} == set(TORCH) and all(
        ("eps" in entry) == (optimizer != "sgd") for entry in groups
    )
    assert sum(len(entry["params"]) for entry in groups) == len(list(model.parameters()))
    before = [[p.detach().clone() for p in entry["params"]] for entry in groups]
    trainer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[
        optimizer
    ](groups)
    tokens = torch.arange(5)
    torch.nn.functional.cross_entropy(
        model["head"](model["blocks"](model["embed"](tokens))), tokens.flip(0)
    ).backward()
    trainer.step()
    for entry, old in zip(groups, before, strict=True):
        rate = plan.value(entry["name"], "learning_rate")
        for p, q in zip(entry["params"], old, strict=True):
            expected = -rate * (p.grad if optimizer == "sgd" else p.grad.sign())
            np.testing.assert_allclose(
                (p.detach() - q).numpy(), expected.numpy(), rtol=1e-2, atol=2e-6
            )


def test_torch_leaves_frozen_parameters_out_and_names_others():
    torch = pytest.importorskip("torch")
    model = torch_model(torch)
    model["embed"].weight.requires_grad_(False)
    assert "embedding" not in {entry["name"] for entry in torch_param_groups(model, made(), TORCH)}
    model["extra"] = torch.nn.Linear(2, 2)
    with pytest.raises(InputError, match="'extra.weight' is matched by no pattern"):
        torch_param_groups(model, made(), TORCH)


def test_epsilon_is_the_usual_one_times_the_rule_where_the_base_gave_none():
    pytest.importorskip("torch")
    import torch

    groups = torch_param_groups(torch_model(torch), made(), TORCH)
    w = next(entry for entry in groups if entry["name"] == "w")
    assert w["eps"] == EPSILON * made().row("w", "epsilon")["ratio"] and w["weight_decay"] == 0.0


# The same network under two names: what the compensations claim, by training both.


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "muon"])
@pytest.mark.parametrize("what", ["output_factor", "readout"])
def test_compensated_parametrisations_train_alike(optimizer: str, what: str):
    """h + m X relu(W h), z = r v.h: stds of X over sqrt(2 L) with m times sqrt(2 L), or v of
    unit std with r = 1/n; settings as the rules have them."""
    pytest.importorskip("optax")
    from sigprop.architectures import entry
    from sigprop.scaling.rates import rules
    from sigprop.scaling.sizes import CARRIED, sizes_of

    width, depth = 16, 3
    arch = entry("residual-mlp").build(depth=depth)
    at = sizes_of(arch, width)
    options = {
        "output_factor": {"output_factor": CARRIED},
        "readout": {"parametrisation": "multiplier"},
    }[what]

    def trained(known: dict[str, Any]) -> jax.Array:
        def value(group, setting):
            return float(getattr(known[group], setting).subs(at))

        keys = jax.random.split(jax.random.key(1), 4)
        tree = {
            "w": jax.random.normal(keys[0], (depth, width, width)),
            "x": jax.random.normal(keys[1], (depth, width, width)),
        }
        tree |= {"readout": jax.random.normal(keys[2], (width,))}
        tree = {name: leaf * value(name, "init_std") for name, leaf in tree.items()}
        inputs = jax.random.normal(keys[3], (4, width))

        def loss(p: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            h = inputs
            for a in range(depth):
                h = h + value("residual", "multiplier") * jax.nn.relu(h @ p["w"][a].T) @ p["x"][a].T
            z = value("readout", "multiplier") * h @ p["readout"]
            return jnp.mean((z - 1) ** 2), z

        def row(group, setting, base):
            return {
                "group": group,
                "setting": setting,
                "base": base,
                "ratio": 1.0,
                "value": base * value(group, setting),
            }

        given = {"learning_rate": 3e-2, "weight_decay": 0.1} | (
            {"epsilon": 1e-3} if optimizer != "sgd" else {}
        )
        plan = Prescription(
            "",
            {"optimizer": optimizer, "shape_factor": "original"},
            [row(group, key, base) for group in tree for key, base in given.items()],
            "prescribe",
            notes={"muon": {"w": (16, 16), "x": (16, 16)}} if optimizer == "muon" else None,
        )
        transform = optax_transform(tree, plan, {group: group for group in tree})
        state = transform.init(tree)
        for _ in range(5):
            updates, state = transform.update(jax.grad(loss, has_aux=True)(tree)[0], state, tree)
            tree = jax.tree.map(lambda p, u: p + u, tree, updates)
        return loss(tree)[1]

    decay = "papers" if optimizer == "adam" else "product"
    plain, compensated = (
        trained(rules(arch, optimizer, decay=decay)),
        trained(rules(arch, optimizer, decay=decay, **options)),
    )
    naive = rules(arch, optimizer, decay=decay)
    # the factor of X alone: another network
    half = trained(naive | {"x": rules(arch, optimizer, decay=decay, output_factor=CARRIED)["x"]})
    np.testing.assert_allclose(compensated, plain, rtol=2e-4, atol=2e-5)
    assert abs(np.asarray(half) - np.asarray(plain)).max() > 0.01
