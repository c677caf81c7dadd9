"""How units are worked through: here, in processes side by side, on a cluster."""
