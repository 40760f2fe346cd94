"""8-bit layers on microcontrollers: sums in core registers, several products a step."""
