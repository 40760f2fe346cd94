"""8-bit layers on microcontrollers: a window's inputs gathered side by side for all filters, or the
channels of a depthwise layer several at a time."""
