"""What was measured and what won, in one SQLite file of the user's data folder.

Every change is one transaction: a reader sees all of it or nothing, a kill leaves what was there
before, and several processes take turns.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

from convgen import __version__
from convgen.errors import ConvgenError, UsageError
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Schedule
from convgen.target import Target
from convgen.toolchain import Compiler
from convgen.tune.task import NAME

WAIT = 60.0  # seconds for another process's transaction
FORMAT = 1
_TABLES = """
CREATE TABLE keys (
  id INTEGER PRIMARY KEY, spec TEXT NOT NULL, cpu TEXT NOT NULL, compiler TEXT NOT NULL,
  target TEXT NOT NULL, generator TEXT NOT NULL,
  UNIQUE (spec, cpu, compiler, target, generator));
CREATE TABLE samples (
  key INTEGER NOT NULL, mode TEXT NOT NULL, code TEXT NOT NULL, pass INTEGER NOT NULL,
  microseconds REAL NOT NULL);
CREATE INDEX samples_by_key ON samples (key, mode);
CREATE TABLE winners (key INTEGER PRIMARY KEY, facts TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Key:
    """What a result holds for. ``spec``: digest of the layer without its name; ``cpu``:
    ``target.host.cpu_identity``; ``compiler``: its id; ``generator``: convgen's version."""

    spec: str
    cpu: str
    compiler: str
    target: str
    generator: str


@dataclass(frozen=True)
class Sample:
    """Microseconds per call of a kernel, by the digest of its C, in one pass."""

    code: str
    number: int
    microseconds: float


@dataclass(frozen=True)
class Winner:
    """The schedule to use for a key. ``chosen``: the chooser's pick, for comparison.

    ``mode``: ``warm`` or ``cold`` weights. ``name``: what the layer was called, for readers only.
    ``at``: when it was settled, UTC in ISO 8601; the later of two winners stands.
    """

    name: str
    schedule: Schedule
    microseconds: float
    chosen: Schedule
    chosen_microseconds: float | None
    mode: str
    candidates: int
    at: str

    def to_mapping(self) -> dict[str, Any]:
        schedules = {key: getattr(self, key).to_mapping() for key in ("schedule", "chosen")}
        return asdict(self) | schedules

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Winner:
        """Raises ``KeyError``, ``TypeError``, ``ValueError`` or ``ScheduleError``."""
        chosen = data["chosen_microseconds"]
        return cls(
            name=str(data["name"]),
            schedule=Schedule.from_mapping(data["schedule"]),
            microseconds=float(data["microseconds"]),
            chosen=Schedule.from_mapping(data["chosen"]),
            chosen_microseconds=None if chosen is None else float(chosen),
            mode=str(data["mode"]),
            candidates=int(data["candidates"]),
            at=str(data["at"]),
        )


def default_store_path() -> Path:
    """``tuned.sqlite`` in the user's data folder for convgen; the file that ``CONVGEN_STORE``
    names, where it does."""
    if place := os.environ.get("CONVGEN_STORE"):
        return Path(place)
    import platformdirs

    return Path(platformdirs.user_data_dir("convgen", appauthor=False)) / "tuned.sqlite"


def key_of(spec: ConvSpec, target: Target, compiler: Compiler) -> Key:
    """The key of a layer on this machine."""
    from convgen.target.host import cpu_identity

    digest = hashlib.sha256(repr(replace(spec, name=NAME)).encode()).hexdigest()[:32]
    return Key(digest, cpu_identity(), compiler.id, target.name, __version__)


class Store:
    """An open database at ``path``, made if it is not there; a context manager.

    Every method raises ``UsageError`` when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path.parent}: cannot be made ({error.strerror})") from error
        with self._refused():
            self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def samples(self, key: Key, mode: str) -> dict[str, dict[int, list[float]]]:
        """Microseconds by the digest of the C and by pass, in the order they were measured."""
        found: dict[str, dict[int, list[float]]] = {}
        with self._refused():
            rows = self._db.execute(
                "SELECT code, pass, microseconds FROM samples JOIN keys ON keys.id = samples.key "
                f"WHERE {_MATCH} AND mode = ? ORDER BY samples.rowid",
                (*astuple(key), mode),
            ).fetchall()
        for code, number, microseconds in rows:
            found.setdefault(code, {}).setdefault(number, []).append(microseconds)
        return found

    def add(self, key: Key, mode: str, samples: Iterable[Sample]) -> None:
        """Keep measurements."""
        with self._change():
            number = self._number(key)
            self._db.executemany(
                "INSERT INTO samples VALUES (?, ?, ?, ?, ?)",
                [(number, mode, s.code, s.number, s.microseconds) for s in samples],
            )

    def forget(self, key: Key, mode: str) -> None:
        """Drop the measurements of a key; its winner stays until another is settled."""
        with self._change():
            self._db.execute(
                "DELETE FROM samples WHERE key = ? AND mode = ?", (self._number(key), mode)
            )

    def settle(self, key: Key, winner: Winner) -> None:
        """Make this the winner of its key."""
        with self._change():
            self._settle(key, winner)

    def winner(self, key: Key) -> Winner | None:
        """The winner of this key, or None."""
        with self._refused():
            row = self._db.execute(
                f"SELECT facts FROM winners JOIN keys ON keys.id = winners.key WHERE {_MATCH}",
                astuple(key),
            ).fetchone()
        return None if row is None else Winner.from_mapping(json.loads(row[0]))

    def export_lines(self) -> list[str]:
        """Every winner with its key, one JSON object a line, in a fixed order."""
        with self._refused():
            rows = self._db.execute(
                "SELECT spec, cpu, compiler, target, generator, facts "
                "FROM winners JOIN keys ON keys.id = winners.key ORDER BY 1, 2, 3, 4, 5"
            ).fetchall()
        return [
            json.dumps({"format": FORMAT, **asdict(Key(*key)), **json.loads(facts)}, sort_keys=True)
            for *key, facts in rows
        ]

    def import_lines(self, lines: Iterable[str], source: str) -> int:
        """Take over exported winners, all or none; how many were newer than what is here.

        Raises ``UsageError`` with the line of the first that is not one.
        """
        read = [
            _read(line, f"{source}:{number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
        count = 0
        with self._change():
            for key, winner in read:
                here = self.winner(key)
                if here is None or here.at < winner.at:
                    self._settle(key, winner)
                    count += 1
        return count

    def _settle(self, key: Key, winner: Winner) -> None:
        facts = json.dumps(winner.to_mapping(), sort_keys=True)
        self._db.execute("INSERT OR REPLACE INTO winners VALUES (?, ?)", (self._number(key), facts))

    def _number(self, key: Key) -> int:
        """The row of a key, made if it is new; inside a change only."""
        names = "spec, cpu, compiler, target, generator"
        self._db.execute(
            f"INSERT OR IGNORE INTO keys ({names}) VALUES (?, ?, ?, ?, ?)", astuple(key)
        )
        row = self._db.execute(f"SELECT id FROM keys WHERE {_MATCH}", astuple(key)).fetchone()
        return int(row[0])

    def _open(self) -> None:
        with self._change():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES.strip().split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {FORMAT}")
        if version not in (0, FORMAT):
            raise UsageError(
                f"{self.path}: written by another version of convgen (format {version}); move it "
                "away to tune anew"
            )

    @contextmanager
    def _change(self) -> Iterator[None]:
        """One transaction; the write lock is taken first, so that no two readers wait in a ring."""
        with self._refused():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise UsageError(
                f"{self.path}: the store of tuned schedules cannot be used ({error}); if it is "
                "damaged, move it away to tune anew"
            ) from error


_MATCH = "spec = ? AND cpu = ? AND compiler = ? AND target = ? AND generator = ?"


def _read(line: str, place: str) -> tuple[Key, Winner]:
    try:
        data = json.loads(line)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']}")
        names = ("spec", "cpu", "compiler", "target", "generator")
        return Key(*(str(data[name]) for name in names)), Winner.from_mapping(data)
    except (ValueError, KeyError, TypeError, ConvgenError) as error:
        raise UsageError(
            f"{place}: not a line of convgen tune --export ({error}); nothing was imported"
        ) from None
