"""Laws of growth with depth or loops, as sympy expressions in the free exponents; which law holds
is read off structure and counts alone.

    alpha  power of 1/size in what the rule adds (eps ~ size^-alpha)      chi  K'(1)/K(1) of the
           branch      gamma  ``tied_limit``
    g      the branch's gain K(1)                                        alpha_0, m, p  of a
           rotation's gain alpha_0 m l^-p

A law says kind, exponent and power of the logarithm: power  y ~ v^e (ln v)^k, stretched  ln y ~
rate v^e, exponential  ln y ~ rate v, bounded  y tends to a constant. Source: derived (exponents
page, sections 1 to 3 and 6; tests/theory/exponents/test_scaling_laws.py compares with the
recursion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy

ALPHA, CHI, GAMMA, GAIN = sympy.symbols("alpha chi gamma g", positive=True)
ALPHA_0, MODULATOR, POWER, WIDTH_FAMILY = sympy.symbols("alpha_0 m p s", nonnegative=True)
HALF, ONE, ZERO = sympy.Rational(1, 2), sympy.Integer(1), sympy.Integer(0)
POWER_LAW, STRETCHED, EXPONENTIAL, BOUNDED = "power", "stretched", "exponential", "bounded"
UNTIED, TIED = "untied", "tied"
Values = Any
"""{symbol: value}, in a type that sympy's stubs accept."""


@dataclass(frozen=True)
class Law:
    """kind: one of the four; exponent, log_exponent: sympy, log_exponent None where it is open;
    rate: of ln y, where that is what grows."""

    kind: str
    exponent: Any
    log_exponent: Any = ZERO
    rate: Any = None


def power_law(exponent: Any, at: Values, log: Any = ZERO) -> Law:
    """Return a power law, 'bounded' where its exponent is zero at these values."""
    return Law(
        BOUNDED if exponent.subs(at) == 0 and (log is None or log.subs(at) == 0) else POWER_LAW,
        exponent,
        log,
    )


def positive(value: Any) -> Any:
    """max(0, value)."""
    return sympy.Max(ZERO, value)


def state(pairs: sympy.Rational, at: Values) -> dict[str, Law]:
    """rms of the last state, and of all that was added to the first, behind norms: variance 1 +
    eps^2 P up to a constant."""
    grown = sympy.Rational(pairs) / 2 - ALPHA
    return {"residual_rms": power_law(positive(grown), at), "update": power_law(grown, at)}


def untied(at: Values) -> dict[str, Law]:
    """Gradients where slots are used once: Lambda_0 = prod (1 + chi eps^2/q_l) ~ q^chi, exactly;
    squares, summed over slots.

    eps^2 sum_l (q_D/q_l)^chi: chi = 1 has a logarithm, chi > 1 is decided by the first
    applications, and beyond alpha = 1/2 all count alike.
    """
    gradient, beyond = CHI * positive(1 - 2 * ALPHA), positive(2 * ALPHA - 1)
    logarithm = sympy.Piecewise((ONE, sympy.Eq(CHI, 1) & (ALPHA < HALF)), (ZERO, True))
    weight = sympy.Max(ONE, CHI) * positive(1 - 2 * ALPHA) - beyond
    rows = {
        "gradient": power_law(gradient, at),
        "weight_gradient": power_law(weight, at, logarithm),
    }
    # the first applications' gradients then outweigh all others'
    steep = CHI * HALF - 1 if at[CHI] > 2 else ZERO
    adam = positive(1 - ALPHA) + positive(1 - 2 * ALPHA) * steep
    return rows | {"adam": power_law(adam, at), "ntk": power_law(positive(weight), at, logarithm)}


def tied(at: Values) -> dict[str, Law]:
    """Gradients where one slot is used by all: (eps N)^(2 gamma) below alpha = 1, squares;
    logarithms where gamma = 1.

    The stem's power of the logarithm is open there (it falls; between -1/2 and -4/3 was seen).
    """
    growing, beyond = positive(1 - ALPHA), positive(ALPHA - 1)
    aligned = sympy.Eq(GAMMA, 1) & (ALPHA < 1)
    logarithm = sympy.Piecewise((ONE, aligned), (ZERO, True))
    open_log = None if bool(aligned.subs(at)) else ZERO
    weight = 2 * sympy.Max(ONE, GAMMA) * growing - 2 * beyond
    rows = {
        "gradient": power_law(2 * GAMMA * growing, at, open_log),
        "weight_gradient": power_law(weight, at, logarithm),
    }
    change = power_law(
        sympy.Max(ONE, GAMMA) * growing, at, None if bool(aligned.subs(at)) else ZERO
    )
    return rows | {"adam": change, "ntk": power_law(positive(weight), at, logarithm)}


