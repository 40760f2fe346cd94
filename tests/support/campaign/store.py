"""What a campaign has tried: one row a case, in SQLite, so that it goes on after any kill."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from campaign.trial import Outcome

SCHEMA = """
CREATE TABLE IF NOT EXISTS tried (
  code TEXT, seed INTEGER, number INTEGER,
  family TEXT, target TEXT, dtype TEXT, body TEXT, compiler TEXT,
  failed TEXT, detail TEXT, seconds REAL,
  PRIMARY KEY (code, seed, number)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Campaign:
    """``code``: digest of convgen and of the grid: other code has tried nothing yet."""

    code: str
    seed: int


class Store:
    """The rows of one campaign in a file that several processes write to."""

    def __init__(self, path: Path, campaign: Campaign) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(SCHEMA)
        self._key = (campaign.code, campaign.seed)

    def close(self) -> None:
        self._db.close()

    def tried(self) -> set[int]:
        rows = self._db.execute("SELECT number FROM tried WHERE (code, seed) = (?, ?)", self._key)
        return {number for (number,) in rows}

    def times(self) -> dict[int, float]:
        """Seconds that each layer took."""
        text = "SELECT number, seconds FROM tried WHERE (code, seed) = (?, ?)"
        return dict(self._db.execute(text, self._key))

    def failures(self) -> list[tuple[int, str, str]]:
        """(number, check, detail), by number."""
        text = "SELECT number, failed, detail FROM tried WHERE (code, seed) = (?, ?)"
        return self._db.execute(f"{text} AND failed != '' ORDER BY number", self._key).fetchall()

    def table(self, column: str) -> list[tuple[str, int]]:
        """How many layers were tried of each value of a column."""
        assert column in ("family", "target", "dtype", "body", "compiler")
        text = f"SELECT {column}, count(*) FROM tried WHERE (code, seed) = (?, ?)"
        return self._db.execute(f"{text} GROUP BY 1 ORDER BY 2 DESC", self._key).fetchall()

    def add(self, outcomes: Iterable[Outcome], seconds: float) -> None:
        """``seconds``: what each of them took."""
        rows = [
            (
                *self._key, o.case.number, str(o.case.schedule.family), o.case.target,
                str(o.case.spec.dtype), o.case.part, f"{o.case.cc} {o.case.flag}",
                o.check, o.detail, seconds,
            )
            for o in outcomes
        ]  # fmt: skip
        marks = ", ".join("?" * 11)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(f"INSERT OR REPLACE INTO tried VALUES ({marks})", rows)
        self._db.execute("COMMIT")
