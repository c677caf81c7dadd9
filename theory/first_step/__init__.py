"""What a first optimiser step changes in a wide network, to first order in the rates."""
