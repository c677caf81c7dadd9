"""Names, parameters and defaults of architectures, and how they are read from text."""
