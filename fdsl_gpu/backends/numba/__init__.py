"""CPU drawings: compiled loops, one thread an image; threads share out a batch."""
