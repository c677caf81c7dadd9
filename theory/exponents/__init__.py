"""Scaling exponents of families of architectures: symbolic laws, the exact recursion's slopes,
and their limits."""
