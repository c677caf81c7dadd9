"""What several systems are built from: rules, branches, stems, variances, stacks."""
