"""Exit codes: what each end of a command means."""

CONFIRMED, REJECTED, BAD_INPUT, INCONCLUSIVE, OURS, INTERRUPTED = 0, 1, 2, 3, 70, 130
