"""How rows follow the averages that a network sees, to first order."""
