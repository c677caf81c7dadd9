"""Operations of torch as terms, a file for each kind of them."""
