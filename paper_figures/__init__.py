"""The figures of theory against finite networks: one file a figure, which asks for tables and draws
them (``sigprop figures``).

Imported as sigprop.paper_figures; simulates nothing itself.
"""

from __future__ import annotations

from sigprop.paper_figures._registry import Figure, figure, figures

__all__ = ["Figure", "figure", "figures"]
