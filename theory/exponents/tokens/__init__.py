"""Powers of the number of tokens: laws of uniform attention, and what the recursion says."""
