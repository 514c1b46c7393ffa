"""Formula-driven pre-training images, drawn on the fly and never stored."""
