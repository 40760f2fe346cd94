"""A spec as plain values that know where they stand, and the report of what is wrong with it.

YAML text (``nodes``) and Python dicts (``mapping``) both become a ``Tree``; everything after
that is the same for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from convgen.errors import Diagnostic, SpecError
from convgen.spec.codes import CODES
from convgen.spec.model import Place

if TYPE_CHECKING:
    from yaml import Mark

Path = tuple[str | int, ...]

MAX_DEPTH = 8
MOST_MISTAKES = 1000  # 64 KiB can hold ten thousands, and each is told with its line


class Unread(Enum):
    """Stands for a value that was refused already: later checks pass over it in silence."""

    VALUE = "unread"


def holds_unread(value: object) -> bool:
    """Is any part of ``value`` refused already? Depth is bounded by ``MAX_DEPTH``."""
    match value:
        case dict():
            return any(holds_unread(v) for v in value.values())
        case list():
            return any(holds_unread(v) for v in value)
        case _:
            return value is Unread.VALUE


@dataclass(frozen=True)
class Spot:
    """Where something stands: ``order`` sorts a file's spots; a mapping's spots have no mark."""

    order: int
    mark: Mark | None = None

    def place(self) -> Place:
        if self.mark is None:
            return Place()
        # Tabs and controls become blanks: the caret stands below its column, a terminal is safe.
        snippet = self.mark.get_snippet(indent=4, max_length=160) or ""
        snippet = "".join(c if c.isprintable() or c == "\n" else " " for c in snippet)
        blank = not snippet.partition("\n")[0].strip()
        return Place(self.mark.line + 1, self.mark.column + 1, "" if blank else snippet)


@dataclass(frozen=True)
class Tree:
    """Values of a document and the spots of its keys and values, by path from the top."""

    source: str
    value: dict[str, Any]
    values: Mapping[Path, Spot]
    keys: Mapping[Path, Spot]

    def at(self, path: Path) -> object:
        """The value at ``path``, which must be there."""
        value: Any = self.value
        for part in path:
            value = value[part]
        return value

    def spot(self, path: Path, *, key: bool = False) -> Spot:
        """The spot of the value (or key) at ``path``, or of the nearest value around it."""
        if key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, Spot(0))


def dotted(path: Path) -> str:
    """``("layers", 1, "kernel", 0)`` as ``layers[1].kernel[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass
class Report:
    """Collects the mistakes of one document and hands them out in file order."""

    tree: Tree
    found: dict[Diagnostic, int] = field(default_factory=dict)  # with its order in the file

    def add(self, path: Path, code: str, text: str, *, key: bool = False) -> None:
        """Note that the value at ``path`` (or its key) breaks rule ``code``.

        A value's message opens with its path; a key's does so only where there is no line to show.
        """
        spot = self.tree.spot(path, key=key)
        named = path if not key else () if spot.mark else path[:-1]
        self.add_at(spot, code, f"{dotted(named)}: {text}" if named else text)

    def add_at(self, spot: Spot, code: str, message: str) -> None:
        """Note a mistake by its spot. Raises ``SpecError`` when there are too many for a person."""
        assert code in CODES, code
        place = spot.place()
        source = self.tree.source
        enough = len(self.found) + 1 >= MOST_MISTAKES
        message += f"; reading stops here, after {MOST_MISTAKES} mistakes" * enough
        diagnostic = Diagnostic(source, place.line, place.col, code, message, place.snippet)
        self.found.setdefault(diagnostic, spot.order)  # a default's mistake shows in every layer
        if enough:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raises ``SpecError`` with everything found, in file order."""
        if self.found:
            raise SpecError(sorted(self.found, key=self.found.__getitem__))
