"""Real models into descriptions: the residual stream of a module, and its sub-blocks in sigprop's
language."""
