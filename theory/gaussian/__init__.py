"""Expectations of Gaussian arguments: dual activations, closed or as series, and their gaps."""
