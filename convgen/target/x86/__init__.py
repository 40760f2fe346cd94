"""x86-64: vectors of floats, 8-bit products, pairs of bfloat16, conversions of half precision."""
