"""The wide limit: a calculus of inner products, read on symbols (``derive``) and on arrays (``predict``).

Imported only as ``sigprop.theory``; it never imports ``sigprop.simulations``, and is never imported by it.
"""
