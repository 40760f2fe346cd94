"""Plans: what a kernel computes, tile by tile, with no decision left open."""
