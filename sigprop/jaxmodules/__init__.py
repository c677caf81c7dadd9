"""Modules of flax and equinox as graphs of terms, through their jaxprs, and the law of every
parameter."""
