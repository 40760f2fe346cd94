"""Packages on disk: texts for C and Python, compiled, verified, cached, committed atomically."""
