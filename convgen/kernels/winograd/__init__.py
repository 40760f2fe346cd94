"""Winograd's minimal filtering: fewer products, with transforms before and after them."""
