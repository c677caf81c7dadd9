"""Softmax attention in the wide limit: expectations over one head's scores, and the calculus
rules built on them."""

from sigprop.theory.attention import rules as rules
