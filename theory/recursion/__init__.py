"""Grams through all applications: programs, forward and backward passes, tangent kernels."""
