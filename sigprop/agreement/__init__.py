"""Whether theory and networks agree: the verdict's cases, rows and sampling."""
