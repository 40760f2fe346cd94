"""A network's one C file as the files that a build compiles side by side.

A compiler works through one file on one core. So a Python build moves the kernels of convolutions
to a few files of their own, where their entries are not static; the text is otherwise the same. How
many files there are follows from the text alone: the library's bytes do not depend on the machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from convgen.ctext.wrap import wrapped
from convgen.package.network.text import NetworkText
from convgen.render.environment import environment

FILE_BYTES = 256 << 10  # of text: gcc takes 4 s, half a second of it for the headers of x86
MOST_FILES = 8


def compiled_files(text: NetworkText, whole: str) -> dict[str, str]:
    """The C files to compile in place of ``whole``, the text of ``<net>.c``, which comes first.

    Each kernel is in exactly one of them.
    """
    name = text.name
    entries = {at: entry for at, s in enumerate(text.sections) if (entry := _entry(name, s))}
    count = min(MOST_FILES, len(whole) // FILE_BYTES, len(entries) + 1)
    if count < 2:
        return {f"{name}.c": whole}
    first, *others = _balanced(text.sections, entries, count)
    moved = sorted(at for one in others for at in one)
    declared = "".join(f"{entries[at]};\n" for at in moved)
    kept = tuple(text.sections[at] for at in first)
    own = replace(text, sections=(f"/* Kernels in files of their own. */\n{declared}", *kept))
    env = environment()
    files = {f"{name}.c": wrapped(env.get_template("network/network.c.j2").render(t=own))}
    for number, one in enumerate(others, 1):
        sections = (text.sections[at].replace(f"static {entries[at]}", entries[at]) for at in one)
        kernels = replace(text, sections=tuple(sections))
        rendered = env.get_template("network/kernels.c.j2").render(t=kernels, number=number)
        files[f"{name}_{number}.c"] = wrapped(rendered)
    return files


def _entry(name: str, section: str) -> str:
    """The function by which the steps call a convolution's section, as it is declared, or ""."""
    found = re.search(rf"^static (void {name}_\w+_run_part\([^)]*\))\n\{{", section, re.M)
    return found[1] if found else ""


def _balanced(sections: Sequence[str], movable: Collection[int], count: int) -> list[list[int]]:
    """Numbers of sections by file: the longest first, each to the file that has least so far."""
    files: list[list[int]] = [[at for at in range(len(sections)) if at not in movable]]
    files += [[] for _ in range(count - 1)]
    sizes = [sum(len(sections[at]) for at in one) for one in files]
    for at in sorted(movable, key=lambda at: (-len(sections[at]), at)):
        least = sizes.index(min(sizes))
        files[least].append(at)
        sizes[least] += len(sections[at])
    return [sorted(one) for one in files if one]
