"""Inner products of vector expressions: two algebras, one set of rules."""
