"""Choices of schedules that were made before, so that they need not be made again.

A choice is a function of spec, target and limits; it is remembered under these and the digest of
convgen's own files, so that a change of any of its code forgets every one. The folder is part of
the cache, and goes with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from convgen.choose.chooser import Choice
from convgen.choose.fit import Excluded
from convgen.choose.limits import SizeLimits
from convgen.errors import ConvgenError
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Schedule
from convgen.target import Target
from convgen.toolchain.leftover import write_whole


@dataclass(frozen=True)
class Memory:
    """Remembered choices in ``folder``; ``own``: the digest of convgen's files."""

    folder: Path
    own: str

    def choice(
        self,
        make: Callable[[], Choice],
        spec: ConvSpec,
        target: Target,
        limits: SizeLimits,
        out: Excluded,
        compiles: bool,
        baked: bool,
    ) -> Choice:
        """The choice that was made of these before, else ``make()``, which may raise."""
        anonymous = replace(spec, name="layer")
        parts = (self.own, anonymous, target, limits, out, compiles, baked)
        key = hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()
        path = self.folder / f"{key[:40]}.json"
        found = _read(path)
        if found is None:
            found = make()
            with contextlib.suppress(OSError):  # a full or read-only disk costs time alone
                self.folder.mkdir(parents=True, exist_ok=True)
                data = asdict(found) | {"schedule": found.schedule.to_mapping()}
                write_whole(path, json.dumps(data).encode())
        return found


def _read(path: Path) -> Choice | None:
    """None where there is none, or a damaged one."""
    try:
        data = json.loads(path.read_bytes())
        return Choice(**data | {"schedule": Schedule.from_mapping(data["schedule"])})
    except (OSError, ValueError, TypeError, KeyError, ConvgenError):
        return None
