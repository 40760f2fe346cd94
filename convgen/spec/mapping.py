"""Python mappings -> ``Tree``: the same values as YAML gives, without line numbers."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import Any

from convgen.spec.schedule import Schedule
from convgen.spec.tree import MAX_DEPTH, Path, Report, Spot, Tree, Unread, dotted

_ARRAYS = (("weights", "w"), ("weights", "b"))  # stay arrays: megabytes make poor lists


def read_mapping(data: Mapping[str, Any], source: str) -> tuple[Tree, Report]:
    """The tree of a Python mapping. NumPy scalars and arrays, tuples and paths are taken;
    ``weights`` may hold arrays, or whatever turns into one.

    Raises ``SpecError`` when ``data`` is no mapping.
    """
    reader = _Reader(source)
    if not isinstance(data, Mapping):
        text = f"a spec is a mapping of keys to values, not {type(data).__name__}"
        reader.report.add((), "E007", text)
        reader.report.raise_if_any()
    reader.tree.value.update(reader.plain(data, (), 1))
    return reader.tree, reader.report


class _Reader:
    def __init__(self, source: str) -> None:
        self.values: dict[Path, Spot] = {}
        self.tree = Tree(source, {}, self.values, {})
        self.report = Report(self.tree)

    def plain(self, value: object, path: Path, depth: int) -> Any:
        """``value`` as YAML would give it: dict, list, str, int, float, bool or None."""
        self.values[path] = Spot(len(self.values))
        if path[-2:] in _ARRAYS and hasattr(value, "__array__"):
            return value
        value = _builtin(value)
        if not isinstance(value, (Mapping, list, tuple)):
            return value
        if depth > MAX_DEPTH:
            self.report.add(path, "E008", f"lists and maps nest at most {MAX_DEPTH} deep")
            return Unread.VALUE
        if isinstance(value, Mapping):
            return self._map(value, path, depth)
        return [self.plain(item, (*path, at), depth + 1) for at, item in enumerate(value)]

    def _map(self, value: Mapping[Any, Any], path: Path, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for key, item in value.items():
            if not (isinstance(key, str) and key and key.isprintable()):
                where = f"in {dotted(path)}, " if path else ""
                text = f"{where}a key must be a word, not {type(key).__name__}"
                self.report.add(path, "E013", text, key=True)
                continue
            items[str(key)] = self.plain(item, (*path, key), depth + 1)
        return items


def _builtin(value: object) -> object:
    """NumPy's scalars and arrays, paths, enums and schedules as Python's own kinds."""
    match value:
        case bool() | None:
            return value
        case Schedule():
            return value.to_mapping()
        case str():
            return str(value)
        case os.PathLike():
            return os.fspath(value)
        case numbers.Integral():
            return int(value)
        case numbers.Real():
            return float(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()  # numpy.bool, arrays of any rank
    return value
