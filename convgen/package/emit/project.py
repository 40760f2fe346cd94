"""The files around the C that let a build system take it in: CMake, PlatformIO, ESP-IDF, Zephyr."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from convgen import __version__
from convgen.plan.kernel import KernelPlan
from convgen.render.environment import environment
from convgen.render.head import story
from convgen.spec.elements import Element, arrays_of
from convgen.spec.layouts import image_letters, weight_letters
from convgen.spec.model import ConvSpec

PLATFORMIO_NAME = 50  # characters at most, lower-case letters, digits and single dashes
TEMPLATES = (
    "README.md",
    "library.json",
    "idf_component.yml",
    "zephyr/module.yml",
    "zephyr/CMakeLists.txt",
    "zephyr/Kconfig",
)


@dataclass(frozen=True)
class ProjectText:
    """What the templates print. ``sources``: the C files to compile, the self test aside;
    ``weights_bin``: what one of them takes in.

    ``release``: the version's numbers alone. ``slug``: the name as PlatformIO takes it.
    ``title``: the layer in a few words. ``figures``: rows of the table of sizes.
    """

    name: str
    macro: str
    version: str
    release: str
    target: str
    slug: str
    title: str
    story: tuple[str, ...]
    sources: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    baked: bool
    bias: bool
    w_count: int
    macs: int
    packed_bytes: int
    workspace_bytes: int
    weights_bin: str = ""


def project_text(plan: KernelPlan, sources: tuple[str, ...], baked: bool) -> ProjectText:
    """The words; ``baked``: the weights lie in one of ``sources``."""
    spec = plan.spec
    return ProjectText(
        name=spec.name,
        macro=spec.name.upper(),
        version=__version__,
        release=re.match(r"\d+(\.\d+)*", __version__)[0],  # type: ignore[index]
        target=plan.target.name,
        slug=re.sub("_+", "-", spec.name)[:PLATFORMIO_NAME].strip("-"),
        title=f"Convolution layer {spec.name}, {_sizes(spec)}",
        story=story(plan)[:2],
        sources=sources,
        figures=_figures(plan, baked),
        baked=baked,
        bias=spec.bias,
        w_count=math.prod(spec.w_shape),
        macs=spec.macs,
        packed_bytes=plan.packed_bytes,
        workspace_bytes=plan.workspace_bytes,
    )


def cmake_file(text: ProjectText) -> str:
    """The text of CMakeLists.txt, which built packages have, too."""
    return environment().get_template("project/CMakeLists.txt.j2").render(t=text)


def project_files(text: ProjectText) -> dict[str, str]:
    """File name, with the folder below the package's, to text."""
    env = environment()
    return {name: env.get_template(f"project/{name}.j2").render(t=text) for name in TEMPLATES}


def _sizes(spec: ConvSpec) -> str:
    axes = spec.axes[3 - spec.rank :]
    image = "x".join(str(axis.size) for axis in axes)
    out = "x".join(str(axis.out) for axis in axes)
    return f"{image}x{spec.c} to {out}x{spec.oc}"


def _figures(plan: KernelPlan, baked: bool) -> tuple[tuple[str, str], ...]:
    spec = plan.spec
    of = arrays_of(spec)

    def array(shape: tuple[int, ...], layout: str, element: Element) -> str:
        return f"{'x'.join(map(str, shape))} {layout}, {math.prod(shape) * element.size:,} bytes"

    where = "constant, inside the C" if baked else f"written by `{spec.name}_pack`"
    return (
        ("input x", array(spec.x_shape, image_letters(spec), of.x)),
        ("output y", array(spec.y_shape, image_letters(spec), of.y)),
        ("weights w", array(spec.w_shape, weight_letters(spec), of.w)),
        ("packed weights", f"{plan.packed_bytes:,} bytes, {where}"),
        ("workspace", f"{plan.workspace_bytes:,} bytes for each running part"),
        ("multiply-adds", f"{spec.macs:,} a call"),
        ("schedule", f"`{plan.schedule}`"),
        ("machine code, stack", "as the compiler makes them: `convgen size SPEC` measures both"),
    )
