"""What a network is: sub-blocks, architectures, families, and the rows that may be asked of
them."""
