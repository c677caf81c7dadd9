"""Sources at averages: how rows move when one of the averages that a network sees is off."""
