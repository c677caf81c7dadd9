"""Where the states of a module are, beyond chains of sums: what everything above passes through,
networks without skip connections, which of several outputs is the state's."""
