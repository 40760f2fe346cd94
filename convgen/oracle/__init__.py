"""The oracle: what a layer must compute, written without a line of the kernels."""
