"""Closed forms of derived recursions, where the recursion itself shows that it has one (never by
an architecture's name)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sympy

if TYPE_CHECKING:
    from sigprop.theory.derivations.reading import Deriver

Named = tuple[str, Any]  # a sympy.Eq


def closed_form(deriver: Deriver) -> Iterator[Named]:
    """(name, Eq) of every closed form found: one kind of sub-block, one lane, one read, constant
    numbers, one token (or its diagonal)."""
    arch = deriver.arch
    # no token's variance is a recursion of its own
    if deriver.structure.scores and arch.tokens > 1:
        return
    if (
        len(arch.sub_blocks) > 1
        or deriver.structure.lanes > 1
        or deriver.structure.reads > 1
        or any(not (t == t[0]).all() for t in arch.number_tables.values())
    ):
        return
    from sigprop.theory.derivations.equations import backward, forward
    from sigprop.theory.derivations.reading import Deriver as One

    one = One(_one_token(arch))
    found = dict(forward(one, 0)) | dict(backward(one, 0))
    if not arch.tied:
        yield from _untied(one, found)
    elif all(len(set(table)) == 1 for table in arch.slot_tables.values()):
        yield from _tied(one, found)


def _one_token(arch: Any) -> Any:
    from dataclasses import replace

    return arch if arch.tokens == 1 else replace(arch, input_gram=arch.input_gram[:1, :1])


def _diagonal(one: Deriver, found: dict[str, sympy.Eq], q: sympy.Symbol) -> dict[Any, Any]:
    """Substitutions that turn the two-time equations into those of one application with <h, h> =
    q and no older overlap."""
    from sigprop.theory.derivations.reading import A, B

    here = {one.function("G", A, A): q, one.function("X", A + 1, A): sympy.Integer(0)}
    read = found["read"].rhs.subs(B, A).subs(here)
    write = found["write"].rhs.subs(B, A).subs({one.function("R", A, A): read}).subs(here).doit()
    return here | {
        one.function("R", A, A): read,
        one.function("Gamma", A + 1, A + 1): sympy.simplify(write),
    }


def _untied(one: Deriver, found: dict[str, sympy.Eq]) -> Iterator[Named]:
    """q' = alpha q + beta with constants: q_a = alpha^a q_0 + beta (alpha^a - 1)/(alpha - 1);
    likewise a constant gradient factor."""
    from sigprop.theory.derivations.reading import A, B, D

    q, q0 = sympy.Symbol("q", positive=True), sympy.Symbol("q_0", positive=True)
    here = _diagonal(one, found, q)
    cross = found["overlap"].rhs.subs(B, A).subs(here)
    before = found["state"].rhs.subs(B, A).subs(here)  # <h_{a+1}, h_a>
    step = (
        found["state"]
        .rhs.subs({one.function("G", A, B): before, one.function("X", A + 1, B): cross})
        .subs(here)
    )
    step = sympy.simplify(sympy.expand(step))
    form = sympy.Poly(step, q) if step.is_polynomial(q) else None
    if form is not None and form.degree() <= 1:
        alpha, beta = sympy.simplify(form.coeff_monomial(q)), sympy.simplify(form.coeff_monomial(1))
        grown = beta * A if alpha == 1 else beta * (alpha**A - 1) / (alpha - 1)
        yield "residual_variance", sympy.Eq(sympy.Function("q")(A), alpha**A * q0 + grown)
    later = sympy.Symbol("g", positive=True)
    delta = found["cotangent"].rhs.subs(B, A).subs(one.function("H", A + 1, A + 1), later)
    y = (
        found["backward_write"]
        .rhs.subs(B, A)
        .subs(one.function("Delta", A, A), delta)
        .subs(here)
        .doit()
    )
    # <g_a, g_{a+1}>
    ahead = (
        found["gradient"]
        .rhs.subs(B, A + 1)
        .subs({one.function("H", A + 1, A + 1): later, one.function("Z", A, A + 1): 0})
    )
    own = (
        found["backward_overlap"]
        .rhs.subs(B, A)
        .subs({one.function("Z", A, A + 1): 0, one.function("Y", A, A): y})
    )
    factor = sympy.simplify(
        found["gradient"]
        .rhs.subs(B, A)
        .subs({one.function("H", A + 1, A): ahead, one.function("Z", A, A): own})
        .subs(here)
        / later
    )
    if not factor.free_symbols & {q, later} and not factor.atoms(sympy.core.function.AppliedUndef):
        yield "gradient_variance", sympy.Eq(sympy.Function("g")(A), factor ** (D - A))


def _tied(one: Deriver, found: dict[str, sympy.Eq]) -> Iterator[Named]:
    """One slot, a kernel linear in the cross Gram, lambda h + eps f: q_a = q_0 sum_j C(a, j)^2
    lambda^(2(a - j)) (eps^2 kappa)^j."""
    from sigprop.theory.derivations.reading import A, B

    q0, cross = sympy.Symbol("q_0", positive=True), sympy.Symbol("c", positive=True)
    (transition, into), write = one.rule(0, A, 0), found["write"].rhs
    write = write.subs(one.function("R", A, B), cross).replace(
        sympy.KroneckerDelta, lambda *_: sympy.Integer(1)
    )
    kappa, m, b = (
        sympy.simplify(write / cross),
        transition.get((0, 0), sympy.Integer(0)),
        into.get((0, 0), sympy.Integer(0)),
    )
    plain = found["read"].rhs == one.function("G", A, B)
    constants = sympy.Integer(0) + kappa + m + b
    if (
        not plain
        or constants.atoms(sympy.core.function.AppliedUndef)
        or cross in constants.free_symbols
        or m == 0
    ):
        return
    j = sympy.Symbol("j", integer=True, nonnegative=True)
    yield (
        "residual_variance",
        sympy.Eq(
            sympy.Function("q")(A),
            q0
            * sympy.Sum(
                sympy.binomial(A, j) ** 2 * m ** (2 * (A - j)) * (b**2 * kappa) ** j, (j, 0, A)
            ),
        ),
    )
    if m == 1:
        scale = sympy.Symbol("lambda", positive=True)
        yield (
            "limit",
            sympy.Eq(
                sympy.Function("q")(sympy.oo), q0 * sympy.besseli(0, 2 * scale * sympy.sqrt(kappa))
            ),
        )
