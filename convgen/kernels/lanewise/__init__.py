"""Depthwise layers and small groups: each lane reads an input channel of its own."""
