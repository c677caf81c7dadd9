"""Standard normals of the sampled coordinates of every space, on scrambled Sobol points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float

from sigprop.language.expression import Bias, Vector
from sigprop.language.expression import Linear as Matrix
from sigprop.language.traversal import walk
from sigprop.theory.attention.draws import sobol_normals
from sigprop.theory.calculus.transpose import Transposed
from sigprop.theory.first_step.coordinates.kinds import Kind
from sigprop.theory.first_step.coordinates.spaces import STREAM, Key

LEADING = 512
"""Coordinates of Sobol points; further ones are plain normals."""
FRESH = "fresh"
FEWEST = 256  # heads
STREAM_POINTS = 2
"""Times as many points on the stream, where the output and every state's change are means."""
WHITE = 64
"""So many points a normal at least, and second moments are made those of normals (with fewer,
that would make fourth moments too small)."""
Space = tuple[int, Key]


class Normals:
    """Standard normals by space and leaf: count points (heads: as many coordinates), seeded.

    banded: whether the stream's coordinates are of several bands.

    Leaves of one space: what matrices and biases give, what transposed matrices give back, and what
    matrices give of a change. On the stream, and where a weight is used several times, every step
    has normals of its own; elsewhere all have the same ones, since no two steps meet.
    """

    def __init__(
        self, kinds: tuple[Kind, ...], tokens: int, count: int, seed: int, banded: bool = False
    ):
        self.banded = banded
        self.kinds, self.tokens, self.count, self.seed = kinds, tokens, count, seed
        self._places: dict[Space, dict[object, slice]] = {}
        self._joint: dict[Space, bool] = {}
        self._arrays: dict[Space, np.ndarray] = {}
        self._sizes: dict[Space, int] = {(-1, STREAM): 1}
        stream = self._places.setdefault((-1, STREAM), {})
        stream["v"], stream["stem"] = slice(0, 1), slice(1, 1 + tokens)
        for kind in kinds:
            self._allot(kind)

    def _allot(self, kind: Kind) -> None:
        """Give each leaf of a kind its columns."""
        leaves = list(dict.fromkeys(_leaves(kind)))
        for u in leaves:
            space = self.space(kind, u)
            joint = self._joint.get(space, space[1] == STREAM)
            self._joint[space] = joint or kind.tied(u.weight)
            self._sizes[space] = kind.spaces.columns(u)
        for u in leaves:
            space = self.space(kind, u)
            width = self.tokens * (len(kind.steps) if self._joint[space] else 1)
            places = self._places.setdefault(space, {})
            for key in ((kind.index, u), (kind.index, u, FRESH)):
                if len(key) == 2 or isinstance(u, Matrix):
                    start = max((place.stop for place in places.values()), default=0)
                    places[key] = slice(start, start + width)

    def space(self, kind: Kind, u: Vector) -> Space:
        """The space of a leaf; the stream is that of all kinds."""
        key = kind.spaces.of(u)
        return (-1, STREAM) if key == STREAM else (kind.index, key)

    def array(self, space: Space) -> Float[np.ndarray, "P C columns"]:
        """All normals of a space."""
        if space not in self._arrays:
            columns = max(place.stop for place in self._places[space].values())
            size = self._sizes[space]
            count = self._count(space)
            total, seed = columns * size, [self.seed, list(self._places).index(space)]
            points = sobol_normals(
                count, min(total, LEADING), int(np.random.SeedSequence(seed).generate_state(1)[0])
            )
            rest = np.random.default_rng([*seed, 1]).standard_normal(
                (count, max(0, total - LEADING))
            )
            flat = np.concatenate([points, rest], axis=1)
            if count >= WHITE * total and not (space[1] == STREAM and self.banded):
                flat = flat @ np.linalg.inv(np.linalg.cholesky(flat.T @ flat / count)).T
            every = flat.reshape(count, columns, size)
            self._arrays[space] = np.ascontiguousarray(np.swapaxes(every, 1, 2))
        return self._arrays[space]

    def _count(self, space: Space) -> int:
        """Return how many particles a space has."""
        size = self._sizes[space]
        count = self.count if size == 1 else max(FEWEST, self.count // size)
        return count * (STREAM_POINTS if space[1] == STREAM else 1)

    def particles(self, kind: Kind, u: Vector) -> int:
        """How many particles the space of a vector has."""
        return self._count(self.space(kind, u))

    def one(self, name: str) -> Float[np.ndarray, "P columns"]:
        """The stream's v or stem."""
        return self.array((-1, STREAM))[:, 0, self._places[-1, STREAM][name]]

    def of(self, kind: Kind, u: Vector, fresh: bool = False) -> Float[np.ndarray, "P C steps T"]:
        """A leaf's normals; fresh: of what its matrix gives of a change."""
        space = self.space(kind, u)
        key = (kind.index, u, FRESH) if fresh else (kind.index, u)
        found = self.array(space)[:, :, self._places[space][key]]
        return found.reshape(*found.shape[:2], -1, self.tokens)

    def drawn(
        self, kind: Kind, u: Vector, covariance: Float[np.ndarray, "U T U T"], at: Any
    ) -> Float[np.ndarray, "P C U T"]:
        """Draws of a leaf of this covariance at these steps."""
        steps, tokens = covariance.shape[:2]
        normals = self.of(kind, u)
        normals = normals[:, :, at if normals.shape[2] > 1 else np.zeros_like(at)]
        flat = normals.reshape(*normals.shape[:2], -1)
        made = flat @ root(covariance.reshape(steps * tokens, -1)).T
        return made.reshape(*normals.shape[:2], steps, tokens)


def _leaves(kind: Kind) -> Iterator[Matrix | Bias | Transposed]:
    """Yield a kind's leaves, forward and back."""
    gradient = kind.spaces.gradient
    terms = [term for terms in gradient.reads.values() for term in terms]
    pairs = [x for pairs in gradient.uses.values() for pair in pairs for x in pair if x is not None]
    for expression in (kind.block.branch, *terms, *pairs):
        for node in walk(expression):
            if isinstance(node, (Matrix, Bias, Transposed)):
                yield node


def root(gram: Float[np.ndarray, "*many K K"]) -> Float[np.ndarray, "*many K K"]:
    """A with A A^T the Gram, but for what rounding makes negative."""
    values, vectors = np.linalg.eigh((gram + np.swapaxes(gram, -1, -2)) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]
