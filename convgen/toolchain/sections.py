"""How much machine code an object file holds, read from its section headers: ELF and wasm."""

from __future__ import annotations

import struct
from pathlib import Path

_EXECUTABLE = 0x4  # SHF_EXECINSTR
_WASM_CODE = 10  # the section's number


def code_size(path: Path) -> int | None:
    """Bytes of the executable sections; None for another or a damaged format."""
    data = path.read_bytes()
    if data[:8] == b"\0asm\1\0\0\0":
        return _wasm_code_size(data)
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


def _wasm_code_size(data: bytes) -> int | None:
    """Sections follow each other: a number, a length in LEB128, and so many bytes."""
    found, at = 0, 8
    while at < len(data):
        number, size, shift = data[at], 0, 0
        at += 1
        while True:
            if at >= len(data):
                return None
            size |= (data[at] & 0x7F) << shift
            at, shift, more = at + 1, shift + 7, data[at] & 0x80
            if not more:
                break
        found += size if number == _WASM_CODE else 0
        at += size
    return found if at == len(data) else None
