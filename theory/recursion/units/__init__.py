"""One unit of every population, traced beside the recursion."""
