"""Vector expressions on plain numpy neurons, forward and backward: what the calculus' rules are
compared with.

A matrix applied to [T, n] neurons gives Gaussian neurons of the Gram that it finds, and its
transpose Gaussian cotangents: no matrix is formed. Everything else is what it says, coordinate by
coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtr

from sigprop.language.expression import (
    Activate,
    Attend,
    Bias,
    Dropout,
    Linear,
    Normalise,
    Product,
    Read,
    Rescale,
    Scale,
    Sum,
    Vector,
)
from sigprop.language.nodes import Gate, Mix, Truncate
from sigprop.language.scalar import evaluate

Pull = Callable[[np.ndarray], np.ndarray]
"""Cotangents [T, n] of a vector -> those of the read."""


def normal_density(x: np.ndarray) -> np.ndarray:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


PHI: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "gelu": (lambda x: x * ndtr(x), lambda x: ndtr(x) + x * normal_density(x)),
}


def gaussian(rng: np.random.Generator, gram: np.ndarray, n: int) -> np.ndarray:
    """[T, n] Gaussian neurons of exactly this Gram (what is left of chance is in their other
    moments)."""
    z = rng.standard_normal((len(gram), n))
    values, vectors = np.linalg.eigh(gram)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ np.linalg.solve(
        np.linalg.cholesky(z @ z.T / n), z
    )


class Neurons:
    """One batch of n neurons at T tokens. read [T, n]; numbers, tables: by name; allowed [T, T]:
    what attention at scores of zero sees."""

    def __init__(
        self,
        rng: np.random.Generator,
        read: np.ndarray,
        numbers: Mapping[str, float],
        tables: Mapping[str, np.ndarray],
        allowed: np.ndarray,
    ):
        self.rng, self.read, self.numbers, self.tables = rng, read, numbers, tables
        self.uniform = allowed / allowed.sum(axis=1, keepdims=True)

    def number(self, scalar: object) -> float:
        return float(evaluate(scalar, self.numbers))  # type: ignore[arg-type]

    def fresh(self, x: np.ndarray, variance: float) -> np.ndarray:
        """W x with a matrix that nothing else knows: Gaussian of variance C times the Gram of x."""
        return gaussian(self.rng, variance * x @ x.T / x.shape[1], x.shape[1])

    def __call__(self, u: Vector) -> tuple[np.ndarray, Pull]:
        """(value [T, n], the pullback to the read)."""
        match u:
            case Read():
                return self.read, lambda d: d
            case Bias(variance=variance):
                row = gaussian(self.rng, np.array([[self.number(variance)]]), self.read.shape[1])
                return np.broadcast_to(row, self.read.shape), lambda d: np.zeros_like(d)
            case Linear(of=of, variance=variance):
                x, pull = self(of)
                c = self.number(variance)
                return self.fresh(x, c), lambda d: pull(self.fresh(d, c))
            case Activate(activation, of, 0):
                return self.activated(activation.name, of)
            case Product(left, right):
                (x, back_x), (y, back_y) = (
                    self(left),
                    self(right) if right != left else (None, None),
                )
                if y is None:
                    return x * x, lambda d: back_x(2 * x * d)
                return x * y, lambda d: back_x(y * d) + back_y(x * d)
            case Sum(terms):
                parts = [self(term) for term in terms]
                return sum(x for x, _ in parts), lambda d: sum(pull(d) for _, pull in parts)  # type: ignore[return-value]
            case Normalise(of, kind, epsilon):
                return self.normalised(of, kind, self.number(epsilon))
            case Dropout(_, of, rate):
                x, pull = self(of)
                kept = (self.rng.random(x.shape) >= self.number(rate)) / (1 - self.number(rate))
                return kept * x, lambda d: pull(kept * d)
            case Truncate(of, fraction, _):
                x, pull = self(of)
                kept = (np.arange(x.shape[1]) < self.number(fraction) * x.shape[1]) * 1.0
                return kept * x, lambda d: pull(kept * d)
        return self.turned(u)

    def turned(self, u: Vector) -> tuple[np.ndarray, Pull]:
        """Nodes that are one matrix over tokens."""
        match u:
            case Scale(factor, of) | Gate(factor, of):
                matrix = self.number(factor) * np.eye(len(self.read))
            case Rescale(factor, of):
                matrix = np.diag(self.tables[factor.name])
            case Mix(table, of, turned):
                matrix = self.tables[table.name].T if turned else self.tables[table.name]
            case Attend(value=of):
                matrix = self.uniform
            case _:
                raise TypeError(f"no neurons for {u}")
        x, pull = self(of)
        return matrix @ x, lambda d: pull(matrix.T @ d)

    def activated(self, name: str, of: Vector) -> tuple[np.ndarray, Pull]:
        """phi, or phi(psi)."""
        x, pull = self(of)
        slope = np.ones_like(x)
        for part in reversed(name.rstrip(")").split("(")):
            phi, derivative = PHI[part]
            x, slope = phi(x), slope * derivative(x)
        return x, lambda d: pull(slope * d)

    def normalised(self, of: Vector, kind: str, epsilon: float) -> tuple[np.ndarray, Pull]:
        """A norm with its whole Jacobian."""
        x, pull = self(of)
        centred = x - x.mean(axis=1, keepdims=True) if kind == "layer" else x
        norm = np.sqrt((centred**2).mean(axis=1, keepdims=True) + epsilon)
        y = centred / norm

        def back(d: np.ndarray) -> np.ndarray:
            inside = (d - y * (d * y).mean(axis=1, keepdims=True)) / norm
            return pull(inside - inside.mean(axis=1, keepdims=True) if kind == "layer" else inside)

        return y, back
