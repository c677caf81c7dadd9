"""The kernel of one branch and its derivative at many cosines, by the calculus' rules on arrays."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sigprop.description.architecture import Architecture
from sigprop.language.expression import Read, Vector
from sigprop.theory.attention.draws import Law, head_draws, law
from sigprop.theory.calculus.environment import Resolution
from sigprop.theory.calculus.rules import inner
from sigprop.theory.calculus.transpose import Cotangent, transpose
from sigprop.theory.recursion.arrays import ArrayEnvironment
from sigprop.theory.recursion.kernels import DEGREE

Numbers = dict[str, jax.Array]


class Curves(NamedTuple):
    """<f, f'> and d<f, f'>/dc, a value a cosine c."""

    kernel: np.ndarray
    slope: np.ndarray


def curves(arch: Architecture, kind: int, cosines: np.ndarray) -> Curves:
    """Evaluate the branch of a kind of sub-block at two uses of one slot, whose reads have unit
    variance and these cosines."""
    branch, first = arch.sub_blocks[kind].branch, list(arch.kind_table or ()).index(kind)
    points = {
        law(node): head_draws(law(node), 1, 0)
        for block in arch.sub_blocks
        for node in block.attention
    }
    tables = arch.number_tables | arch.tables_by_application
    compiled = jax.jit(functools.partial(_pair, branch, tuple(points)))
    with jax.enable_x64(True):
        numbers = {
            name: jnp.asarray(table[first][None], dtype=jnp.float64)
            for name, table in tables.items()
        }
        kernel, slope = compiled(
            jnp.asarray(cosines[:, None, None], dtype=jnp.float64),
            numbers,
            jax.tree.map(jnp.asarray, list(points.values())),
        )
    return Curves(np.asarray(kernel), np.asarray(slope))


def _pair(
    branch: Vector,
    laws: tuple[Law, ...],
    cross: jax.Array,
    numbers: Numbers,
    points: list[jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Expand <f, f'>, and the same of cotangents, between places a and b [cosines]."""
    resolution = Resolution(
        jnp.asarray(DEGREE, dtype=jnp.int64), dict(zip(laws, points, strict=True))
    )
    env = _environment(cross, numbers, resolution)
    turned = transpose(branch).by_read()
    assert turned is not None
    return (
        env.block(inner(branch, "a", branch, "b", env), "a", "b")[:, 0, 0],
        env.block(inner(turned, "a", turned, "b", env), "a", "b")[:, 0, 0],
    )


def _environment(cross: jax.Array, numbers: Numbers, resolution: Resolution) -> ArrayEnvironment:
    """Return the environment of a read at place a and one of every cosine at b, all of variance
    1, and of cotangents that are equal."""
    count = len(cross)
    unit, units = jnp.ones((1, 1, 1), dtype=jnp.float64), jnp.ones_like(cross)
    zero, zeros = (
        jnp.zeros((1, 1), dtype=jnp.float64),
        jnp.zeros(cross.shape[:2], dtype=jnp.float64),
    )
    repeated = {
        name: jnp.broadcast_to(value, (count, *value.shape[1:])) for name, value in numbers.items()
    }
    return ArrayEnvironment(
        {("a", "a"): ((unit,),), ("a", "b"): ((cross,),), ("b", "b"): ((units,),)},
        {("a", "a"): unit, ("a", "b"): units, ("b", "b"): units},
        {"a": numbers, "b": repeated},
        lambda weight: jnp.ones(count, dtype=jnp.float64),
        {
            (leaf, place): log
            for leaf in (Read(), Cotangent())
            for place, log in (("a", zero), ("b", zeros))
        },
        resolution,
    )
