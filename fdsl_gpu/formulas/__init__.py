"""What each formula-driven data set is: one NumPy file a formula, plain to check."""
