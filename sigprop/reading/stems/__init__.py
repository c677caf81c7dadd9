"""What of a stem is numbers, not draws: inputs, fixed positions, means over features."""
