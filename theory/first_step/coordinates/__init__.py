"""A wide network by sampled coordinates of its vectors: spaces, normals, and values in them."""
