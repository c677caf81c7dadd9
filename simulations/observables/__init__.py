"""What is measured of a network, row by row."""
