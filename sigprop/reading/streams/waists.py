"""What everything above passes through: the terms that every way down from an output goes by."""

from __future__ import annotations

from collections.abc import Iterator

from sigprop.modules.terms import Fixed, Term, Weight


def below(term: Term) -> list[Term]:
    """Return the terms that one is computed from, without what the example alone says and without
    parameters."""
    return [of for of in term.inside if not isinstance(of, (Fixed, Weight))]


def waists(output: Term) -> Iterator[Term]:
    """Return the terms that all ways from an output down to the inputs go by, the output first."""
    rank = {id(term): place for place, term in enumerate(in_order(output))}
    open_terms = {id(output): output}
    while open_terms:
        top = max(open_terms, key=rank.__getitem__)
        term = open_terms.pop(top)
        if not open_terms:
            yield term
        inner = below(term)
        if not inner:
            return  # a way that has ended goes by nothing more
        open_terms |= {id(of): of for of in inner}


def in_order(output: Term) -> list[Term]:
    """Return every term below one, each after those that it is computed from."""
    found: list[Term] = []
    seen: set[int] = set()
    stack = [(output, iter(below(output)))]
    while stack:
        term, rest = stack[-1]
        inner = next((of for of in rest if id(of) not in seen), None)
        if inner is None:
            stack.pop()
            if id(term) not in seen:
                seen.add(id(term))
                found.append(term)
        else:
            stack.append((inner, iter(below(inner))))
    return found
