"""Convolution over planes (NCHW): pixels of a row in lanes, weights broadcast."""
