"""Torch modules as graphs of terms, and the law of every parameter."""
