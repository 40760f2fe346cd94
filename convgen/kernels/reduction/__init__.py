"""Convolution with lanes along the reduction, for few outputs of many inputs each."""
