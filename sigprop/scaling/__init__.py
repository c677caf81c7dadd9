"""The one reading of how size enters a network: its residual rule, slots, and every group's
variance and gradient, as functions of N, L, l and widths."""
