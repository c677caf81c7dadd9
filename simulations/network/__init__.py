"""One finite network: its random numbers, matrices and passes."""
