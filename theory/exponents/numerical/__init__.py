"""Limits of slopes where there is no law: estimated from the recursion, and called numerical."""
