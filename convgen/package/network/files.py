"""The embeddable C package of a network: the C, its self test, and what build systems read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convgen import __version__
from convgen.package.emit.project import PLATFORMIO_NAME, TEMPLATES
from convgen.package.network.head import libraries
from convgen.package.network.program import Program, c_type
from convgen.package.network.selftest import selftest_file
from convgen.package.network.text import network_files
from convgen.render.environment import environment

README = "README.md"


@dataclass(frozen=True)
class NetworkProject:
    """What the templates of ``project/`` print of a network; see ``project.ProjectText``."""

    name: str
    macro: str
    version: str
    release: str
    target: str
    slug: str
    title: str
    sources: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    declarations: str
    arguments: str
    macs: int
    packed_bytes: int
    workspace_bytes: int
    thing: str = "network"
    libraries: str = ""
    weights_bin: str = ""


def package_files(program: Program) -> dict[str, str]:
    """Path below the package's folder to text; nothing is compiled or written."""
    return {**network_files(program), **companion_files(program, project=True)}


def companion_files(program: Program, *, project: bool = False) -> dict[str, str]:
    """``selftest.c`` and ``CMakeLists.txt``; with ``project`` those of other build systems, too."""
    text = project_text(program)
    env = environment()
    found = {
        "selftest.c": selftest_file(program),
        "CMakeLists.txt": env.get_template("project/CMakeLists.txt.j2").render(t=text),
    }
    if project:
        for name in TEMPLATES:
            path = f"network/{name}.j2" if name == README else f"project/{name}.j2"
            found[name] = env.get_template(path).render(t=text)
    return found


def project_text(program: Program) -> NetworkProject:
    name, plan = program.name, program.plan
    slots = [*program.inputs, *program.outputs]
    count = len(program.inputs)
    members = [f"in{i}" if i < count else f"out{i - count}" for i in range(len(slots))]
    arrays = [f"static {c_type(s)} {m}[{s.size}];" for s, m in zip(slots, members, strict=True)]
    figures = (
        *(
            (f"`{m}`", f"{c_type(s)}, {'x'.join(map(str, s.shape)) or 'scalar'}")
            for s, m in zip(slots, members, strict=True)
        ),
        ("weights", f"{plan.weights_bytes:,} bytes"),
        ("arena", f"{plan.arena.bytes:,} bytes, {plan.arena.part_bytes:,} more for each part"),
        ("multiply-adds", f"{program.macs:,} a call"),
        ("steps", f"{len(program.steps)}, {len(program.functions)} functions"),
    )
    return NetworkProject(
        name=name,
        macro=name.upper(),
        version=__version__,
        release=re.match(r"\d+(\.\d+)*", __version__)[0],  # type: ignore[index]
        target=program.target.name,
        slug=re.sub("_+", "-", name)[:PLATFORMIO_NAME].strip("-"),
        title=f"Network {name}, {len(program.steps)} steps",
        sources=(f"{name}.c", f"{name}_weights.c"),
        figures=figures,
        declarations="\n".join(arrays),
        arguments=", ".join(members),
        macs=program.macs,
        packed_bytes=plan.weights_bytes,
        workspace_bytes=plan.arena.bytes,
        libraries=" ".join(libraries(program)),
    )
