"""Parts of a network's twin."""
