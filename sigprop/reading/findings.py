"""What stands out in a module: layers that start equal, matrices that are shared, laws that no
other of their kind has, packed fans, outputs that depth does not scale."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sigprop.language.expression import Linear, Vector
from sigprop.language.traversal import walk
from sigprop.modules.laws import Built
from sigprop.reading.converter import Application, Drawn

ALIKE = 1e-6  # relative difference of variances that are the same
SHARE = 0.5  # of a kind's parameters: a law of more of them is the kind's


class Use(NamedTuple):
    """A matrix or bias at an application."""

    at: int
    drawn: Drawn


def findings(built: Built, applications: Sequence[Application]) -> tuple[str, ...]:
    """Say what stands out, a line each."""
    uses = [
        Use(at, drawn)
        for at, application in enumerate(applications, 1)
        for drawn in application.weights.values()
    ]
    return (
        *_copies(built),
        *_shared(uses),
        *_outliers(uses),
        *_packed(built, uses),
        *_unscaled(applications),
        *_single(applications),
    )


def pattern(name: str) -> str:
    """A parameter's path, numbers of layers left out."""
    name = re.sub(r"\[\d+\]", "[*]", re.sub(r"(^|\.)\d+(?=\.)", r"\1*", name))
    return re.sub(r"(?<=\w_)\d+(?=\.\w+\.)", "*", name)


def _copies(built: Built) -> Iterator[str]:
    """Parameters that start as copies of others."""
    copies: defaultdict[str, list[str]] = defaultdict(list)
    for name, first in built.copies.items():
        drawn = built.parameters[name].law.variance or built.parameters[name].pieces
        if built.same[name] == name != first and drawn:
            copies[first].append(name)
    if copies:
        first, names = max(copies.items(), key=lambda item: len(item[1]))
        yield (
            f"{pattern(names[0])}: {len(names)} start as copies of {first}, and so do those of "
            f"{len(copies) - 1} other parameters: equal at initialisation, and predicted so"
        )


def _shared(uses: Sequence[Use]) -> Iterator[str]:
    """Parameters that several applications use."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for use in uses:
        if use.drawn.start == 0:
            places[use.drawn.parameter].append(use.at)
    for name, at in places.items():
        if len(at) > 1:
            shown = ", ".join(map(str, at[:6])) + (", ..." if len(at) > 6 else "")
            yield f"{name}: one parameter of {len(at)} applications ({shown})"


def _outliers(uses: Sequence[Use]) -> Iterator[str]:
    """Parameters whose law no other of their kind has."""
    kinds: defaultdict[tuple[str, int], dict[str, Drawn]] = defaultdict(dict)
    for use in uses:
        drawn = use.drawn
        kinds[pattern(drawn.parameter), drawn.start][drawn.parameter] = drawn
    for members in kinds.values():
        laws = Counter(_rounded(drawn.law.variance) for drawn in members.values())
        usual, count = laws.most_common(1)[0]
        if len(laws) == 1 or count <= SHARE * len(members):
            continue
        for name, drawn in members.items():
            if _rounded(drawn.law.variance) != usual and drawn.law.kind != "measured":
                yield (
                    f"{name}: {drawn.law}, where the other {count} of its kind have sd "
                    f"{math.sqrt(usual):.4g}"
                )


def _rounded(variance: float) -> float:
    return float(f"{variance:.6g}")


def _packed(built: Built, uses: Sequence[Use]) -> Iterator[str]:
    """Packed matrices whose variance is Xavier's of the packed shape."""
    met: set[str] = set()
    for _, drawn in uses:
        parameter = built.parameters[drawn.parameter]
        kind = pattern(drawn.parameter)
        if not drawn.packed or len(parameter.shape) != 2 or kind in met:
            continue
        rows = drawn.stop - drawn.start
        total = sum(parameter.shape)
        if rows + drawn.fan_in != total and math.isclose(
            drawn.law.variance * total, 2.0, rel_tol=ALIKE
        ):
            met.add(kind)
            own = 2 / (rows + drawn.fan_in)
            yield (
                f"{kind}: Xavier of the packed shape, so each of the matrices in it has "
                f"{drawn.law.variance / own:.3g} of the variance that its own shape would give"
            )


def _unscaled(applications: Sequence[Application]) -> Iterator[str]:
    """Matrices that write to the stream and are drawn as those inside branches are."""
    if len(applications) < 4:
        return
    kinds: dict[str, str] = {}
    for application in applications:
        assert application.block is not None
        branch = application.block.branch
        last = _last(branch)
        inner = [
            node
            for node in walk(branch)
            if isinstance(node, Linear) and last is not None and node.weight != last.weight
        ]
        if last is None or not inner:
            continue
        written = application.weights[last.weight]
        usual = {_rounded(application.weights[node.weight].law.variance) for node in inner}
        if usual == {_rounded(written.law.variance)}:
            kinds[pattern(written.parameter)] = str(written.law)
    if kinds:
        names = ", ".join(kinds)
        yield (
            f"{names}: {next(iter(kinds.values()))}, as the matrices inside the branches: what "
            f"{len(applications)} applications write is not scaled by depth"
        )


def _single(applications: Sequence[Application]) -> Iterator[str]:
    """Attention with one head of keys and values, which no width averages."""
    for application in applications:
        assert application.block is not None
        for node in application.block.attention:
            keys = [matrix for matrix in walk(node.key) if isinstance(matrix, Linear)]
            drawn = [application.weights[matrix.weight] for matrix in keys]
            if any(d.stop - d.start == node.scores.head_dim for d in drawn):
                kind = pattern(f"{application.path}.")[:-1]
                yield (
                    f"{kind}: one head of keys and values; it does not average out as the width "
                    f"grows, so theory has expectations over it, and their ratios are approximate"
                )
                return


def _last(branch: Vector) -> Linear | None:
    """The matrix that writes, where nothing comes after it."""
    return branch if isinstance(branch, Linear) else None
