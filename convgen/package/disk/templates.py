"""Templates that Jinja2 compiled before: half of the time of a first ``emit``.

The folder is part of the cache. Jinja2 checks each entry against the template's text and Python's
version; its own version is in the entry's name.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket

from convgen.render.environment import environment
from convgen.toolchain.leftover import write_whole

SUFFIX = ".template"
DIGEST = 32  # bytes of the SHA-256 before an entry's content


class TemplateCache(jinja2.BytecodeCache):
    """Compiled templates in ``folder``. What cannot be read is compiled, what cannot be written
    is compiled again the next time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load_bytecode(self, bucket: Bucket) -> None:
        try:
            data = self._path(bucket).read_bytes()
        except OSError:
            return
        if hashlib.sha256(data[DIGEST:]).digest() == data[:DIGEST]:  # Python loads it as it is
            bucket.bytecode_from_string(data[DIGEST:])

    def dump_bytecode(self, bucket: Bucket) -> None:
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            data = bucket.bytecode_to_string()
            write_whole(self._path(bucket), hashlib.sha256(data).digest() + data)

    def _path(self, bucket: Bucket) -> Path:
        return self.folder / f"{bucket.key}-{jinja2.__version__}{SUFFIX}"


def remember_templates(folder: Path) -> None:
    """Let the one environment of this process find compiled templates in ``folder``."""
    environment().bytecode_cache = TemplateCache(folder)
