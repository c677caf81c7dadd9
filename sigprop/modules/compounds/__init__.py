"""Compounds that libraries write out, each known by what it computes."""
