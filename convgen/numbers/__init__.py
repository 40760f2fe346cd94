"""Numbers that a spec leaves to files or samples: weights, scales, zero points."""
