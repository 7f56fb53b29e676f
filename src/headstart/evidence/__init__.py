"""Evidence: splits, controls, the verdict and the learning curves."""
