"""certificate.json: what was proved of a package's C, with what, and what that rests on.

It holds no date and no path: the same C, proved by the same frama-c, gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen import __version__
from convgen.package.disk.commit import Place, locked, writing
from convgen.package.disk.manifest import CERTIFICATE, NAME
from convgen.render.head import spec_id
from convgen.toolchain.leftover import write_whole
from convgen.verify.evidence import BodyProof, assumptions
from convgen.verify.harness import Content, driver

if TYPE_CHECKING:
    from convgen.package.emit.files import Decided

FORMAT = 1
CLAIM = (
    "For every content of the arrays that the assumptions allow, and every part and parts: no "
    "access of pack, run and run_part leaves its array, no pointer is formed outside one, and no "
    "undefined arithmetic is done."
)


class Filed(StrEnum):
    """What became of a certificate."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    NO_PACKAGE = "no package"  # no C of this layer stands there
    STALE = "stale"  # the C that stands there is other C than was proved

    @classmethod
    def kept(cls) -> tuple[Filed, Filed]:
        """Where the package has it now."""
        return cls.WRITTEN, cls.UNCHANGED

    def tell(self, place: Path, done: Callable[[str], None], note: Callable[[str], None]) -> None:
        """Say what became of it: by ``done`` where the package has it, else why not by ``note``."""
        match self:
            case Filed.WRITTEN | Filed.UNCHANGED:
                done(f"{place.name}: proved; {place / CERTIFICATE} {self}")
            case Filed.NO_PACKAGE:
                note(f"{place.name}: proved; no package at {place}, so no certificate was written")
            case Filed.STALE:
                note(
                    f"{place.name}: proved, but the C in {place} is another (an older spec, "
                    "version, target or schedule): build again, or name its --target; no "
                    "certificate was written"
                )


def certificate(
    decided: Decided, files: Mapping[str, str], proofs: Sequence[BodyProof], frama_c: str
) -> str:
    """The JSON text for ``files``, which were proved: every body without an alarm."""
    assert proofs and all(proof.proved for proof in proofs)
    plan = decided.plan
    contents = dict.fromkeys(run.content for proof in proofs for run in proof.proofs)
    data: dict[str, Any] = {
        "format": FORMAT,
        "convgen": __version__,
        "layer": plan.spec.name,
        "spec_id": spec_id(plan, decided.weights),
        "target": plan.target.name,
        "schedule": str(plan.schedule),
        "files": {name: _digest(text) for name, text in sorted(files.items())},
        "prover": f"frama-c {frama_c}, plugin EVA",
        "claim": CLAIM,
        "alarms": 0,
        "assumptions": assumptions(plan, frozenset(proof.sums for proof in proofs)),
        "bodies": [
            {
                "body": proof.body,
                "functions": proof.functions,
                "sums": proof.sums,
                "runs": [
                    {
                        "packed": run.content,
                        "by_assumption": len(run.sums),
                        "command": run.command,
                    }
                    for run in proof.proofs
                ],
            }
            for proof in proofs
        ],
        "driver.c": {content: driver(plan, Content(content)).splitlines() for content in contents},
    }
    return json.dumps(data, indent=2) + "\n"


def file_certificate(place: Path, files: Mapping[str, str | bytes], text: str) -> Filed:
    """Put the certificate into the folder of the very C that was proved, whole or not at all.

    Waits for a running build of the package. Raises ``UsageError`` where it cannot be written.
    """
    if not (place / next(iter(files))).exists():
        return Filed.NO_PACKAGE
    built = (place / NAME).exists()
    with locked(Place(place.parent, place.name)) if built else nullcontext():
        if not holds(place, files):
            return Filed.STALE
        path, data = place / CERTIFICATE, text.encode()
        with writing(place):
            if path.exists() and path.read_bytes() == data:
                return Filed.UNCHANGED
            write_whole(path, data)
        return Filed.WRITTEN


def holds(place: Path, files: Mapping[str, str | bytes]) -> bool:
    """Whether the folder holds exactly these files."""
    try:
        return all(
            (place / name).read_bytes()
            == (content if isinstance(content, bytes) else content.encode())
            for name, content in files.items()
        )
    except OSError:
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
