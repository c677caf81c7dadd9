"""optax's Muon, where it is installed and takes matrices by their axes; parameters by name, whether
they come as arrays or in the variables of flax.nnx."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from sigprop.errors import InputError


def contrib_with_muon() -> Any:
    """Return optax.contrib; raises ``InputError`` without optax, or where its Muon takes no
    dimension numbers."""
    try:
        import optax
        from optax import contrib
    except ImportError:
        raise InputError(
            "optax is not installed; accepted: after pip install 'sigprop[optax]'"
        ) from None
    muon = getattr(contrib, "muon", None)
    takes = () if muon is None else inspect.signature(muon).parameters
    for name in ("muon_weight_dimension_numbers", "consistent_rms"):
        if name not in takes:
            raise InputError(
                f"optax {optax.__version__} has no optax.contrib.muon with {name}; accepted: optax "
                f"0.2.7 or newer"
            )
    return contrib


def is_variable(node: Any) -> bool:
    """Tell if a node of a tree is an nnx.Variable, which holds one array."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(node, nnx.Variable)


def _parameters(tree: Any) -> Any:
    """Return the tree of parameters: of a module of flax.nnx the state of its nnx.Param."""
    nnx = sys.modules.get("flax.nnx")
    return nnx.state(tree, nnx.Param) if nnx and isinstance(tree, nnx.Module) else tree


def named_leaves(tree: Any) -> dict[str, Any]:
    """Return {path joined by ``/``: leaf} of a tree of parameters; a variable of flax.nnx is a
    leaf."""
    from jax.tree_util import keystr, tree_flatten_with_path

    leaves = tree_flatten_with_path(_parameters(tree), is_variable)[0]
    return {keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


class Labels:
    """Label the parameters of a tree by name. nnx.Optimizer starts a transformation on variables
    and updates it with arrays: two structures with the same names."""

    def __init__(self, params: Any, labels: Mapping[str, str]) -> None:
        self._of = labels
        self._fixed = self._labelled(_parameters(params))

    def __call__(self, tree: Any) -> Any:
        """Return the tree of labels, that of the parameters at the start for other names."""
        return self._labelled(tree) if named_leaves(tree).keys() == self._of.keys() else self._fixed

    def _labelled(self, tree: Any) -> Any:
        from jax.tree_util import tree_structure, tree_unflatten

        names = named_leaves(tree)
        return tree_unflatten(tree_structure(tree, is_variable), [self._of[name] for name in names])
