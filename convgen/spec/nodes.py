"""YAML text -> ``Tree``, from PyYAML's event stream: no object is built before it is looked at.

Refused on the way, each with its place: anchors, aliases, merge keys, tags, duplicate keys,
nesting over 8, several documents, texts over 64 KiB.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.reader import ReaderError

from convgen.errors import Diagnostic, SpecError
from convgen.spec.codes import CODES
from convgen.spec.scalars import MAX_DIGITS, TooLongError, read_plain, show
from convgen.spec.tree import MAX_DEPTH, Path, Report, Spot, Tree, Unread

MAX_BYTES = 64 * 1024
MAX_NETWORK_BYTES = 1024 * 1024
MERGE = "<<"

_NETWORK = re.compile(r"^[\"']?network[\"']?[ \t]*:", re.MULTILINE)
_LONG_SCALES = re.compile(r"scale:\s*(?:\[|-\s)")
_EMPTY = "the spec is empty: `convgen init` writes a starter"
_NO_ALIAS = "a few lines of anchors and aliases can describe gigabytes; write the value out"
_HINTS = (
    ("'\\t'", "indent with spaces, not tabs"),
    ("mapping values are not allowed", "one `key: value` a line; quote a text that holds `: `"),
    ("could not find expected ':'", "write `key: value`, with a blank after the colon"),
    ("expected ',' or", "close the bracket, and put a comma between entries"),
    ("quoted scalar", "close the quotes"),
    ("expected <block end>", "align the keys of one map in one column"),
    ("unexpected end of stream", "the text stops too early: close the bracket or quotes"),
)


def read_yaml(text: str, source: str) -> tuple[Tree, Report]:
    """The tree of one YAML document, and a report that already holds what was refused.

    Raises ``SpecError`` when nothing can be made of the text: too large, not YAML, empty, several
    documents, not a map, nested too deep.
    """
    most = MAX_NETWORK_BYTES if is_network(text) else MAX_BYTES
    if len(text.encode("utf-8", "surrogatepass")) > most:
        raise SpecError([_nowhere(source, "E002", too_large(text))])
    return _Reader(source, text).document()


def too_large(text: str) -> str:
    """Why ``text`` is refused; long lists of scales are what most often makes a spec so large."""
    if is_network(text):
        most = MAX_NETWORK_BYTES
        return f"the network is over 1 MiB ({most} bytes): keep scales and constants in its .npz"
    how = "split its layers over several files"
    if _LONG_SCALES.search(text):
        how = "keep the scales in a file, `scale: scales.npz#w`, or split its layers"
    return f"the spec is over 64 KiB ({MAX_BYTES} bytes): {how}"


def is_network(text: str) -> bool:
    """Does the text hold a network, with the key ``network`` at its top level?"""
    return _NETWORK.search(text) is not None


def _spot(mark: object) -> Spot:
    return Spot(mark.index, mark) if isinstance(mark, yaml.Mark) else Spot(0)


def spot_at(text: str, index: int) -> Spot:
    """The spot of a character of ``text``."""
    line, start = text.count("\n", 0, index), text.rfind("\n", 0, index) + 1
    return Spot(index, yaml.Mark("", index, line, index - start, text + "\0", index))


def decoded(data: bytes, source: str) -> str:
    """The text of a spec's bytes. Raises ``SpecError`` at the first byte that is not UTF-8."""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = len(data[: error.start].decode("utf-8"))
        place = spot_at(data.decode("utf-8", "replace"), at).place()
        why = f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"
        found = Diagnostic(source, place.line, place.col, "E003", why, place.snippet)
        raise SpecError([found]) from None


def _nowhere(source: str, code: str, text: str) -> Diagnostic:
    assert code in CODES, code
    return Diagnostic(source, 0, 0, code, text)


class _StopError(Exception):
    """The rest of the text is not worth reading; the report says why."""


