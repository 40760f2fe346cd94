"""How deep a function's calls reach into the stack, from what the compiler wrote down.

gcc tells the call graph with every frame (``-fcallgraph-info=su``): there the deepest chain of
calls is found. clang tells the frames alone (``-fstack-usage``): there their sum stands for it,
which no chain exceeds as long as nothing calls itself. What functions of other files need comes
on top.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convgen.toolchain.compiler import Compiler, CompilerKind

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \(([^)]*)\)', re.M)
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', re.M)
_FRAME = re.compile(r"^(?:.*:)?(\w+)\t(\d+)\t(\S+)$", re.M)
_INDIRECT = "__indirect_call"
_GRAPH_SINCE = 10  # the first gcc with -fcallgraph-info


@dataclass(frozen=True)
class Stack:
    """Bytes of stack below a call. ``exact``: of the deepest chain; else no chain needs more."""

    bytes: int
    exact: bool


def stack_flags(compiler: Compiler) -> tuple[str, ...]:
    """What makes this compiler write its frames down; nothing where it cannot."""
    match compiler.kind:
        case CompilerKind.GCC:
            major = re.match(r"\d+", compiler.version)
            graph = major is not None and int(major[0]) >= _GRAPH_SINCE
            return ("-fcallgraph-info=su",) if graph else ("-fstack-usage",)
        case CompilerKind.CLANG:
            return ("-fstack-usage",)
        case _:
            return ()


def read_stack(folder: Path, stem: str, root: str, outside: Sequence[str] = ()) -> Stack | None:
    """The stack below ``root``, a function of the object ``stem``.o compiled in ``folder``.

    ``outside``: functions that ``root`` does not call, for where no call graph is. None where the
    compiler wrote nothing down, or where a frame has no bound.
    """
    graph, frames = folder / f"{stem}.ci", folder / f"{stem}.su"
    if graph.exists():
        return _deepest(graph.read_text(encoding="utf-8"), root)
    if frames.exists():
        return _summed(frames.read_text(encoding="utf-8"), outside)
    return None


def _deepest(text: str, root: str) -> Stack | None:
    found = [(title, int(size), kind) for title, size, kind in _NODE.findall(text)]
    sizes = {title: size for title, size, _ in found}
    if root not in sizes or any(kind == "dynamic" for _, _, kind in found):
        return None
    calls: dict[str, set[str]] = {}
    for source, target in _EDGE.findall(text):
        calls.setdefault(source, set()).add(target)
    if any(_INDIRECT in targets for targets in calls.values()):
        return Stack(sum(sizes.values()), exact=False)
    return Stack(_depth(sizes, calls, root), exact=True)


def _depth(sizes: Mapping[str, int], calls: Mapping[str, set[str]], root: str) -> int:
    @cache
    def below(name: str) -> int:
        return sizes.get(name, 0) + max((below(other) for other in calls.get(name, ())), default=0)

    return below(root)


def _summed(text: str, outside: Sequence[str]) -> Stack | None:
    frames = _FRAME.findall(text)
    if not frames or any(kind == "dynamic" for _, _, kind in frames):
        return None
    return Stack(sum(int(size) for name, size, _ in frames if name not in outside), exact=False)
