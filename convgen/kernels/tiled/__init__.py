"""What all register-tiled kernels share: tiles, regions, the packed order, the text of a tile."""
