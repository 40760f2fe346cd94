"""Direct convolution: output channels in lanes. The room lists a lowering for each element type."""