def shifted(laws: dict[str, Law], shifts: Mapping[str, Any], at: Values) -> dict[Any, Law]:
    """The laws where a group's gradient has size^(2 shift) times the square that the writes
    have; the whole follows the largest."""
    if not any(shifts.values()):
        return dict(laws)
    most, law = max(shifts.values()), laws["weight_gradient"]
    groups = {
        ("weight_gradient", name): power_law(law.exponent + 2 * shift, at, law.log_exponent)
        for name, shift in shifts.items()
    }
    # of the groups alone, which fall beyond alpha = 1 where read-out and stem do not
    alone = laws["adam"].exponent - positive(ALPHA - 1)
    whole = {
        "ntk": power_law(positive(law.exponent + 2 * most), at, law.log_exponent),
        "adam": power_law(positive(alone + most), at, laws["adam"].log_exponent),
    }
    return {"gradient": laws["gradient"], **groups, **whole}


def normalised(laws: dict[Any, Law], at: Values) -> dict[Any, Law]:
    """The laws where the read-out divides the last state by its norm: squares of gradients by
    its square, Adam's change by itself."""
    rms = laws.get("residual_rms")
    if rms is None:
        return {}
    if rms.kind not in (POWER_LAW, BOUNDED):
        return {"residual_rms": rms}
    less = {"gradient": 2, "weight_gradient": 2, "ntk": 2, "adam": 1}

    def turned(name: str, law: Law) -> Law:
        exponent = law.exponent - less[name] * rms.exponent
        log = (
            None
            if law.log_exponent is None or rms.log_exponent is None
            else law.log_exponent - less[name] * rms.log_exponent
        )
        return power_law(positive(exponent) if name in ("ntk", "adam") else exponent, at, log)

    return {
        key: turned(name, law) if (name := key if isinstance(key, str) else key[0]) in less else law
        for key, law in laws.items()
    }


def multiplied(pattern: str, at: Values, single: bool) -> dict[str, Law]:
    """Homogeneous branches without a norm: every application multiplies. Squares for gradients,
    half of that for rms.

    untied  ln q ~ g N^(1 - 2 alpha);  tied  ln q ~ 2 sqrt(g) N^(1 - alpha); at alpha = 0 ln(1 + g)
            and 2 ln(1 + sqrt g) a step of a ``single`` sub-block (of several: no closed rate here).
    """
    exponent = 1 - 2 * ALPHA if pattern == UNTIED else 1 - ALPHA
    rate = GAIN if pattern == UNTIED else 2 * sympy.sqrt(GAIN)
    if exponent.subs(at) <= 0:
        bounded = Law(BOUNDED, ZERO)
        return {"residual_rms": bounded, "gradient": bounded}
    if at[ALPHA] == 0:
        each = sympy.log(1 + GAIN) if pattern == UNTIED else 2 * sympy.log(1 + sympy.sqrt(GAIN))
        return {
            "residual_rms": Law(EXPONENTIAL, ONE, ZERO, each / 2 if single else None),
            "gradient": Law(EXPONENTIAL, ONE, None, each if single else None),
        }
    return {
        "residual_rms": Law(STRETCHED, exponent, ZERO, rate / 2),
        "gradient": Law(STRETCHED, exponent, None, rate),
    }


def rotation(at: Values, pattern: str | None, each: int) -> dict[str, Law]:
    """A unit direction rotated by a_l = alpha_0 m l^-p: ln rho = (1/2) sum ln(1 + a_l^2), and
    untied gradients prod (1 + chi a_l^2)/(1 + a_l^2).

    alpha: power of 1/size in alpha_0, whose constant alpha_0 stands for; each: applications a step
    of the variable. p = 1/2: rho ~ L^(alpha_0^2 m^2/2), the borderline; below stretched, above
    bounded.
    """
    square = ALPHA_0**2 * MODULATOR**2
    laws = {"residual_rms": _turned(at, square / 2, sympy.log(1 + square) / 2, each)}
    if pattern == UNTIED:
        laws["gradient"] = _turned(
            at, (CHI - 1) * square, sympy.log((1 + CHI * square) / (1 + square)), each
        )
    return laws


def _turned(at: Values, amount: Any, whole: Any, each: int) -> Law:
    """The law of exp(amount sum_l l^-2p v^-2 alpha), l = 1 .. each v; whole: of one application
    where the gain is constant."""
    if amount.subs(at) == 0:
        return Law(BOUNDED, ZERO)
    p, alpha = at[POWER], at[ALPHA]
    grown = 1 - 2 * POWER - 2 * ALPHA
    if p == HALF and alpha == 0:
        return Law(POWER_LAW, amount)
    if p >= HALF or grown.subs(at) <= 0:
        return Law(BOUNDED, ZERO)
    if p == 0 and alpha == 0:
        return Law(EXPONENTIAL, ONE, ZERO, each * whole)
    return Law(
        STRETCHED, grown, ZERO, amount / (1 - 2 * POWER) * sympy.Integer(each) ** (1 - 2 * POWER)
    )
