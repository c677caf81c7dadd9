"""The one table of parameters: what each means, which values it takes, how text becomes a value.

Systems share a parameter by its name; one that only one system has is declared there
(``entries.register``).
"""

from __future__ import annotations

from dataclasses import dataclass

from sigprop.blocks.variances import INITIALISATIONS, named
from sigprop.description.checks import ENSEMBLES
from sigprop.language.activation import Activation
from sigprop.language.activations import find
from sigprop.language.scores import SCALES
from sigprop.registry import readers


@dataclass(frozen=True)
class Parameter:
    """Declare one parameter: ``help`` in a line, ``accepts`` in words, ``read`` from text or Python
    to a checked value."""

    help: str
    accepts: str
    read: readers.Reader[object]

    @property
    def type(self) -> object:
        """Return what Python callers pass."""
        return readers.TYPES.get(self.read, object)


readers.of_type(str | Activation)(find)
readers.of_type(str)(named)

_ANY_SCALE = (
    "a finite number, an expression in N, L, S, l, a, n such as 1/(N*sqrt(L)), or a list of these"
)
_STEM = "a number >= 0, an expression in n, or none"
_VARIANCE = (
    "a number >= 0, an expression in N, L, S, l, a, n such as 0.02**2*n/(2*l), or a list of these"
)

VARIANCES = {
    "c_q": "variance of Q times its fan-in (default 1)",
    "c_k": "variance of K times its fan-in (default 1)",
    "c_v": "variance of V times its fan-in (default 1)",
    "c_u": "variance of U, attention's output, times its fan-in (default 1)",
    "c_g": "variance of the gate G times its fan-in (default 1)",
    "c_w": "variance of W times its fan-in (default: unit gain)",
    "c_x": "variance of X times its fan-in (default: unit gain)",
}
"""Of matrices that are drawn: all read alike."""

