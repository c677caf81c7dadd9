"""What cannot be read is refused in one line that names the module's path, what came, and what
would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax_modules as modules
import pytest
from jax_modules import TOKENS, WIDTH, eqx, ids, inputs, nn, nnx
from refusals import refused

import sigprop as sp

KEY = jax.random.key(0)


class Branch(nnx.Module):
    """W f(x)."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.w = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        return x + self.w(self.function(x))


class LinenBranch(nn.Module):
    function: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return x + nn.Dense(WIDTH, name="w")(self.function(x))


class LinenStack(nn.Module):
    function: Any

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return LinenBranch(self.function, name="second")(modules.LinenMlp(1, name="first")(x))


class EqxBranch(eqx.Module):
    w: Any
    function: Any = eqx.field(static=True)

    def __call__(self, x: Any) -> Any:
        return x + jax.vmap(self.w)(self.function(x))


def eqx_stack(function: Any) -> Any:
    branch = EqxBranch(eqx.nn.Linear(WIDTH, WIDTH, key=KEY), function)
    return modules.EqxStack([modules.EqxMlp(KEY), branch])


STACKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nnx": (
        lambda f: modules.NnxStack([modules.NnxMlp(nnx.Rngs(0)), Branch(f)]),
        "blocks.1: ",
    ),
    "linen": (LinenStack, "second: "),
    "equinox": (eqx_stack, "blocks.1: "),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "cumsum": lambda x: jnp.cumsum(x, -1),
    "sort": lambda x: jnp.sort(x, -1),
    "rev": lambda x: x[:, ::-1],
    "reduce_max": lambda x: x * x.max(-1, keepdims=True),
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
    "top_k": lambda x: jax.lax.top_k(x, WIDTH)[0],
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("library", STACKS)
def test_an_operation_without_a_rule(library: str, operation: str):
    """Its name and the path of the module that computes it."""
    build, path = STACKS[library]
    refused(lambda: build(OPERATIONS[operation]), inputs(), path, f"operation {operation} has no")


class Plain(nnx.Module):
    """A function of an input and one matrix."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.w = nnx.Linear(WIDTH, WIDTH, rngs=nnx.Rngs(0))

    def __call__(self, x: Any) -> Any:
        return self.function(x, self.w)


def test_no_residual_stream():
    refused(lambda: Plain(lambda x, w: jnp.tanh(w(x))), inputs(), "no residual stream")


def test_no_array_comes_out():
    for out in (lambda x, w: None, lambda x, w: jnp.arange(3)):
        refused(lambda out=out: Plain(out), inputs(), "returns no array")


EXAMPLES: dict[str, tuple[Callable[[], Any], Any, str]] = {
    "another width": (lambda: modules.NnxMlp(nnx.Rngs(0)), jnp.ones((TOKENS, 7)), "model: "),
    "float words": (lambda: modules.NnxGpt(nnx.Rngs(0)), inputs(), "model: "),
    "too many": (lambda: modules.EqxMlp(KEY), (inputs(), inputs()), "model: TypeError"),
    "an unknown name": (lambda: modules.EqxMlp(KEY), {"y": inputs()}, "model: TypeError"),
    "linen, another rank": (modules.LinenGpt, jnp.arange(3.0), "build: "),
    "a batch": (lambda: modules.NnxGpt(nnx.Rngs(0)), ids().repeat(2, 0), "2 inputs in one batch"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_that_the_module_cannot_be_called_with(name: str):
    build, example, word = EXAMPLES[name]
    refused(build, example, word)


@pytest.mark.parametrize("example", [3, "words", None, {1, 2}], ids=lambda e: type(e).__name__)
def test_examples_of_a_wrong_kind(example: Any):
    """An array, a tuple or a dict: anything else is shown."""
    module = modules.NnxMlp(nnx.Rngs(0))
    refused(module, example, "example=", "an array, a tuple of arguments, or a dict")


BUILDERS: dict[str, tuple[Callable[..., Any], str]] = {
    "no module": (lambda: 5, "model=<class 'int'>"),
    "an error": (lambda: 1 / 0, "build: ZeroDivisionError"),
    "arguments": (lambda width: modules.NnxMlp(width), "build: TypeError"),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_that_build_nothing(name: str):
    build, word = BUILDERS[name]
    refused(build, inputs(), word)


def test_a_module_that_holds_no_numbers():
    module = modules.NnxMlp(nnx.Rngs(0))
    module.w.kernel[...] = module.w.kernel[...].at[0, 0].set(jnp.nan)
    refused(module, inputs(), "w.kernel: holds what is not a number")


class Drawn(nnx.Module):
    """x + W x, W drawn by a function of a key."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.w = nnx.Param(draw(jax.random.key(1)))

    def __call__(self, x: Any) -> Any:
        return x + x @ self.w[...]


def test_a_law_that_is_not_understood_is_measured_and_says_so():
    """Coins of +-0.1: the second moment of one draw, its source the operation without a law."""
    coins = lambda key: 0.1 * jax.random.rademacher(key, (WIDTH, WIDTH), jnp.float32)  # noqa: E731
    law = sp.read(lambda: Drawn(coins), inputs()).built.parameters["w"].law
    assert law.kind == "measured" and law.variance == pytest.approx(0.01, rel=0.01)
    assert law.source.startswith(f"{WIDTH**2} entries of one draw: ")


def test_entries_with_a_mean_are_refused():
    refused(
        lambda: Drawn(lambda key: jax.random.uniform(key, (WIDTH, WIDTH))),
        inputs(),
        "w: its law is uniform, mean 0.5",
    )


def test_dropout_is_left_out_and_noise_is_refused():
    """Modules are read in evaluation; a mask that is drawn on the way has no rule."""
    rate = lambda: nnx.Dropout(0.5, rngs=nnx.Rngs(1))  # noqa: E731
    found = sp.read(lambda: Branch(rate()), inputs())
    assert str(found.architecture.sub_blocks[0].branch).count("dropout") == 0
    mask = lambda x: jnp.where(jax.random.bernoulli(KEY, 0.5, x.shape), 2 * x, 0)  # noqa: E731
    refused(lambda: Branch(mask), inputs(), "operation select_n has no rule")
