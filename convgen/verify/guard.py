"""Buffers of an exact size with nothing usable around them.

On POSIX a buffer lies between two pages that may not be touched, flush against one of them: one
byte read or written beyond it ends the process at once. The other side has slack up to a page,
which is filled with a pattern and looked at afterwards. Elsewhere the pattern alone remains.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
CANARY = 0xA7
PROT_NONE = 0


class Placement(StrEnum):
    """Where in its pages a buffer lies."""

    END = "end"  # flush against the page after it
    START = "start"  # flush against the page before it
    SHIFTED = "shifted"  # one alignment step off the page: aligned to no more than was promised


@dataclass(frozen=True)
class Buffer:
    """``data``: exactly the bytes asked for. ``before``, ``after``: slack up to the guard pages."""

    data: Bytes
    before: Bytes
    after: Bytes

    @property
    def address(self) -> int:
        return int(self.before.ctypes.data) + len(self.before)

    @property
    def strayed(self) -> bool:
        """Something was written beside the data."""
        return bool((self.before != CANARY).any() or (self.after != CANARY).any())


def guards_available() -> bool:
    """Pages without access can be had: Linux and macOS, through mprotect."""
    return os.name == "posix"


def place(size: int, align: int, placement: Placement) -> Buffer:
    """A buffer of ``size`` bytes (0 is fine) aligned to ``align``, a power of two.

    At ``END`` it is flush only if ``size`` is a multiple of ``align``; the bytes left over are
    slack. Raises ``MemoryError`` or ``OSError`` when the system has no memory for it.
    """
    assert size >= 0 and align >= 1 and align & (align - 1) == 0 and align <= mmap.PAGESIZE
    inner = _guarded_pages(-(-(size + align) // mmap.PAGESIZE))
    match placement:
        case Placement.END:
            start = (len(inner) - size) // align * align
        case Placement.START:
            start = 0
        case Placement.SHIFTED:
            start = align
    stop = start + size
    buffer = Buffer(inner[start:stop], inner[:start], inner[stop:])
    buffer.before[:] = CANARY
    buffer.after[:] = CANARY
    return buffer


def _guarded_pages(pages: int) -> Bytes:
    """Whole pages with a guard page on each side where the system has them.

    The array keeps its mapping alive; the pages go back with the last view of it.
    """
    page = mmap.PAGESIZE
    whole = np.frombuffer(mmap.mmap(-1, (pages + 2) * page), np.uint8)
    if guards_available():
        base = int(whole.ctypes.data)
        _forbid(base, page)
        _forbid(base + (pages + 1) * page, page)
    return whole[page:-page]


def _forbid(address: int, size: int) -> None:
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if mprotect(address, size, PROT_NONE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mprotect: {os.strerror(code)}")
