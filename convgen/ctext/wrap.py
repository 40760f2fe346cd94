"""Long lines of C, broken where a person would break them.

Names at file scope carry the layer's name, whose length a template cannot know; so the text is
brought within ``WIDTH`` columns once, behind all templates. Only white space changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

WIDTH = 100
_BREAKS = (", ", " = ", " ? ", " : ", " && ", " || ", " + ", " - ", " * ", ") ")
_TELLING = re.compile(r'[", ()\[\]{}]')  # every break begins with one, and brackets count
_REMARK = re.compile(r"^(\s*)(\S.*?)\s*(/\* .* \*/)$")
_NUMBERS = re.compile(r"[-+0-9a-fA-FxXpPeE., ]+")


def wrapped(text: str) -> str:
    """The text with every line within ``WIDTH`` columns, where its names let it be."""
    lines = text.split("\n")
    if all(len(line) <= WIDTH for line in lines):
        return text
    found: list[str] = []
    directive = False
    for line in lines:
        directive = line.startswith("#") or (directive and found[-1].endswith("\\"))
        found += _statement(line, " \\") if directive else _fitted(line)
    return "\n".join(found)


def _fitted(line: str) -> Iterator[str]:
    if len(line) <= WIDTH or line.lstrip().startswith("*"):
        yield line
        return
    remark = _REMARK.match(line)
    if remark:  # a remark behind a statement goes before it
        indent, code, words = remark.groups()
        yield from _comment(indent, words)
        yield from _fitted(indent + code)
    elif line.lstrip().startswith("/*"):
        yield from _comment(line[: len(line) - len(line.lstrip())], line.strip())
    else:
        yield from _statement(line)


def _statement(line: str, end: str = "") -> Iterator[str]:
    """``end``: what a line that goes on ends with; a directive goes on behind a backslash."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > WIDTH:
        place = _place(line, WIDTH - len(end))
        if place is None:
            break
        yield line[:place].rstrip() + end
        line = indent + line[place:].lstrip()
    yield line


def _place(line: str, width: int) -> int | None:
    """Where to break: the outermost place that fits, the last of those."""
    start = len(line) - len(line.lstrip())
    if _NUMBERS.fullmatch(line):  # baked weights are millions of these: the last comma that fits
        at = line.rfind(", ", start + 1, width + 1)
        return None if at < 0 else at + 1
    depth, quoted = 0, False
    best: tuple[int, int] | None = None
    for found in _TELLING.finditer(line, start, min(len(line), width)):
        i, char = found.start(), found[0]
        quoted ^= char == '"'
        if quoted:
            continue
        depth += (char in "([{") - (char in ")]}")
        if i == start or not line.startswith(_BREAKS, i):
            continue
        # Operators lead the next line, commas, brackets and assignments end this one.
        place = i + 3 if line.startswith(" = ", i) else i + (char in ",)")
        if place <= width and (best is None or depth <= best[0]):
            best = depth, place
    return None if best is None else best[1]


def _comment(indent: str, words: str) -> Iterator[str]:
    """A line of a comment as several; it may go on behind them."""
    if len(indent) + len(words) <= WIDTH:
        yield indent + words
        return
    end = " */" if words.endswith("*/") else ""
    line = f"{indent}/*"
    for word in words.removeprefix("/*").removesuffix("*/").split():
        if len(line) + 1 + len(word) > WIDTH - len(end):
            yield line
            line = f"{indent}  "
        line += f" {word}"
    yield line + end
