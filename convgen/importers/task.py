"""What is asked of the process that reads a model file, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from convgen.errors import Diagnostic
from convgen.importers.refusal import Refused
from convgen.importers.translate import Row

ANSWER = "answer.json"


@dataclass(frozen=True)
class Task:
    """``path``: the model file. ``format``: a word of ``kinds.Format``. ``shapes``: of inputs, by
    name. ``folder``: where the answer goes. ``memory``: bytes, ``seconds``: bounds of the child."""

    path: str
    format: str
    name: str
    folder: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cut: str | None = None
    memory: int = 0
    seconds: float = 0.0

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def parsed(text: str) -> Task:
        found = json.loads(text)
        shapes = {name: tuple(sizes) for name, sizes in found.pop("shapes").items()}
        return Task(shapes=shapes, **found)


@dataclass(frozen=True)
class Answer:
    """``errors``: empty when the graph lies beside the answer."""

    errors: tuple[Diagnostic, ...] = ()
    refused: tuple[Refused, ...] = ()
    rows: tuple[Row, ...] = ()

    def write(self, folder: Path) -> None:
        (folder / ANSWER).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def read(folder: Path) -> Answer:
        found = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
        return Answer(
            tuple(Diagnostic(**d) for d in found["errors"]),
            tuple(Refused(**r) for r in found["refused"]),
            tuple(Row(**r) for r in found["rows"]),
        )
