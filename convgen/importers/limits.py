"""Bounds on what a model file may hold; far beyond real networks, and within a machine's means."""

from __future__ import annotations

MAX_FILE = 4 << 30  # bytes of a model file with its external data
MAX_NODES = 20_000
MAX_TENSORS = 100_000
MAX_RANK = 8
MAX_ELEMENTS = 1 << 30  # of one tensor
MAX_FOLDED = 1 << 28  # elements of a constant that is computed while reading

SECONDS = 60.0  # of the child process, and more for large files
SECONDS_PER_BYTE = 1e-7
MEMORY = 3 << 30  # bytes of address space of the child, and more for large files
MEMORY_PER_BYTE = 8
