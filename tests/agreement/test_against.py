"""Which quantities network A can be judged by with B's theory: never one that theory does not
have."""

from __future__ import annotations

import itertools

import pytest

from sigprop.agreement.against import common_quantities, theory_of
from sigprop.architectures import entries, entry
from sigprop.description.architecture import Architecture
from sigprop.description.quantities import QUANTITIES
from sigprop.description.rows import judged, known, select
from sigprop.errors import InputError


def pairs() -> list[tuple[Architecture, Architecture]]:
    """Every registered network with every other whose theory may judge it; one with a learned
    modulator."""
    networks = [entry(name).build() for name in entries()]
    networks.append(entry("nag").build(depth=8, tokens=1, modulator="learned"))
    found = []
    for network, name in itertools.product(networks, entries()):
        try:
            found.append((network, theory_of(network, name)))
        except InputError:
            continue
    return found


def test_unasked_a_verdict_of_another_theory_looks_at_rows_that_both_theories_have():
    found_pairs = pairs()
    assert len(found_pairs) > len(entries())
    for network, theory in found_pairs:
        found = common_quantities(network, theory)
        assert "residual_variance" in found
        assert set(found) <= set(known(network)) & set(known(theory)), (network.name, theory.name)
        assert all(QUANTITIES[name].judged for name in found)
        assert all(select(network, [name]) == select(theory, [name]) for name in found)
        assert judged(network, found)


def test_what_theory_does_not_have_is_refused_when_it_is_asked_for():
    looped = entry("looped-mlp").build(loops=4)
    theory = theory_of(looped, "residual-mlp")
    with pytest.raises(InputError, match="participation_ratio: theory has no value"):
        common_quantities(looped, theory, ["participation_ratio"])
    with pytest.raises(
        InputError, match="weight_gradient.*different rows.*accepted: residual_variance"
    ):
        common_quantities(looped, theory, ["weight_gradient"])
    assert common_quantities(looped, theory, ["ntk"]) == ("ntk",)


def test_gradients_that_one_of_the_two_theories_lacks_are_left_out():
    """A looped network with a learned modulator: theory has its states, not its gradients."""
    learned = entry("looped-nag").build(modulator="learned")
    plain = entry("looped-nag").build()
    for network, theory in ((learned, plain), (plain, learned)):
        assert not any(QUANTITIES[name].backward for name in common_quantities(network, theory))
        with pytest.raises(InputError, match="gradient_variance: at modulator=learned: its own"):
            common_quantities(network, theory, ["gradient_variance"])
