"""What to set, group by group, as monomials in the sizes: initial stds, multipliers, learning rates, weight decay, Adam's epsilon."""
