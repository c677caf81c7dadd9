"""Rows of numbers and every way out of them: text, files, figures."""
