"""8-bit layers on vectors: several input channels to a product, summed in int32 lanes."""
