"""The recursions as equations."""
