"""Finite width: predicted scatter and shift against networks, and networks with a twin."""
