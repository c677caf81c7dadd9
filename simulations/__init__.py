"""Finite networks, sampled and measured. Imported only as ``sigprop.simulations``; it never
imports the theory."""
