"""manifest.json: what a package was built from, with what, and which checks it passed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from convgen.spec.schedule import Schedule
from convgen.spec.sqnr import Sqnr
from convgen.verify.report import Report

NAME = "manifest.json"
CERTIFICATE = "certificate.json"  # of `convgen prove`: beside the manifest, none of its files
FORMAT = 2


@dataclass(frozen=True)
class Manifest:
    """One built package. ``files``: SHA-256 of every file but the manifest itself.

    ``inputs``: ``inputs_digest`` of the build. ``report``: None when nothing was verified.
    ``commands``, ``warnings``: of the compiler. ``code_bytes``: machine code of the kernel, None
    where the object format does not tell. ``limits``: what the kernel had to keep to; ``notes``:
    how the build came to another kernel than the chooser's first. ``sqnr``: of a calibrated layer.
    ``tuned``: of a network, the tuned schedules by the names of its convolutions.
    """

    name: str
    version: str
    inputs: str
    files: Mapping[str, str]
    extension: str
    target: str
    isa: str
    schedule: str
    reason: str
    binding: str
    compiler: str
    commands: tuple[str, ...]
    warnings: tuple[str, ...]
    code_bytes: int | None
    limits: Mapping[str, int | None]
    notes: tuple[str, ...]
    report: Report | None
    sqnr: Sqnr | None = None
    tuned: Mapping[str, str] = field(default_factory=dict)

    @property
    def schedules(self) -> dict[str, Schedule]:
        """``tuned`` as schedules."""
        return {name: Schedule.from_text(how) for name, how in self.tuned.items()}

    def to_text(self) -> str:
        data = asdict(self) | {"format": FORMAT, "files": dict(sorted(self.files.items()))}
        data["report"] = None if self.report is None else self.report.to_mapping()
        data["sqnr"] = None if self.sqnr is None else self.sqnr.to_mapping()
        if not self.tuned:
            del data["tuned"]
        return json.dumps(data, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Raises ``ValueError`` for anything that ``to_text`` did not write."""
        data = json.loads(text)
        try:
            if data.pop("format") != FORMAT:
                raise ValueError("a manifest of another format")
            report, sqnr = data.pop("report"), data.pop("sqnr", None)
            commands, warnings, notes = (
                tuple(data.pop(key)) for key in ("commands", "warnings", "notes")
            )
            return cls(
                **data,
                commands=commands,
                warnings=warnings,
                notes=notes,
                report=None if report is None else Report.from_mapping(report),
                sqnr=None if sqnr is None else Sqnr.from_mapping(sqnr),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a manifest: {error}") from error


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a built package; None when there is none, or none that can be read."""
    try:
        return Manifest.from_text((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def intact(folder: Path, manifest: Manifest) -> bool:
    """Whether every file is there and holds what the build wrote."""
    try:
        return all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            for name, digest in manifest.files.items()
        )
    except OSError:
        return False


def current(folder: Path, inputs: str, *, verified: bool) -> Manifest | None:
    """The manifest of a package that a build of ``inputs`` would only write again, else None.

    ``inputs`` of "" are unknown ones, which nothing matches. ``verified``: only a package that
    passed its verification will do.
    """
    manifest = read_manifest(folder)
    if manifest is None or not inputs or manifest.inputs != inputs:
        return None
    if verified and (manifest.report is None or not manifest.report.passed):
        return None
    return manifest if intact(folder, manifest) else None


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file's content."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
