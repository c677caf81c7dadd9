"""What should be set: rates, multipliers and decay from a small network to a large one."""
