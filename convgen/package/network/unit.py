"""A layer's C file as a part of a larger one: nothing public, every name with its own prefix.

The text is taken apart at its top level (functions, tables, directives), by braces alone: what the
templates print needs no more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

_DEFINED = (
    re.compile(r"^#define (\w+)", re.M),
    re.compile(r"^\} (\w+);", re.M),  # typedef struct
    re.compile(r"^typedef [^{;]*?(\w+)(?: __attribute__\(\(.*?\)\))?;", re.M),
    re.compile(r"^(?:static|[A-Z][A-Z0-9_]+)\b[^;={(]*?\b(\w+)\(", re.M),
    re.compile(r"^static const [\w ]+? \*?(?:const )?(\w+)(?:\[[^\]]*\])+ =", re.M),
)
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
PUBLIC = ("pack", "run", "cpu_ok", "isa")


def items(text: str) -> Iterator[str]:
    """Top-level pieces in order: a comment with what follows it up to the end of its braces."""
    held: list[str] = []
    depth = 0
    inside = False  # a comment of several lines
    for line in text.splitlines():
        held.append(line)
        code, inside = _without_comments(line, inside)
        depth += code.count("{") - code.count("}")
        bare = code.strip()
        ended = bare.startswith("#") and not bare.endswith("\\")
        if depth == 0 and not inside and ((not bare and not line.strip()) or ended or _ends(code)):
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)


def _ends(code: str) -> bool:
    bare = code.rstrip()
    return bare.endswith((";", "}"))


def _without_comments(line: str, inside: bool) -> tuple[str, bool]:
    """The line's code, and whether a comment goes on behind it."""
    code = ""
    while line:
        if inside:
            _, found, line = line.partition("*/")
            inside = not found
        else:
            before, found, line = line.partition("/*")
            code += before
            inside = bool(found)
    return code, inside


def embedded(text: str, name: str, shared: str) -> str:
    """The file of layer ``name`` as part of another: without its head and public functions but
    ``<name>_run_part``, which is static; ``<SHARED>_PLAIN`` and ``_MODEL`` in place of its own.
    """
    body = text[text.index(f'#include "{name}.h"') :]
    body = re.sub(r"^#include .*\n", _kept, body, flags=re.M)
    body = re.sub(rf"#if {name.upper()}_HEADER_ID != .*\n#error .*\n#endif\n", "", body)
    gone = [rf"\b{name}_{word}\(" for word in PUBLIC]
    pieces = [piece for piece in items(body) if not _defines(piece, gone)]
    joined = "\n".join(_used(pieces))
    joined = joined.replace(f"\nvoid {name}_run_part(", f"\nstatic void {name}_run_part(")
    for word in ("PLAIN", "MODEL"):
        joined = re.sub(rf"\b{name.upper()}_{word}\b", f"{shared.upper()}_{word}", joined)
    joined = re.sub(r"#(if|ifdef) [^\n]*\n\s*#endif\n", "", joined)  # nothing is left in between
    return re.sub(r"\n{3,}", "\n\n", prefixed(joined, name, (shared,))).strip() + "\n"


def _kept(match: re.Match[str]) -> str:
    """Headers of the instruction sets; what every file includes is there already."""
    line = match.group(0)
    return "" if '"' in line or "<string.h>" in line else line


def _defines(piece: str, patterns: Iterable[str]) -> bool:
    """Whether a piece is the definition of a function that one of the patterns names."""
    head = re.sub(r"/\*.*?\*/", "", piece, flags=re.S).partition("{")[0]
    return "(" in head and any(re.search(p, head.partition("(")[0] + "(") for p in patterns)


def _used(pieces: list[str]) -> list[str]:
    """Without static functions and tables that nothing refers to any more."""
    while True:
        words = Counter(_WORD.findall("\n".join(pieces)))
        idle = [piece for piece in pieces if (name := _static(piece)) and words[name] == 1]
        if not idle:
            return pieces
        pieces = [piece for piece in pieces if piece not in idle]


def _static(piece: str) -> str:
    """The one name that a piece defines for this file alone, or ""."""
    for pattern in _DEFINED[3:]:
        found = pattern.search(re.sub(r"/\*.*?\*/", "", piece, flags=re.S))
        if found:
            return found[1]
    return ""


def prefixed(text: str, name: str, others: Iterable[str] = ()) -> str:
    """The text with ``<name>_`` before every name that it defines at file scope."""
    known = {name, *others}
    found: set[str] = set()
    for pattern in _DEFINED:
        found.update(pattern.findall(text))
    own = {
        word
        for word in found
        if not any(word.startswith((f"{n}_", f"{n.upper()}_")) for n in known)
    }

    def renamed(match: re.Match[str]) -> str:
        word = match.group(0)
        if word not in own:
            return word
        return f"{name.upper()}_{word}" if word.isupper() else f"{name}_{word}"

    return _WORD.sub(renamed, text)
