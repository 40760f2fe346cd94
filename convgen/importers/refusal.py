"""What an importer cannot take, as values first and as one error in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from convgen.errors import Diagnostic, SpecError
from convgen.importers.codes import CODES

TEXT_LIMIT = 200  # characters of a name from a file that a message shows


@dataclass(frozen=True)
class Refused:
    """One node that cannot be taken: its name, its operator, why not, and what can be done."""

    code: str
    node: str
    op: str
    reason: str
    advice: str

    def __str__(self) -> str:
        return f"{self.op} {shown(self.node)}: {self.reason}; {self.advice}"


class Refusal(Exception):
    """Raised while one node is translated; ``translate`` collects them. Not for users."""

    def __init__(self, code: str, reason: str, advice: str) -> None:
        assert code in CODES, code
        super().__init__(reason)
        self.code, self.reason, self.advice = code, reason, advice


class ModelError(SpecError):
    """A model file that cannot be read, or nodes of it that cannot be taken: every one found.

    ``refused``: the nodes, where it is about nodes.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], refused: Iterable[Refused] = ()) -> None:
        super().__init__(tuple(diagnostics))
        self.refused = tuple(refused)


def model_error(source: str, code: str, message: str) -> ModelError:
    """One mistake about the whole file ``source``."""
    assert code in CODES, code
    return ModelError([Diagnostic(source, 0, 0, code, message)])


def refused_error(source: str, refused: Iterable[Refused]) -> ModelError:
    """Every node that cannot be taken, at once."""
    nodes = tuple(refused)
    return ModelError([Diagnostic(source, 0, 0, r.code, str(r)) for r in nodes], nodes)


def shown(name: str) -> str:
    """A name out of a file as text for people: quoted, control characters escaped, not endless."""
    cut = name if len(name) <= TEXT_LIMIT else name[: TEXT_LIMIT - 1] + "…"
    return "'" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut) + "'"
