"""Weights that an ONNX file keeps beside it: found, checked and read, never outside its folder."""

from __future__ import annotations

import os
import stat
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_FILE

if TYPE_CHECKING:
    import numpy as np


class Outside(Exception):
    """External data that is not taken; the text says why and what can be done."""


class Neighbours:
    """The files beside one model. ``total``: bytes read so far."""

    def __init__(self, model: str) -> None:
        self.folder = Path(model).absolute().parent
        self.total = 0

    def array(
        self, entries: dict[str, str], shape: tuple[int, ...], dtype: np.dtype[Any], name: str
    ) -> np.ndarray[Any, Any]:
        """One tensor. ``entries``: ONNX's location, offset and length. Raises ``Outside``."""
        import numpy as np

        path = self._inside(entries.get("location", ""), name)
        size = prod(shape) * dtype.itemsize
        offset = _number(entries.get("offset", "0"), name)
        length = _number(entries.get("length", str(size)), name)
        if length != size:
            raise Outside(f"weights {name} take {size} bytes, the file says {length}")
        with _opened(path, name) as file:
            there = os.fstat(file.fileno()).st_size
            if offset + size > there:
                raise Outside(
                    f"weights {name} end at byte {offset + size} of {path.name}, "
                    f"which has {there}: the file is cut short, fetch it anew"
                )
            self.total += size
            if self.total > MAX_FILE:
                raise Outside(f"weights {name}: more than {MAX_FILE} bytes in all")
            file.seek(offset)
            found = np.fromfile(file, dtype, prod(shape))
        return found.reshape(shape).astype(dtype.newbyteorder("="), copy=False)

    def _inside(self, location: str, name: str) -> Path:
        """The file, links followed. Raises ``Outside`` when it lies elsewhere."""
        here = self.folder.resolve()
        try:
            path = (here / location).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            raise Outside(
                f"weights {name} should lie in {location!r} beside the model, which is not there: "
                "fetch that file too"
            ) from None
        if not location or Path(location).is_absolute() or not path.is_relative_to(here):
            raise Outside(
                f"weights {name} lie in {location!r}, outside the model's folder: copy that file "
                "beside the model, or save the model with its weights inside"
            )
        return path


def _opened(path: Path, name: str) -> Any:
    """The file for reading; a pipe or a device would block or never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Outside(f"weights {name} lie in {path.name}, which is no regular file")
    try:
        return path.open("rb")
    except OSError as error:
        raise Outside(f"weights {name}: {path.name}: {error.strerror}") from None


def _number(text: str, name: str) -> int:
    """A place in a file. Raises ``Outside``."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Outside(f"weights {name} begin or end at {text[:40]!r}: the file is damaged")
    return int(text)