PARAMETERS: dict[str, Parameter] = {
    "depth": Parameter(
        "L, number of distinct blocks", "an integer from 1 to 10^6", readers.integer(1, 10**6)
    ),
    "loops": Parameter(
        "N, how often the blocks are looped", "an integer from 1 to 10^6", readers.integer(1, 10**6)
    ),
    "tokens": Parameter(
        "T, number of tokens (or inputs)", "an integer from 1 to 4096", readers.integer(1, 4096)
    ),
    "token_cosine": Parameter(
        "common cosine of the unit-variance inputs",
        "a number from 0 to 1 (negative ones: input_gram)",
        readers.optional(readers.number(0, 1)),
    ),
    "input_gram": Parameter(
        "T x T Gram of the stem's output (an array, or a .csv, .txt or .npy file)",
        "a T x T covariance matrix",
        readers.gram,
    ),
    "weights": Parameter(
        "entries of the matrices, all of the same variance",
        ", ".join(ENSEMBLES),
        readers.choice(*ENSEMBLES),
    ),
    "matrices": Parameter(
        "matrices in a branch: 1, W phi(r), or 2, X phi(W r)", "1 or 2", readers.integer(1, 2)
    ),
    "activation": Parameter(
        "elementwise function phi", "a registered activation, or leaky-relu(slope)", find
    ),
    "block": Parameter(
        "what a block holds: attention, an MLP, one after the other, or the sum of both",
        "mlp, attention, transformer or parallel",
        readers.choice("mlp", "attention", "transformer", "parallel"),
    ),
    "gated": Parameter(
        "whether the MLP's units are gated, phi(W r) * G r", "true or false", readers.boolean
    ),
    "mlp_ratio": Parameter(
        "hidden units of the MLP over the width",
        "a number from 1/64 to 64",
        readers.number(1 / 64, 64),
    ),
    "experts": Parameter(
        "how many MLPs a block has, to some of which a router sends each token; none: one, for all",
        "an integer from 1 to 4096, or none",
        readers.optional(readers.integer(1, 4096)),
    ),
    "experts_chosen": Parameter(
        "k, to how many of the experts a token is sent; none: 2",
        "an integer from 1 to experts, or none",
        readers.optional(readers.integer(1, 4096)),
    ),
    "mask": Parameter(
        "which tokens attend to which",
        "none, causal, or a T x T table of 0 and 1 (an array, or a .csv, .txt or .npy file)",
        readers.mask,
    ),
    "score_scale": Parameter(
        "of q . k: 1/sqrt(head_dim); 1/head_dim, with head_dim growing; or queries that are zero",
        "sqrt, linear or zero_query",
        readers.choice(*SCALES),
    ),
    "head_dim": Parameter(
        "coordinates of a head, the same at every width",
        "an integer from 1 to 4096, or inf (theory only)",
        readers.head_dim,
    ),
    "heads": Parameter(
        "query heads: with kv_heads their ratio; at score_scale=linear their number",
        "an integer from 1 to 4096",
        readers.optional(readers.integer(1, 4096)),
    ),
    "kv_heads": Parameter(
        "heads of keys and values, each serving heads/kv_heads query heads",
        "a divisor of heads",
        readers.optional(readers.integer(1, 4096)),
    ),
    "qk_norm": Parameter(
        "whether queries and keys are divided by their rms over the head",
        "true or false",
        readers.boolean,
    ),
    "positions": Parameter(
        "how attention knows positions", "none or rotary", readers.choice("none", "rotary")
    ),
    "rope_base": Parameter(
        "base of the rotary angles", "a number above 1", readers.number(1 + 1e-9)
    ),
    "rotary_dim": Parameter(
        "how many coordinates of a head rotary positions turn; none: all",
        "an even number up to head_dim, or none",
        readers.optional(readers.integer(2, 4096)),
    ),
    "softcap": Parameter(
        "c, scores S become c tanh(S/c); none: no cap",
        "a number above 0, or none",
        readers.optional(readers.number(1e-9)),
    ),
    "attention_bias": Parameter(
        "added to the scores, the same for all heads and blocks",
        "a T x T table (an array, or a .csv, .txt or .npy file)",
        readers.gram,
    ),
    "attention_rescale": Parameter(
        "factor of attention's output at each token",
        "T numbers such as 1,0.5,0.5 (or a file of them)",
        readers.optional(readers.numbers),
    ),
    "dropout": Parameter(
        "p, probability of dropping an attention weight, and a coordinate of a branch's output",
        "a number from 0 to 0.99",
        readers.number(0, 0.99),
    ),
    "norm": Parameter(
        "where the norm sits",
        "none, pre, post or sandwich",
        readers.choice("none", "pre", "post", "sandwich"),
    ),
    "norm_kind": Parameter("RMSNorm or LayerNorm", "rms or layer", readers.choice("rms", "layer")),
    "norm_eps": Parameter(
        "regulator inside the norm's square root",
        "a number >= 0",
        readers.optional(readers.number(0)),
    ),
    "residual_scale": Parameter(
        "eps, factor of every write", _ANY_SCALE, readers.scale("residual_scale")
    ),
    "skip_scale": Parameter("lambda, factor of the skip", _ANY_SCALE, readers.scale("skip_scale")),
    "alpha_0": Parameter(
        "alpha_l = alpha_0 l^-p, l = 1, 2, ... over all applications",
        "a number >= 0, or an expression in N, L, S, l, a, n",
        readers.scale("alpha_0"),
    ),
    "alpha_exponent": Parameter(
        "p, how the gains alpha_l fall with depth", "a finite number", readers.number()
    ),
    "modulator": Parameter(
        "m, factor of every gain; learned: a function of the token's direction",
        "a number from 0 to 1, or learned",
        readers.modulator,
    ),
    "directions": Parameter(
        "C, preferred directions of a learned modulator",
        "an integer from 1 to 4096",
        readers.integer(1, 4096),
    ),
    "mod_rate": Parameter(
        "Mixture-of-Depths: share of tokens and applications that is skipped",
        "a number from 0 to below 1",
        readers.share,
    ),
    "mod_by": Parameter(
        "what a token is skipped by: its gain alpha_l m, or m alone",
        "gain or modulator",
        readers.choice("gain", "modulator"),
    ),
    "mod_threshold": Parameter(
        "whether every application skips that share, or all together",
        "layer or global",
        readers.choice("layer", "global"),
    ),
    "skipped_kv": Parameter(
        "keys and values of tokens that attention skips: seen by the others, or not",
        "keep or drop",
        readers.choice("keep", "drop"),
    ),
    "beta": Parameter("power of a learned modulator", "a number above 0", readers.number(1e-9)),
    "rho_final": Parameter(
        "rho_L, cosine of all tokens after the last block",
        "a number from 0 to below 1",
        readers.share,
    ),
    "gamma_final": Parameter(
        "gamma_L, decay of the cosine between tokens after the last block",
        "a number above 0",
        readers.number(1e-12),
    ),
    "initial_cosine": Parameter(
        "cosine of the tokens that attention is designed for (repeated tokens: the share of equal "
        "pairs)",
        "a number from 0 to below 1",
        readers.share,
    ),
    "shaping_eta": Parameter(
        "cosine of orthogonal tokens after all of a skipless network's leaky relus, which sets "
        "their slope; none: as given",
        "a number above 0 and below 1, or none",
        readers.optional(readers.number(1e-9, 1 - 1e-9)),
    ),
    "shape_alpha": Parameter(
        "alpha, factor of the identity in shaped attention",
        _ANY_SCALE,
        readers.scale("shape_alpha"),
    ),
    "shape_beta": Parameter(
        "beta, factor of the softmax in shaped attention", _ANY_SCALE, readers.scale("shape_beta")
    ),
    "shape_gamma": Parameter(
        "gamma, factor of C, the softmax at scores of zero",
        _ANY_SCALE,
        readers.scale("shape_gamma"),
    ),
    "schedule": Parameter(
        "widths d_1..d_L of the blocks: vee, or the list of them",
        "vee, or a list of integers such as 64,32,64",
        readers.widths,
    ),
    "reference_width": Parameter(
        "d, width of the stem and the read-out, in the units of the widths",
        "an integer from 1 to 10^6",
        readers.integer(1, 10**6),
    ),
    "bottleneck": Parameter(
        "narrowest width of schedule=vee over reference_width",
        "a number above 0 and below 1",
        readers.number(1e-9),
    ),
    "position": Parameter(
        "block of the narrowest width over the number of blocks",
        "a number from 0 to 1",
        readers.number(0, 1),
    ),
    "round_to": Parameter(
        "widths of schedule=vee are multiples of it",
        "an integer from 1 to 4096",
        readers.integer(1, 4096),
    ),
    "resize": Parameter(
        "coordinates that come back after narrower blocks: as they were left, or zero",
        "carry or zero",
        readers.choice("carry", "zero"),
    ),
    **{
        name: Parameter(text, _VARIANCE, readers.optional(readers.scale(name)))
        for name, text in VARIANCES.items()
    },
    "c_b": Parameter(
        "variance of the biases; none: no biases",
        _VARIANCE + ", or none",
        readers.optional(readers.scale("c_b")),
    ),
    "c_r": Parameter(
        "variance of the router's matrix; none: 1",
        _VARIANCE + ", or none",
        readers.optional(readers.scale("c_r")),
    ),
    "c_we": Parameter(
        "variance of the embedding (words, or patches of unit Gram)",
        _STEM,
        readers.optional(readers.scale("c_we", 0)),
    ),
    "c_pe": Parameter(
        "variance of learned positions, added to every token's embedding",
        _STEM,
        readers.optional(readers.scale("c_pe", 0)),
    ),
    "words": Parameter(
        "each token's word: equal words have equal embeddings",
        "a list of integers such as 0,1,0,2 (or a file of them)",
        readers.optional(readers.words),
    ),
    "final_norm": Parameter(
        "whether the read-out sees the normalised last state", "true or false", readers.boolean
    ),
    "init": Parameter(
        "an initialisation that people train with, for every variance not given",
        ", ".join(INITIALISATIONS),
        readers.optional(named),
    ),
    "std": Parameter(
        "standard deviation of the entries of all matrices, at model_width; none: as c_q, ... say",
        "a number above 0, or none",
        readers.optional(readers.number(1e-12)),
    ),
    "model_width": Parameter(
        "the width n that standard deviations are meant for",
        "an integer from 1 to 10^6",
        readers.optional(readers.integer(1, 10**6)),
    ),
    "head": Parameter(
        "whether logits have weights of their own or the word embedding's",
        "untied or tied",
        readers.choice("untied", "tied"),
    ),
    "c_head": Parameter(
        "variance of an untied head's weights times the width", "a number >= 0", readers.number(0)
    ),
    "vocabulary": Parameter(
        "V, words that logits are given for (the initial cross-entropy)",
        "an integer from 2 to 10^7",
        readers.optional(readers.integer(2, 10**7)),
    ),
    "sgd_factors": Parameter(
        "Lambda_G of groups in the tangent kernel, 1 for others",
        "numbers >= 0 by group, such as q=0.5,embedding=2",
        readers.optional(readers.factors),
    ),
    "readout": Parameter(
        "which tokens the read-out sees: v_t for each, the last one, or the mean",
        "each, last or mean",
        readers.choice("each", "last", "mean"),
    ),
}
