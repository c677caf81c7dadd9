"""Language models whose body is a description's network, trained over batches."""
