import jax
import jax.numpy as jnp
from flax import nnx

import sigprop as sp

INPUTS, OUTPUTS, EXAMPLES = 8, 4, 16
BASE, TARGET = {"width": 32, "depth": 2}, {"width": 128, "depth": 8}
ADAMW = {**dict.fromkeys(("stem", "bias", "norm", "final_norm"), 5e-4), "w": 2e-4, "x": 2e-4}
RATES = {
    "adamw": {**ADAMW, "readout": 1e-4},
    "muon": {**ADAMW, "w": 2e-3, "x": 2e-3, "readout": 1e-4},
    "sgd": {**dict.fromkeys(ADAMW, 0.3), "readout": 0.02},
}
"""Those of the base, as it was tuned."""
PATTERNS = {
    "stem": "stem/kernel",
    "w": "*/w/kernel",
    "x": "*/x/kernel",
    "bias": ["*/w/bias", "*/x/bias"],
    "norm": "blocks/*/norm/*",
    "final_norm": "norm/*",
    "readout": "head/kernel",
}


class Block(nnx.Module):
    def __init__(self, n: int, factor: float, rngs: nnx.Rngs) -> None:
        drawn = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
        self.factor = factor
        self.norm = nnx.LayerNorm(n, rngs=rngs)
        self.w = nnx.Linear(n, 4 * n, kernel_init=drawn, rngs=rngs)
        self.x = nnx.Linear(4 * n, n, kernel_init=drawn, rngs=rngs)

    def __call__(self, h: jax.Array) -> jax.Array:
        return h + self.factor * self.x(nnx.gelu(self.w(self.norm(h))))


class Model(nnx.Module):
    """The target's sizes, multiplier of branches and std of the read-out are the plan's."""

    def __init__(self, plan: sp.Prescription, rngs: nnx.Rngs) -> None:
        n, depth = (plan.parameters["target"][size] for size in ("width", "depth"))
        factor = plan.value("residual", "multiplier")
        dense = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")
        last = nnx.initializers.normal(plan.value("readout", "init_std"))
        self.stem = nnx.Linear(INPUTS, n, use_bias=False, kernel_init=dense, rngs=rngs)
        self.blocks = nnx.List([Block(n, factor, rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(n, rngs=rngs)
        self.head = nnx.Linear(n, OUTPUTS, use_bias=False, kernel_init=last, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


def prescribed(target: dict[str, int], optimizer: str) -> sp.Prescription:
    return sp.prescribe(
        "residual-mlp",
        base=BASE,
        target=target,
        optimizer=optimizer,
        learning_rate=RATES[optimizer],
        multiplier=BASE["depth"] ** -0.5,
        init={"readout": 1 / BASE["width"]},
        activation="gelu",
        norm_kind="layer",
        inputs=INPUTS,
    )


@nnx.jit
def step(model: Model, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    loss, gradients = nnx.value_and_grad(lambda model: jnp.mean((model(x) - y) ** 2))(model)
    optimizer.update(model, gradients)
    return loss


def train(plan: sp.Prescription, seeds: int, steps: int = 20) -> list[tuple[float, float, float]]:
    """Return, of every seed, how much the output has changed, root mean square, and the loss
    before and after."""
    found, transform = [], None
    for seed in range(seeds):
        rngs = nnx.Rngs(seed)
        x = jax.random.normal(rngs.data(), (EXAMPLES, INPUTS))
        y = jax.random.rademacher(rngs.data(), (EXAMPLES, OUTPUTS), jnp.float32)
        model = Model(plan, rngs)
        transform = transform or sp.optax_transform(model, plan, PATTERNS)
        optimizer = nnx.Optimizer(model, transform, wrt=nnx.Param)
        before = model(x)
        losses = [step(model, optimizer, x, y) for _ in range(steps)]
        change = jnp.sqrt(jnp.mean((model(x) - before) ** 2))
        found.append((float(change), float(losses[0]), float(losses[-1])))
    return found
