"""View: a study as one web page to look at."""
