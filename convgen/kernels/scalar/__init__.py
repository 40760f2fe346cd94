"""8-bit layers in plain C, one product a step."""
