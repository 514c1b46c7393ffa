"""CPU drawings: each image is drawn by one thread with compiled loops; threads share out the images of a batch."""
