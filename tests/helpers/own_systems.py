"""Four systems added from outside: nothing in sigprop knows of them, nor of their parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import sigprop as sp
from sigprop import Join, Normalise, Number, Parameter, Read, State, Stem, Write
from sigprop.blocks.residual import skip
from sigprop.blocks.rules import RESIDUAL_SCALE
from sigprop.blocks.transformer import stack
from sigprop.language.expression import Attend, Vector
from sigprop.language.traversal import replaced, walk
from sigprop.registry import readers


def streams(p: dict[str, Any], size: dict[str, int]) -> Join:
    """Branches read the mean of two streams; each takes what they write with its own strength."""
    plain, share, second = skip(p, size), Number("exchange", r"\kappa"), Number("second", r"\beta")
    write = RESIDUAL_SCALE * Write()
    lanes = (
        (1 - share) * State(0) + share * State(1) + write,
        share * State(0) + (1 - share) * State(1) + second * write,
    )
    mean = (State(0) + State(1)) / 2
    numbers = {**plain.numbers, "exchange": p["exchange"], "second": p["second"]}
    reads = replaced(plain.reads, {State(0): mean})
    return Join(reads, lambda kind: lanes, (Stem(), Stem()), numbers, readout=mean)


@sp.register("hyper-connections", "2409.19606", like="transformer", without=("skip_scale",))
def hyper_connections(
    *,
    exchange: Annotated[
        float,
        Parameter("share that streams exchange", "a number from 0 to 1", readers.number(0, 1)),
    ] = 0.25,
    second: Annotated[
        float, Parameter("strength of writes into stream 1", "a number", readers.number())
    ] = 0.5,
    **rest: Any,
) -> sp.Architecture:
    """Hyper-connections with two streams."""
    own = {"exchange": exchange, "second": second, "skip_scale": 1.0}
    return stack("hyper-connections", join=streams, **own, **rest)


def scaled(p: dict[str, Any], size: dict[str, int]) -> Join:
    """A trained scale on every coordinate that a branch writes."""
    plain, scale = skip(p, size), Number("layer_scale", r"\gamma")
    return plain._replace(
        branch=lambda kind, branch: sp.Gate(scale, branch, f"{kind}_scale"),
        numbers={**plain.numbers, "layer_scale": p["layer_scale"]},
    )


@sp.register("layer-scale", "2103.17239, 2003.04887", like="transformer")
def layer_scale(
    *,
    layer_scale: Annotated[
        float, Parameter("where trained scales begin (ReZero: 0)", "a number", readers.number())
    ] = 0.1,
    **rest: Any,
) -> sp.Architecture:
    """Transformer whose branches' outputs have trained scales."""
    return stack("layer-scale", join=scaled, layer_scale=layer_scale, **rest)


def first_values(p: dict[str, Any], size: dict[str, int]) -> Join:
    """Values are (1 - share) V r + share V_1 r_1, of the first block all V_1 r_1."""
    plain, share = skip(p, size), Number("value_share", r"\lambda")

    def mixed(kind: str, branch: Vector) -> Vector:
        value = next((node.value for node in walk(branch) if isinstance(node, Attend)), None)
        if not isinstance(value, sp.Linear):
            return branch
        first = replace(value, weight="v_first", of=Read(1))
        return replaced(branch, {value: (1 - share) * value + share * first})

    reads = (plain.reads, replaced(plain.reads, {State(0): Stem()}))
    shares = [1.0] + [p["value_share"]] * (size["L"] - 1)
    numbers = {**plain.numbers, "value_share": shares}
    return plain._replace(reads=reads, branch=mixed, numbers=numbers, tied=("v_first",))


@sp.register("value-residual", "2410.17897", like="transformer")
def value_residual(
    *,
    depth: Any = 3,
    value_share: Annotated[
        float, Parameter("share of the first block's values", "0 to 1", readers.number(0, 1))
    ] = 0.5,
    **rest: Any,
) -> sp.Architecture:
    """Transformer whose later blocks' values mix in the first block's."""
    return stack("value-residual", join=first_values, depth=depth, value_share=value_share, **rest)


def two_norms(p: dict[str, Any], size: dict[str, int]) -> Join:
    """Attention and MLP side by side, each behind a norm of its own."""
    plain, names = skip(p, size), ("attention_eps", "mlp_eps")
    return plain._replace(
        reads=tuple(Normalise(State(0), p["norm_kind"], Number(name)) for name in names),
        branch=lambda kind, u: replaced(u, {Read(): Read(1)}) if kind == "mlp" else u,
        numbers={**plain.numbers, **{name: p[name] for name in names}},
    )


EPSILON = Parameter("epsilon of this branch's norm", "a number >= 0", readers.number(0))


@sp.register("two-norms", "2405.08553", like="transformer", without=("block", "norm", "norm_eps"))
def two_norm_parallel(
    *,
    attention_eps: Annotated[float, EPSILON] = 0.5,
    mlp_eps: Annotated[float, EPSILON] = 0.0,
    **rest: Any,
) -> sp.Architecture:
    """Parallel blocks whose two branches have norms of their own."""
    own = {"attention_eps": attention_eps, "mlp_eps": mlp_eps, "norm": "pre", "norm_eps": 0.0}
    return stack("two-norms", join=two_norms, block="parallel", **own, **rest)


SYSTEMS = {
    "hyper-connections": (hyper_connections, {"exchange": 0.3, "second": -0.7, "depth": 2}),
    "layer-scale": (layer_scale, {"layer_scale": 0.4, "depth": 2, "norm_kind": "rms"}),
    "value-residual": (value_residual, {"value_share": 0.3, "mask": "causal", "qk_norm": True}),
    "two-norms": (two_norm_parallel, {"depth": 2, "mlp_eps": 1.5, "gated": True}),
}
"""Each with parameters that are not its defaults."""
