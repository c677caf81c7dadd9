"""What a run needs from the machine: compiled programs, memory, progress, interrupts."""
