"""Many networks at once: matrices that are formed, or never."""
