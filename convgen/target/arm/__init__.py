"""Arm: vectors of floats, 8-bit products, and the steps that Cortex-M takes in core registers."""
