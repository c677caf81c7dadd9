"""Training runs: a description, data, an optimiser and a grid of rates and seeds."""
