"""Planar convolution: output pixels in lanes, weights broadcast."""