class _Reader:
    """One pass over the events. Recursion is bounded by ``MAX_DEPTH``."""

    def __init__(self, source: str, text: str) -> None:
        self.values: dict[Path, Spot] = {}
        self.keys: dict[Path, Spot] = {}
        self.tree = Tree(source, {}, self.values, self.keys)
        self.report = Report(self.tree)
        self.text = text
        self.aliases: set[str] = set()
        self.muted = False  # inside a value whose key was refused
        self.loader: yaml.SafeLoader | None = None
        self.events: Iterator[Any] = iter(())

    def document(self) -> tuple[Tree, Report]:
        try:
            self.loader = yaml.SafeLoader(self.text)
            self.events = iter(self.loader.get_event, None)
            self._top()
        except _StopError:
            self.report.raise_if_any()
        except yaml.MarkedYAMLError as error:
            spot = _spot(error.problem_mark or error.context_mark)
            self._syntax(error.problem or error.context or "", spot)
        except ReaderError as error:
            character = ord(self.text[error.position])
            self._syntax(
                f"character U+{character:04X} is not allowed", spot_at(self.text, error.position)
            )
        except (ValueError, OverflowError):  # PyYAML's chr() and int() of absurd escapes
            self._syntax("an escape or a version number is out of range", self._now())
        return self.tree, self.report

    def _syntax(self, problem: str, spot: Spot) -> None:
        hint = next((h for found, h in _HINTS if found in problem), "")
        if spot.mark and spot.mark.index >= len(self.text.rstrip()):  # past the last word: show it
            spot = spot_at(self.text, len(self.text.rstrip()))
        text = f"this is not YAML: {problem}{'; ' + hint if hint else ''}"
        self.report.add_at(spot, "E004", text)
        self.report.raise_if_any()

    def _refuse(self, event: yaml.Event, code: str, text: str) -> None:
        if not self.muted or code == "E008":  # E008 stops the reading, so it must be told
            self.report.add_at(_spot(event.start_mark), code, text)

    def _now(self) -> Spot:
        return _spot(self.loader.get_mark()) if self.loader else Spot(0)

    def _top(self) -> None:
        next(self.events)  # stream start
        start = next(self.events)
        if not isinstance(start, yaml.DocumentStartEvent):
            self.report.add_at(Spot(0), "E005", _EMPTY)
            raise _StopError
        event = next(self.events)
        self.values[()] = _spot(event.start_mark)
        if isinstance(event, yaml.ScalarEvent) and not event.value:
            self._refuse(event, "E005", _EMPTY)
            raise _StopError
        if not isinstance(event, yaml.MappingStartEvent):
            text = "the top level must be a map of keys to values, such as `input: 32x32x3`"
            self._refuse(event, "E007", text)
            raise _StopError
        self._plain(event)
        self.tree.value.update(self._map((), 1))
        next(self.events)  # document end
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            text = (
                "a second document starts here: a spec is one document; use `layers:` or two files"
            )
            self._refuse(event, "E006", text)
            raise _StopError

    def _value(self, event: yaml.Event, path: Path, depth: int) -> Any:
        self.values[path] = _spot(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            assert event.anchor
            if event.anchor not in self.aliases:  # a bomb has thousands; one of a name will do
                self.aliases.add(event.anchor)
                self._refuse(event, "E009", f"alias `*{event.anchor}`: {_NO_ALIAS}")
            return Unread.VALUE
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event) if self._plain(event) else Unread.VALUE
        if depth > MAX_DEPTH:
            text = f"lists and maps nest at most {MAX_DEPTH} deep, this is one more"
            self._refuse(event, "E008", text)
            raise _StopError
        assert isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent))
        plain = self._plain(event)
        is_map = isinstance(event, yaml.MappingStartEvent)
        value = self._map(path, depth) if is_map else self._list(path, depth)
        return value if plain else Unread.VALUE

    def _plain(self, event: yaml.NodeEvent) -> bool:
        """Refuse anchors and tags. False when a tag makes the value another than it looks."""
        tag = getattr(event, "tag", None)
        if event.anchor:
            self._refuse(event, "E009", f"anchor `&{event.anchor}`: {_NO_ALIAS}")
        if tag:
            shown = show(tag.replace("tag:yaml.org,2002:", "!!"))
            text = f"tag {shown}: a value's kind follows from its key; remove the tag"
            self._refuse(event, "E011", text)
        return not tag

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.style:  # quoted, or a block of text
            return event.value
        try:
            return read_plain(event.value)
        except TooLongError:
            text = f"a number of {len(event.value)} characters: at most {MAX_DIGITS} are read"
            self._refuse(event, "E014", text)
            return Unread.VALUE

    def _list(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items)), depth + 1))
        return items

    def _map(self, path: Path, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path, depth)
            if key == MERGE:
                items[MERGE] = Unread.VALUE
                self._skip(depth)
                continue
            if key is None or key in items:
                if key is not None:
                    first = self.keys[(*path, key)].place().line
                    text = f"`{key}` is already given on line {first}: remove one of the two"
                    self._refuse(event, "E012", text)
                self._skip(depth)
                continue
            self.keys[(*path, key)] = _spot(event.start_mark)
            items[key] = self._value(next(self.events), (*path, key), depth + 1)
        return items

    def _key(self, event: yaml.Event, path: Path, depth: int) -> str | None:
        """The key's text, or None when it was refused."""
        if isinstance(event, yaml.ScalarEvent):
            self._plain(event)
            if event.value == MERGE and not event.style:
                text = "merge keys are refused: put shared keys at the top, beside `layers:`"
                self._refuse(event, "E010", text)
                return MERGE
            if event.value.isprintable() and event.value:
                return event.value
            self._refuse(event, "E013", "a key must be a word, this one is not")
            return None
        self._refuse(event, "E013", "a key must be a word, not a list, map or alias")
        if not isinstance(event, yaml.AliasEvent):
            self._drop(event, (*path, "?"), depth + 1)
        return None

    def _skip(self, depth: int) -> None:
        """Pass over the value of a refused key; what is wrong inside it is not told as well."""
        self._drop(next(self.events), ("?",), depth + 1)

    def _drop(self, event: yaml.Event, path: Path, depth: int) -> None:
        outer, self.muted = self.muted, True
        self._value(event, path, depth)
        self.muted = outer
