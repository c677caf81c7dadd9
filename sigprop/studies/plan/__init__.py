"""What a study file says, as cells and units."""
