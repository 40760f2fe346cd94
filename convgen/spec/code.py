"""One rule of the front end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One rule: ``number`` is ``E###``; ``fix`` shows what a spec that keeps the rule says."""

    number: str
    title: str
    rule: str
    fix: str
