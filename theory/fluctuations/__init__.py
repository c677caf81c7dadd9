"""Finite width: how far one network scatters about the theory, and the mean is shifted."""
