"""``python -m sigprop``."""

from sigprop.cli import main

if __name__ == "__main__":
    main()
