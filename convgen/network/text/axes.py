"""Axes of a layer's input, as its keys mean them; and how a builder stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convgen.network.text.entries import Entry

if TYPE_CHECKING:
    from convgen.network.text.derive import Derivation

Outputs = tuple[str | None, ...] | None


class RefusedError(Exception):
    """The layer has a mistake that is told already."""


def channel_axis(d: Derivation, entry: Entry, x: str) -> int:
    """Of an image the channels', else the last axis."""
    return len(d.shape(x)) - 1 if d.channels_last(entry) or len(d.shape(x)) < 3 else 1


def broadcast(d: Derivation, entry: Entry, key: str, rank: int, default: int) -> tuple[int, ...]:
    """One number for every axis, or one for each."""
    value = entry.get(key, default)
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        d.refuse(entry, "E117", f"{len(value)} entries for {rank} spatial axes; give {rank}", key)
        raise RefusedError
    return tuple(value)
