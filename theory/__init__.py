"""The wide limit: a calculus of inner products, read on symbols (``derive``) and on arrays
(``predict``).

Imported only as ``sigprop.theory``; it and the finite networks never import each other.
"""

from sigprop.theory import attention as attention  # its rules join the calculus
