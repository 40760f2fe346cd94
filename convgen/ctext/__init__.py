"""C text that several kernels share: literals, activations, the words of a body."""
