"""What an object file takes up, read from its section headers: ELF, and the code of wasm."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_WRITE, _ALLOC, _EXECUTABLE = 0x1, 0x2, 0x4  # sh_flags
_WASM_CODE = 10  # the section's number
_NOBITS = 8  # sh_type: zeros, which take no room in the file
# Tables that unwind the stack for C++ exceptions and debuggers: a firmware's linker drops them.
_UNWIND = (b".eh_frame", b".ARM.exidx", b".ARM.extab")


@dataclass(frozen=True)
class Sections:
    """Bytes by what becomes of them: machine code, constants, variables with a first value, and
    without; and tables for unwinding."""

    text: int
    rodata: int
    data: int
    bss: int
    unwind: int


def code_size(path: Path) -> int | None:
    """Bytes of the executable sections; None for another or a damaged format."""
    data = path.read_bytes()
    if data[:8] == b"\0asm\1\0\0\0":
        return _wasm_code_size(data)
    found = sections(path)
    return None if found is None else found.text


def sections(path: Path) -> Sections | None:
    """The sections of an ELF object file; None for another or a damaged format."""
    data = path.read_bytes()
    if len(data) < 52 or data[:4] != b"\x7fELF":
        return None
    sizes = {"text": 0, "rodata": 0, "data": 0, "bss": 0, "unwind": 0}
    try:
        for name, kind, flags, size in _headers(data):
            if flags & _ALLOC:
                sizes[_becomes(name, kind, flags)] += size
    except (struct.error, OverflowError, IndexError, ValueError):
        return None
    return Sections(**sizes)


def _becomes(name: bytes, kind: int, flags: int) -> str:
    if flags & _EXECUTABLE:
        return "text"
    if flags & _WRITE:
        return "bss" if kind == _NOBITS else "data"
    return "unwind" if name.startswith(_UNWIND) else "rodata"


def _headers(data: bytes) -> list[tuple[bytes, int, int, int]]:
    """(name, sh_type, sh_flags, sh_size) of every section."""
    order = "<" if data[5] == 1 else ">"
    if data[4] == 2:
        (table,) = struct.unpack_from(order + "Q", data, 40)
        step, count, names = struct.unpack_from(order + "HHH", data, 58)
        layout = order + "IIQQQQ"
    else:
        (table,) = struct.unpack_from(order + "I", data, 32)
        step, count, names = struct.unpack_from(order + "HHH", data, 46)
        layout = order + "IIIIII"
    headers = [struct.unpack_from(layout, data, table + i * step) for i in range(count)]
    strings = headers[names][4] if count else 0
    return [
        (data[strings + at : data.index(b"\0", strings + at)], kind, flags, size)
        for at, kind, flags, _, _, size in headers
    ]


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
