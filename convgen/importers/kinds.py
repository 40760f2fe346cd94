"""Which format a file is in, by its content alone."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

HEAD = 64  # bytes that are enough to tell
TFLITE_MARK = b"TFL3"
TFLITE_MARK_AT = 4
IR_VERSION = 0x08  # protobuf's key of field 1, a number: ModelProto.ir_version
NEWEST_IR = 64  # far beyond any version; YAML text that begins with this byte is no YAML
ONNX_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72, 0xA2, 0xCA, 0xD2)


class Format(StrEnum):
    ONNX = "ONNX"
    TFLITE = "TFLite"


# The package that reads a format, and convgen's extra that brings it.
PACKAGES = {Format.ONNX: ("onnx", "onnx"), Format.TFLITE: ("tflite", "tflite")}


def format_of(head: bytes) -> Format | None:
    """The format of a file that begins with these bytes (``HEAD`` of them are enough), or None.

    A protobuf message carries no mark; ONNX's opens with its version and goes on with one of the
    other fields of a ModelProto, which no text does: both have control characters.
    """
    if head[TFLITE_MARK_AT : TFLITE_MARK_AT + len(TFLITE_MARK)] == TFLITE_MARK:
        return Format.TFLITE
    if len(head) >= 3 and head[0] == IR_VERSION and 1 <= head[1] < NEWEST_IR:
        return Format.ONNX if head[2] in ONNX_FIELDS else None
    return None


def model_format(path: str | Path) -> Format | None:
    """The format of the file, or None: it is no model, no file, or cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return format_of(file.read(HEAD))
    except OSError:
        return None
