"""The file that a study keeps its units and rows in: sqlite, one file a study."""
