"""What a twin's matrices answer, forward and on the way back: known beforehand, whatever is
asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from sigprop.description.architecture import Architecture
from sigprop.language.scalar import evaluate
from sigprop.simulations.network.matrices import Slots
from sigprop.simulations.network.twins.uses import Normals


class Back(NamedTuple):
    """What a network is pulled back with. normals {matrix: [slots, U, T, n_in]}: of its transposed
    answers, the last use first; readout: the cotangent of all that the read-out sees."""

    normals: Normals
    readout: Float[Array, "T n"]


@jax.custom_vjp
def _known(
    x: Float[Array, "T n_in"], answer: Float[Array, "T n_out"], back: Float[Array, "T n_in"]
) -> Float[Array, "T n_out"]:
    """Return the answer; in reverse x's cotangent is what is known of that."""
    return answer


_known.defvjp(lambda x, answer, back: (answer, back), lambda back, _: (back, None, None))


class Answered:
    """What an evaluation asks of matrices, all answers known beforehand: {weight: [slots, U, T,
    n_out]}; biases are the network's.

    back {weight: [slots, U, T, n_in]}: transposed answers, the last use first; none going forward
    only."""

    def __init__(
        self,
        arch: Architecture,
        answers: Normals,
        back: Normals,
        bias: Callable[[str, Slots], Float[Array, "*E n_out"]],
    ) -> None:
        self.arch, self.answers, self.back, self.bias = arch, answers, back, bias

    def apply(
        self, local: Any, place: Any, weight: str, x: Float[Array, "T n_in"]
    ) -> tuple[Float[Array, "T n_out"], Any]:
        """(the answer, nothing): whatever is asked, and in reverse whatever comes."""
        slot, use = place["slots"][weight], place["uses"][weight]
        answer = self.answers[weight][slot, use]
        if not self.back:
            return answer, local
        # the weight's output is the answer times this
        variance = evaluate(self.arch.weights[weight].variance, place["numbers"])
        std = jnp.sqrt(jnp.asarray(variance, dtype=x.dtype) / x.shape[-1])
        back = self.back[weight]
        return _known(x, answer, std * back[slot, back.shape[1] - 1 - use]), local


def answers(
    side: int, factors: Float[Array, "slots UT UT"], g: Float[Array, "slots U T n"]
) -> Float[Array, "slots U T n"]:
    """A matrix's answers to what has so many coordinates: entries of variance 1 are asked,
    and Grams are means."""
    slots, uses, tokens, width = g.shape
    found = jnp.matmul(
        np.sqrt(side).astype(g.dtype) * factors,
        g.reshape(slots, uses * tokens, width),
        precision=jax.lax.Precision.HIGHEST,
    )
    return found.reshape(g.shape)
