"""The list of a network's layers as entries: an operator's word, a name, its inputs, its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from convgen.network.text.keys import CANONICAL, COMMON, KINDS, Kind, Read
from convgen.spec.fields import tell
from convgen.spec.reading import Mistake, Mistakes
from convgen.spec.scalars import show
from convgen.spec.tree import Path, Report, Unread, holds_unread

_HOW = "write `- softmax`, or `- conv: {k: 8, f: 3}`"
# What other frameworks call them.
_OTHER_NAMES: Mapping[str, str] = {
    "avg_pool": "avgpool",
    "batch_norm": "norm: batch",
    "batchnorm": "norm: batch",
    "conv2d": "conv",
    "convolution": "conv",
    "conv_transpose": "transposed",
    "deconv": "transposed",
    "fc": "dense",
    "fully_connected": "dense",
    "gemm": "dense",
    "global_avgpool": "avgpool: global",
    "hard_swish": "hardswish",
    "layer_norm": "norm: layer",
    "linear": "dense",
    "lrn": "norm: local_response",
    "max_pool": "maxpool",
    "mean": "reduce",
    "permute": "transpose",
    "pixel_shuffle": "depth_to_space",
    "sum": "add",
    "swish": "silu",
    "upsample": "resize",
}


@dataclass(frozen=True)
class Entry:
    """One layer. ``values``: its keys, read; ``written``: canonical key -> as the file spells it.

    ``path``: of the entry; ``body``: of its map. ``good``: whether every key could be read.
    ``kind`` is empty where the operator is not known. A value that is no map (``avgpool: global``)
    stands in ``values`` under the key that takes it.
    """

    kind: str
    path: Path
    body: Path
    values: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    good: bool = True

    def at(self, *keys: str) -> Path:
        """The place of the first of these keys that is written, else of the entry."""
        for key in keys:
            if key in self.written:
                return (*self.body, self.written[key]) if self.written[key] else self.body
        return self.path

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)


def read_entries(value: object, report: Report) -> list[Entry]:
    """Every layer of the list ``layers``."""
    if value is Unread.VALUE:
        return []
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else show(value)
        report.add(("layers",), "E140", f"{what} holds no layer; {_HOW}")
        return []
    found = []
    for at, item in enumerate(value):
        found.append(_entry(item, ("layers", at), report))
    return found


def _entry(item: object, path: Path, report: Report) -> Entry:
    if item is Unread.VALUE:
        return Entry("", path, path, good=False)
    if isinstance(item, str):
        return _of_kind(item, {}, path, path, report)
    if not isinstance(item, dict) or len(item) != 1:
        what = f"a map of {len(item)} keys" if isinstance(item, dict) else show(item)
        report.add(path, "E502", f"{what} is no layer of a network; {_HOW}")
        return Entry("", path, path, good=False)
    ((kind, value),) = item.items()
    return _of_kind(kind, value, path, (*path, kind), report)


def _of_kind(word: str, value: object, path: Path, body: Path, report: Report) -> Entry:
    kind = KINDS.get(word)
    if kind is None:
        other = _OTHER_NAMES.get(word.lower())
        close = get_close_matches(word[:64].lower(), KINDS, 1)
        hint = f"did you mean `{other or close[0]}`?" if other or close else _listed()
        report.add(body, "E501", f"unknown operator {show(word)}: {hint}", key=body != path)
        name = value.get("name") if isinstance(value, dict) else None
        return Entry("", path, body, {"name": name} if isinstance(name, str) else {}, good=False)
    if value is Unread.VALUE:
        return Entry(word, path, body, good=False)
    if not isinstance(value, dict):
        return _bare(word, kind, value, path, body, report)
    return _mapped(word, kind, value, path, body, report)


def _listed() -> str:
    return f"the operators are {', '.join(KINDS)}"


def _bare(word: str, kind: Kind, value: object, path: Path, body: Path, report: Report) -> Entry:
    """``avgpool: global``, ``dense: 10``, or an empty value: ``- softmax:``."""
    if value is None:
        return _mapped(word, kind, {}, path, body, report)
    if word in ("maxpool", "avgpool") and value == "global":
        return Entry(word, path, body, {"global": True}, {"global": ""})
    if not kind.bare:
        text = (
            f"{show(value)} says nothing to {word}: write a map of keys, such as {{of: previous}}"
        )
        report.add(body, "E502", text)
        return Entry(word, path, body, good=False)
    found, good = read_values(
        {kind.bare: value},
        {kind.bare: kind.keys.get(kind.bare, COMMON.get(kind.bare))},
        lambda _: body,
        report,
    )
    return Entry(word, path, body, found, {kind.bare: ""}, good)


def _mapped(
    word: str, kind: Kind, value: Mapping[str, Any], path: Path, body: Path, report: Report
) -> Entry:
    known = {**COMMON, **kind.keys}
    written: dict[str, str] = {}
    given: dict[str, Any] = {}
    good = True
    for key, entry in value.items():
        canonical = CANONICAL.get(key, key)
        if canonical == "padding" and "padding" not in known and key in known:
            canonical = key
        if canonical not in known:
            _unknown(word, key, known, (*body, key), report)
            good = False
        elif canonical in written:
            text = f"`{key}` and `{written[canonical]}` are the same key: keep one of them"
            report.add((*body, key), "E102", text, key=True)
            good = False
        else:
            written[canonical] = key
            if holds_unread(entry):
                good = False
            else:
                given[canonical] = entry
    found, fine = read_values(given, known, lambda key: (*body, written[key]), report)
    for key, example in kind.needed.items():
        if key not in written and good:
            report.add(path, "E103", f"{word} needs `{key}`: add {example}")
            fine = False
    return Entry(word, path, body, found, written, good and fine)


def _unknown(word: str, key: str, known: Mapping[str, Any], path: Path, report: Report) -> None:
    names = [*known, *(a for a, c in CANONICAL.items() if c in known)]
    top = {"input", "batch"} & {key}
    close = get_close_matches(key[:64].lower(), names, 1)
    hint = f"the keys of {word} are {', '.join(known)}"
    if close:
        hint = f"did you mean `{close[0]}`?"
    elif top:
        hint = "sizes follow from the layers before; it stands at the top, beside `network`"
    report.add(path, "E101", f"unknown key {show(key)}: {hint}", key=True)


def read_values(
    given: Mapping[str, Any], known: Mapping[str, Read | None], place: Any, report: Report
) -> tuple[dict[str, Any], bool]:
    """Every value by its reader; what is wrong goes to ``report``."""
    found, good = {}, True
    for key, value in given.items():
        read = known[key]
        assert read is not None, key
        try:
            found[key] = read(value)
        except Mistake as error:
            report.add(place(key), error.code, error.text)
            good = False
        except Mistakes as error:
            good = False
            for inside, mistake in error.found:
                tell(mistake.code, mistake.text, (*place(key), *inside), False, report)
    return found, good
