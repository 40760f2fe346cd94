"""bfloat16 in pairs: two input channels to a product."""
