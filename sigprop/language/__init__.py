"""How a network is written: scalars, formulas, activations, vector expressions."""
