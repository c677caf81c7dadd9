"""Closed forms of derived recursions, where the recursion itself shows that it has one (never by
an architecture's name)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sympy
from sympy.core.function import AppliedUndef

from sigprop.description.architecture import Architecture
from sigprop.theory.derivations.backward_equations import backward
from sigprop.theory.derivations.equations import forward
from sigprop.theory.derivations.reading import A, B, D, Deriver, Named

Q, Q_0, LATER = sympy.symbols("q q_0 g", positive=True)
"""<h, h> of an application and of the first, and <g, g> of the next."""
Sides = dict[str, Any]
"""Right-hand sides of the two-time equations, by name."""


def closed_form(deriver: Deriver) -> Iterator[Named]:
    """(name, Eq) of every closed form found: one kind of sub-block, one lane, one read, constant
    numbers, one token (or its diagonal)."""
    arch = deriver.arch
    # no token's variance is a recursion of its own
    if deriver.structure.heads and arch.tokens > 1:
        return
    if (
        len(arch.sub_blocks) > 1
        or deriver.structure.lanes > 1
        or deriver.structure.reads > 1
        or any(not (t == t[0]).all() for t in arch.number_tables.values())
    ):
        return
    single = Deriver(_one_token(arch))
    sides = {
        name: equation.rhs
        for equations in (forward(single, 0), backward(single, 0))
        for name, equation in equations
    }
    if not arch.tied:
        yield from _untied(single, sides)
    elif all(len(set(table)) == 1 for table in arch.slot_tables.values()):
        yield from _tied(single, sides)


def _one_token(arch: Architecture) -> Architecture:
    """Return the same network of the first token alone."""
    return arch if arch.tokens == 1 else replace(arch, input_gram=arch.input_gram[:1, :1])


def _diagonal(d: Deriver, sides: Sides) -> dict[Any, Any]:
    """Substitutions that turn the two-time equations into those of one application with <h, h> =
    q and no older overlap."""
    here = {d.function("G", A, A): Q, d.function("X", A + 1, A): sympy.Integer(0)}
    read = sides["read"].subs(B, A).subs(here)
    write = sides["write"].subs(B, A).subs({d.function("R", A, A): read}).subs(here).doit()
    return here | {
        d.function("R", A, A): read,
        d.function("Gamma", A + 1, A + 1): sympy.simplify(write),
    }


def _untied(d: Deriver, sides: Sides) -> Iterator[Named]:
    """q' = alpha q + beta with constants: q_a = alpha^a q_0 + beta (alpha^a - 1)/(alpha - 1);
    likewise a constant gradient factor."""
    here = _diagonal(d, sides)
    step = _variance_step(d, sides, here)
    form = sympy.Poly(step, Q) if step.is_polynomial(Q) else None
    if form is not None and form.degree() <= 1:
        alpha, beta = sympy.simplify(form.coeff_monomial(Q)), sympy.simplify(form.coeff_monomial(1))
        grown = beta * A if alpha == 1 else beta * (alpha**A - 1) / (alpha - 1)
        yield "residual_variance", sympy.Eq(sympy.Function("q")(A), alpha**A * Q_0 + grown)
    factor = _gradient_factor(d, sides, here)
    if not factor.free_symbols & {Q, LATER} and not factor.atoms(AppliedUndef):
        yield "gradient_variance", sympy.Eq(sympy.Function("g")(A), factor ** (D - A))


def _variance_step(d: Deriver, sides: Sides, here: dict[Any, Any]) -> Any:
    """Return <h_{a+1}, h_{a+1}> as a function of q."""
    overlap = sides["overlap"].subs(B, A).subs(here)
    before = sides["state"].subs(B, A).subs(here)  # <h_{a+1}, h_a>
    step = (
        sides["state"]
        .subs({d.function("G", A, B): before, d.function("X", A + 1, B): overlap})
        .subs(here)
    )
    return sympy.simplify(sympy.expand(step))


def _gradient_factor(d: Deriver, sides: Sides, here: dict[Any, Any]) -> Any:
    """Return <g_a, g_a> over <g_{a+1}, g_{a+1}>."""
    cotangent = sides["cotangent"].subs(B, A).subs(d.function("H", A + 1, A + 1), LATER)
    write = (
        sides["backward_write"]
        .subs(B, A)
        .subs(d.function("Delta", A, A), cotangent)
        .subs(here)
        .doit()
    )
    # <g_a, g_{a+1}>
    ahead = (
        sides["gradient"]
        .subs(B, A + 1)
        .subs({d.function("H", A + 1, A + 1): LATER, d.function("Z", A, A + 1): 0})
    )
    overlap = (
        sides["backward_overlap"]
        .subs(B, A)
        .subs({d.function("Z", A, A + 1): 0, d.function("Y", A, A): write})
    )
    return sympy.simplify(
        sides["gradient"]
        .subs(B, A)
        .subs({d.function("H", A + 1, A): ahead, d.function("Z", A, A): overlap})
        .subs(here)
        / LATER
    )


def _tied(d: Deriver, sides: Sides) -> Iterator[Named]:
    """One slot, a kernel linear in the cross Gram, lambda h + eps f: q_a = q_0 sum_j C(a, j)^2
    lambda^(2(a - j)) (eps^2 kappa)^j."""
    cross = sympy.Symbol("c", positive=True)
    write = (
        sides["write"]
        .subs(d.function("R", A, B), cross)
        .replace(sympy.KroneckerDelta, lambda *_: sympy.Integer(1))
    )
    transition, into = d.rule(0, A, 0)
    kept, added = (x.get((0, 0), sympy.Integer(0)) for x in (transition, into))
    kappa = sympy.simplify(write / cross)
    constants = sympy.Integer(0) + kappa + kept + added
    if (
        sides["read"] != d.function("G", A, B)
        or constants.atoms(AppliedUndef)
        or cross in constants.free_symbols
        or kept == 0
    ):
        return
    j = sympy.Symbol("j", integer=True, nonnegative=True)
    paths = sympy.binomial(A, j) ** 2 * kept ** (2 * (A - j)) * (added**2 * kappa) ** j
    variance = Q_0 * sympy.Sum(paths, (j, 0, A))
    yield "residual_variance", sympy.Eq(sympy.Function("q")(A), variance)
    if kept == 1:
        scale = sympy.Symbol("lambda", positive=True)
        limit = Q_0 * sympy.besseli(0, 2 * scale * sympy.sqrt(kappa))
        yield "limit", sympy.Eq(sympy.Function("q")(sympy.oo), limit)
