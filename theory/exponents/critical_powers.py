"""Critical scalings: which powers of N and L make chosen quantities order one, by linear algebra
over exponents.

A pattern is a list of classes (S_i slots, m_i uses of each); eps_i ~ N^-a_i L^-b_i is what its
writes are multiplied by and eta_i ~ N^-x_i L^-y_i its rate. Every quantity is one monomial a class:

    variance  S m^2 eps^2      sgd  S m^2 eps^2 eta      adam  S m eps eta      own_adam  eta
              own_sgd  m eps eta      weight  m^2 eps^2      muon, own_muon  as adam, own_adam
    memory  S m^2 eps^2, the stem's share of a rotated direction or of lambda^2 + beta^2 = 1 (eps:
            alpha, beta)

"Order one" is one linear equation a class and variable; with one eps for all, the class that
dominates, the others at most that. Off the critical exponents gradients have powers of their own
(``exponents``). Source: derived (exponents page, section 5;
tests/theory/exponents/test_critical.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from sigprop.description.family import SlotClass
from sigprop.errors import InputError, near_miss
from sigprop.scaling.sizes import VARIABLES
from sigprop.scaling.slots import Count, counts

UNIQUE, FAMILY, NONE = "unique", "family", "none"


@dataclass(frozen=True)
class Criterion:
    """slots, uses, eps, rate: powers of S, m, eps and eta in one quantity; two_matrices: whether
    it needs as many in a branch."""

    help: str
    slots: int
    uses: int
    eps: int
    rate: int
    two_matrices: bool = False

    def power(self, count: Count, a: Any, x: Any) -> Any:
        """The power of the variable in it, with eps ~ v^-a and eta ~ v^-x."""
        return self.slots * count.slots + self.uses * count.uses - self.eps * a - self.rate * x


CRITERIA = {
    "variance": Criterion("what all writes add to the state's variance", 1, 2, 2, 0),
    "memory": Criterion(
        "-ln of the stem's share of the last direction, memory e^(-k/2): beta^2 = k/D with k "
        "free, alpha = lambda/(N sqrt L)",
        1,
        2,
        2,
        0,
    ),
    "weight": Criterion("one matrix's squared gradient", 0, 2, 2, 0),
    "sgd": Criterion(
        "change of the output by one step of SGD: the tangent kernel times the rate", 1, 2, 2, 1
    ),
    "adam": Criterion(
        "change of the output by one step of Adam, a bound that is attained", 1, 1, 1, 1
    ),
    "own_sgd": Criterion(
        "change of a matrix's own pre-activation at fixed input by one step of SGD",
        0,
        1,
        1,
        1,
        True,
    ),
    "own_adam": Criterion(
        "change of a matrix's own pre-activation at fixed input by one step of Adam",
        0,
        0,
        0,
        1,
        True,
    ),
    "muon": Criterion(
        "change of the output by one step of Muon, the gradients' nuclear norm", 1, 1, 1, 1
    ),
    "own_muon": Criterion(
        "change of a matrix's own pre-activation at fixed input by one step of Muon",
        0,
        0,
        0,
        1,
        True,
    ),
}


@dataclass(frozen=True)
class Answer:
    """kind: unique, family or none; eps, rate: powers of 1/variable, one a class (with free
    symbols in a family); because: what each criterion said."""

    variable: str
    kind: str
    eps: tuple[sympy.Expr, ...]
    rate: tuple[sympy.Expr, ...]
    because: tuple[str, ...]


def critical_powers(
    classes: Sequence[SlotClass],
    criteria: Iterable[str],
    *,
    per_class: bool = False,
    matrices: int = 2,
    sub_blocks: int = 1,
    fixed_rate: bool = False,
) -> dict[str, Answer]:
    """variable ('depth', 'loops') -> the powers of eps and of the rate that make every criterion
    order one.

    classes: slots and uses as expressions in N, L, S; criteria: of ``CRITERIA``; per_class: an eps
    and a rate for each class, else one for all; matrices: in a branch: with one, a branch is linear
    in its only matrix and the own_* criteria are empty; fixed_rate: eta is held constant. Raises
    ``InputError`` for a name that is not known.
    """
    asked = list(dict.fromkeys(criteria))
    for name in asked:
        if name not in CRITERIA:
            raise InputError(f"criterion={name!r}{near_miss(name, CRITERIA)}")
    if not asked:
        raise InputError(f"criteria: none; accepted: one or more of {', '.join(CRITERIA)}")
    empty = [name for name in asked if CRITERIA[name].two_matrices and matrices == 1]
    counted = [name for name in asked if name not in empty]
    remarks = tuple(f"{name}: empty, a branch of one matrix is linear in it" for name in empty)
    answers = {}
    for variable, size in VARIABLES.items():
        system = _system(counts(tuple(classes), size, sub_blocks), counted, per_class, fixed_rate)
        because = (*remarks, *system.because())
        answers[variable] = _solve(variable, system, because)
    return answers


@dataclass(frozen=True)
class _System:
    """Powers of the variable that are to vanish: criterion -> one a class.

    eps, rates: unknowns, one for all classes or one each (rates: zeros where none is asked for);
    apart: each class has its own, and all its powers vanish; else any class may decide a criterion.
    """

    powers: dict[str, list[sympy.Expr]]
    eps: tuple[sympy.Symbol, ...]
    rates: tuple[sympy.Expr, ...]
    apart: bool

    @property
    def unknown(self) -> tuple[sympy.Symbol, ...]:
        """The symbols to solve for."""
        return (*self.eps, *(x for x in self.rates if isinstance(x, sympy.Symbol)))

    def because(self) -> list[str]:
        """Return each criterion with its equation."""
        return [f"{name}: {_shown(powers, self.apart)}" for name, powers in self.powers.items()]

    def choices(self) -> Iterator[list[sympy.Expr]]:
        """Yield the equations that may decide, in turn."""
        if self.apart:
            yield [power for powers in self.powers.values() for power in powers]
        else:
            yield from map(list, itertools.product(*self.powers.values()))


def _system(
    classes: tuple[Count, ...], names: list[str], per_class: bool, fixed_rate: bool
) -> _System:
    """Write the criteria as powers of the variable, linear in those of eps and of the rate."""
    groups = len(classes) if per_class else 1
    a, x = (_unknowns(letter, groups) for letter in ("a", "x"))
    used = any(CRITERIA[name].rate for name in names) and not fixed_rate
    rates = x if used else (sympy.Integer(0),) * groups
    powers = {
        name: [
            CRITERIA[name].power(count, a[i % groups], rates[i % groups])
            for i, count in enumerate(classes)
        ]
        for name in names
    }
    return _System(powers, a, rates, per_class)


def _unknowns(letter: str, groups: int) -> tuple[sympy.Symbol, ...]:
    """Return a symbol for each group, without a number where there is one."""
    names = [f"{letter}_{i}" for i in range(groups)] if groups > 1 else [letter]
    return tuple(sympy.Symbol(name, real=True) for name in names)


def _solve(variable: str, system: _System, because: tuple[str, ...]) -> Answer:
    """Return the first solution at which no class has a positive power."""
    unknown = system.unknown
    everything = [power for powers in system.powers.values() for power in powers]
    for decided in system.choices():
        solutions: Any = sympy.linsolve(decided, *unknown) if decided else [unknown]
        for solution in solutions:
            values: Any = dict(zip(unknown, solution, strict=True))
            rest = [power.subs(values) for power in everything]
            if any(power.is_number and power > 0 for power in rest):
                continue
            kind = FAMILY if any(value.free_symbols for value in solution) else UNIQUE
            eps, rates = (tuple(values.get(s, s) for s in x) for x in (system.eps, system.rates))
            return Answer(variable, kind, eps, rates, because)
    return Answer(variable, NONE, (), (), because)


def _shown(powers: list[sympy.Expr], per_class: bool) -> str:
    """Show one criterion's equation."""
    distinct = list(dict.fromkeys(map(str, powers)))
    return (
        " and ".join(f"{power} = 0" for power in distinct)
        if per_class or len(distinct) == 1
        else f"max({', '.join(distinct)}) = 0"
    )


def powers_at(
    classes: Sequence[SlotClass],
    eps: Mapping[str, sympy.Expr],
    rate: Mapping[str, sympy.Expr] | None = None,
    sub_blocks: int = 1,
) -> dict[str, dict[str, sympy.Expr]]:
    """variable -> criterion -> its power where eps ~ v^-eps[v] and rates ~ v^-rate[v]: which
    quantities a given rule keeps flat."""
    table: dict[str, dict[str, sympy.Expr]] = {}
    for variable, size in VARIABLES.items():
        a, x = eps.get(variable, sympy.Integer(0)), (rate or {}).get(variable, sympy.Integer(0))
        counted = counts(tuple(classes), size, sub_blocks)
        table[variable] = {
            name: sympy.Max(*(criterion.power(count, a, x) for count in counted))
            for name, criterion in CRITERIA.items()
        }
    return table
