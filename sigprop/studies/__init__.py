"""Studies: sweeps of a command over parameters, kept in a file."""
