"""What each kind of term is in a branch."""
