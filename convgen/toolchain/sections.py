"""How much machine code an object file holds, read from its section headers."""

from __future__ import annotations

import struct
from pathlib import Path

_EXECUTABLE = 0x4  # SHF_EXECINSTR


def code_size(path: Path) -> int | None:
    """Bytes of the executable sections of an ELF file; None for another or a damaged format."""
    data = path.read_bytes()
    if len(data) < 52 or data[:4] != b"\x7fELF":
        return None
    order = "<" if data[5] == 1 else ">"
    wide = data[4] == 2
    try:
        if wide:
            (table,) = struct.unpack_from(order + "Q", data, 40)
            step, count = struct.unpack_from(order + "HH", data, 58)
            layout, flags_at, size_at = order + "IIQQQQ", 2, 5
        else:
            (table,) = struct.unpack_from(order + "I", data, 32)
            step, count = struct.unpack_from(order + "HH", data, 46)
            layout, flags_at, size_at = order + "IIIIII", 2, 5
        headers = [struct.unpack_from(layout, data, table + i * step) for i in range(count)]
    except (struct.error, OverflowError):
        return None
    return sum(int(header[size_at]) for header in headers if header[flags_at] & _EXECUTABLE)
