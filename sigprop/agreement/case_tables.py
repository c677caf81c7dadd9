"""Which networks the list of cases is made of: label, then the parameters that are not the
registered defaults. A label begins with the architecture's name, unless a table says otherwise."""

from __future__ import annotations

from typing import Any

SHORT = ("residual_variance", "token_covariance", "state_cosine", "log_norm", "gradient_variance")
TYING: dict[str, tuple[str, dict[str, int]]] = {
    "untied": ("residual-mlp", {"depth": 4}),
    "tied": ("looped-mlp", {"depth": 1, "loops": 4}),
    "looped": ("looped-mlp", {"depth": 3, "loops": 4}),
}

SMALL = {"tokens": 3, "mlp_ratio": 2}
# at base 10^4 and few tokens a check of rotary is blind
FAST = {"positions": "rotary", "rope_base": 5, "token_cosine": 0.8, "c_q": 4}
BIAS = ((0.0, -1.0, -2.0), (1.0, 0.0, -1.0), (2.0, 1.0, 0.0))
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformer attention": {"block": "attention", "depth": 2},
    "transformer": {},
    "transformer causal": {"mask": "causal"},
    "transformer grouped": {"block": "attention", "heads": 4, "kv_heads": 2},
    "transformer rotary": {"block": "attention", **FAST},
    "transformer capped": {"block": "attention", "softcap": 1.0, "c_q": 9},
    "transformer qk-norm": {"block": "attention", "qk_norm": True, "softcap": 2.0},
    "transformer qk-norm rotary": {"block": "attention", "qk_norm": True, **FAST},
    "transformer biased": {
        "block": "attention",
        "attention_bias": BIAS,
        "attention_rescale": (1.0, 0.5, 2.0),
        "c_q": 4,
    },
    "transformer swiglu": {"activation": "silu", "gated": True},
    "transformer experts": {"activation": "silu", "gated": True, "experts": 3, "c_r": 4},
    "transformer zero-query": {"score_scale": "zero_query", "depth": 2},
    "transformer linear": {"score_scale": "linear", "heads": 2},
    "transformer sandwich": {"norm": "sandwich"},
    "transformer no norm": {"norm": "none", "residual_scale": 0.5},
    **{
        f"transformer post {readout}": {"norm": "post", "readout": readout}
        for readout in ("each", "last", "mean")
    },
    "looped-transformer attention": {"block": "attention", "loops": 4},
    "looped-transformer causal": {"mask": "causal"},
    "looped-transformer experts": {"experts": 4, "experts_chosen": 3, "loops": 3},
    **{
        f"looped-transformer N={n} eps={eps}": {"loops": n, "residual_scale": eps}
        for n in (2, 4)
        for eps in ("1", "1/sqrt(N)", "1/N")
    },
}

SKIPPING = {"depth": 32, "tokens": 1, "modulator": "learned", "mod_rate": 0.25}
NAGS: dict[str, dict[str, Any]] = {
    "nag": {},
    "nag tanh": {"activation": "tanh"},
    "looped-nag": {},
    "looped-nag blocks": {"depth": 3, "loops": 4},
}
WIDTHS: dict[str, dict[str, Any]] = {
    "variable-width bands": {},
    "variable-width zero": {"resize": "zero"},
    "variable-width head_dim": {"score_scale": "sqrt", "heads": None, "head_dim": 4},
}
SKIPLESS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "u-spa": {},
    "e-spa": {},
    "vanilla transformer": {"block": "transformer", "depth": 18, "mlp_ratio": 1},
    "u-spa skips": {
        "block": "transformer",
        "depth": 2,
        "mlp_ratio": 1,
        "skip_scale": "sqrt(1-2/S)",
    },
    "value-skipinit": {},
    "value-skipinit beta=0.1": {"shape_beta": 0.1},
    "value-skipinit beta=0.5": {"shape_beta": 0.5},
    "shaped-attention": {},
    "shaped-attention gamma=0.5": {"shape_gamma": 0.5, "mask": "none"},
}
# all their groups of parameters
GATED = {
    "value-skipinit beta=0.1": {"shape_beta": 0.1},
    "value-skipinit beta=0.5": {"shape_beta": 0.5, "c_q": 4},
}
KERNEL = ("residual_variance", "token_covariance", "gradient_variance", "gradient_covariance")
BANDS = (
    "residual_variance",
    "matrix_entropy",
    "band_variance",
    "band_covariance",
    "gradient_variance",
    "band_gradient",
)
NEIGHBOURS = (
    "completep",
    "deepnorm",
    "deeploop",
    "deepscalelm",
    "parallel-transformer",
    "sandwich-transformer",
)
