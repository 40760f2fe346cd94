"""From a layer to texts: the C package, its self test, the Python module. Pure functions."""
