"""Quantities: the kinds of numbers that tables hold, and how a deviation in each is measured."""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.description import shapes
from sigprop.description.architecture import Architecture
from sigprop.description.shapes import Shape


@dataclass(frozen=True)
class Quantity:
    """One kind of row.

    shape      which rows a network has (``shapes``)
    help       what it is, in a line
    scale      what a deviation is divided by: 'value', 'diagonal' or 'one' (docs/verdict.md)
    backward   whether it needs the backward pass
    judged     whether a verdict looks at it unasked
    event      whether it is 0 or 1 in a network, so that a few networks all alike prove nothing
    predicted  whether theory has it
    unasked    whether tables hold it without being asked for it by name (a verdict: where judged)
    origin     'stem' or 'readout' where one of them hands it on through branches that do nothing
    approximated  whether attention's approximations say it
    vectors    whether a network's value is read off vectors, not off their Grams
    """

    shape: Shape
    help: str
    scale: str
    backward: bool
    judged: bool = True
    event: bool = False
    predicted: bool = True
    unasked: bool = True
    origin: str = ""
    approximated: bool = False
    vectors: bool = False

    def paired(self, arch: Architecture, applications: int) -> int:
        """How many rows every pair of tokens has, at that many applications."""
        if self.shape is shapes.kernels:
            return len(arch.groups) + 1
        return applications if self.shape in PAIRED else 0


BANDED_STATES, BANDED_PAIRS = shapes.banded(shapes.states), shapes.banded(shapes.pairs)
PAIRED = (shapes.pairs, BANDED_PAIRS, shapes.angles)
"""Shapes with a row a pair of tokens."""

QUANTITIES: dict[str, Quantity] = {
    "residual_variance": Quantity(
        shapes.states, "<h_a, h_a> of a token", "value", False, origin="stem", approximated=True
    ),
    "rms": Quantity(
        shapes.states,
        "root of <h_a, h_a> of a token",
        "value",
        False,
        False,
        unasked=False,
        origin="stem",
        approximated=True,
    ),
    "token_covariance": Quantity(
        shapes.pairs,
        "<h_a[t], h_a[s]> between tokens",
        "diagonal",
        False,
        origin="stem",
        approximated=True,
    ),
    "token_cosine": Quantity(
        shapes.pairs,
        "cosine of h_a[t] and h_a[s], two tokens",
        "one",
        False,
        unasked=False,
        origin="stem",
        approximated=True,
    ),
    "state_cosine": Quantity(
        shapes.with_stem, "cosine of h_a and h_b", "one", False, approximated=True, vectors=True
    ),
    "write_variance": Quantity(
        shapes.written_states,
        "<w_a, w_a> of a token (w_a: written by application a - 1)",
        "value",
        False,
        False,
        unasked=False,
        approximated=True,
        vectors=True,
    ),
    "write_cosine": Quantity(
        shapes.neighbours,
        "cosine of the increments w_a and w_b (w_a: written by application a - 1)",
        "one",
        False,
        approximated=True,
        vectors=True,
    ),
    "log_norm": Quantity(
        shapes.norms,
        "log of all that norms have divided h by (networks that keep h normalised): the residual "
        "is exp(log_norm) h_a",
        "one",
        False,
        origin="stem",
        approximated=True,
    ),
    "rotation": Quantity(
        shapes.written_states,
        "sum over applications before a of the angle between h and the next h, in degrees",
        "value",
        False,
        False,
        approximated=True,
        vectors=True,
    ),
    "band_variance": Quantity(
        BANDED_STATES,
        "<h_a, h_a> over the coordinates of a band, those that the same blocks own (networks of "
        "several widths)",
        "value",
        False,
        origin="stem",
        vectors=True,
    ),
    "band_covariance": Quantity(
        BANDED_PAIRS,
        "<h_a[t], h_a[s]> over the coordinates of a band",
        "diagonal",
        False,
        origin="stem",
        vectors=True,
    ),
    "matrix_entropy": Quantity(
        shapes.spectra,
        "entropy of the spectrum of the T x T Gram of what application a reads before norms, over "
        "log T",
        "one",
        False,
        False,
    ),
    "participation_ratio": Quantity(
        shapes.hidden_units,
        "(sum_j e_j)^2 / (m sum_j e_j^2), e_j = mean over tokens of the squares of a branch's m "
        "hidden units",
        "one",
        False,
        False,
        predicted=False,
        vectors=True,
    ),
    "modulator": Quantity(
        shapes.modulators,
        "m of an application with a learned modulator, 0 where the token is skipped",
        "one",
        False,
    ),
    "skip_rate": Quantity(
        shapes.skipping, "probability that an application skips a token", "one", False, event=True
    ),
    "gradient_variance": Quantity(
        shapes.states, "<g_a, g_a>, g = sqrt(n) dz/dh", "value", True, origin="readout"
    ),
    "gradient_covariance": Quantity(
        shapes.pairs, "<g_a[t], g_a[s]> between tokens", "diagonal", True, origin="readout"
    ),
    "band_gradient": Quantity(
        BANDED_STATES, "<g_a, g_a> over the coordinates of a band", "value", True, origin="readout"
    ),
    "logit_variance": Quantity(
        shapes.outputs,
        "variance of a logit n^-1/2 e . o_t: C_head <o_t, o_t>, times e^(2 s_t) with an inverse "
        "temperature (tied: of an absent word)",
        "value",
        False,
        False,
        approximated=True,
    ),
    "logit_contact": Quantity(
        shapes.own_words,
        "<e, o_t>, e token t's embedding: a tied head's logit at t's own word has sqrt(n) times "
        "it as mean",
        "value",
        False,
        False,
        approximated=True,
    ),
    "cross_entropy": Quantity(
        shapes.losses,
        "mean of log sum_w exp(logit_w) over a vocabulary: the initial loss of token t",
        "one",
        False,
        False,
        approximated=True,
    ),
    "participation": Quantity(
        shapes.attending,
        "sum over s of Omega_ts^2, mean over the heads of an attention application",
        "value",
        False,
        False,
        approximated=True,
    ),
    "angle_exponent": Quantity(
        shapes.angles,
        "log of (1 - cos)/(1 - cos) of two tokens, after an application over before it",
        "one",
        False,
        False,
        approximated=True,
    ),
    "gradient_exponent": Quantity(
        shapes.one,
        "log of sum over tokens of <g_0, g_0> over that of the last state, per application",
        "one",
        True,
        False,
    ),
    "weight_gradient": Quantity(
        shapes.slots,
        "n |dz/dW|^2 / (n_in n_out), by group; application: the slot's first",
        "value",
        True,
    ),
    # one backward pass a token
    "ntk": Quantity(
        shapes.kernels,
        "sum over a group of <dz_t/dtheta, dz_s/dtheta> / n_in; no group: the total",
        "diagonal",
        True,
        False,
    ),
}
