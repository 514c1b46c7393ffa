"""What each formula-driven data set is: one NumPy file a formula, plain enough to check against its paper."""
