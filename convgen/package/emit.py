"""From a layer to texts: the C package that ``emit`` writes, and what a build starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgen.choose import choose
from convgen.families import lower
from convgen.package.project import ProjectText, cmake_file, project_files, project_text
from convgen.package.selftest import selftest_file
from convgen.plan import KernelPlan
from convgen.render import render_c
from convgen.schedule import Schedule
from convgen.spec import load_weights
from convgen.spec.model import Layer
from convgen.target import Target

if TYPE_CHECKING:
    from convgen.spec.weights import Weights

TUNED = "measured quickest on this machine (convgen tune)"


@dataclass(frozen=True)
class Decided:
    """A layer with every decision taken: ``reason`` says why this schedule."""

    layer: Layer
    plan: KernelPlan
    reason: str
    weights: Weights | None


def decide(layer: Layer, target: Target, tuned: Schedule | None = None) -> Decided:
    """Take the pinned schedule, else the ``tuned`` one, else choose; lower it, read the weights.

    Raises ``ScheduleError`` for a given schedule that cannot be carried out on this target,
    ``SpecError`` for weights.
    """
    if layer.schedule is not None:
        schedule, reason = layer.schedule, "pinned in the spec"
    elif tuned is not None:
        schedule, reason = tuned, TUNED
    else:
        choice = choose(layer.spec, target)
        schedule, reason = choice.schedule, choice.reason
    plan = lower(layer.spec, schedule, target)
    return Decided(layer, plan, reason, load_weights(layer))


def kernel_files(decided: Decided, *, split: bool = False) -> dict[str, str]:
    """``<name>.c`` and ``<name>.h``; with ``split``, baked weights in ``<name>_weights.c``."""
    return render_c(decided.plan, decided.weights, split=split)


def companion_files(decided: Decided, *, split: bool = False) -> dict[str, str]:
    """``selftest.c`` and ``CMakeLists.txt``, for whoever takes the C alone."""
    text = _project_text(decided, split)
    return {
        "selftest.c": selftest_file(decided.plan, decided.weights, text.sources),
        "CMakeLists.txt": cmake_file(text),
    }


def package_files(decided: Decided, *, split: bool = False) -> dict[str, str]:
    """The embeddable C package, path below its folder to text."""
    return {
        **kernel_files(decided, split=split),
        **companion_files(decided, split=split),
        **project_files(_project_text(decided, split)),
    }


def emit_files(layer: Layer, target: Target, *, split: bool = False) -> dict[str, str]:
    """The embeddable C package, path below its folder to text; nothing is compiled or written.

    The bytes are a function of spec, schedule, target and convgen's version alone.
    """
    return package_files(decide(layer, target), split=split)


def _project_text(decided: Decided, split: bool) -> ProjectText:
    name, baked = decided.plan.spec.name, decided.weights is not None
    sources = (f"{name}.c", f"{name}_weights.c") if split and baked else (f"{name}.c",)
    return project_text(decided.plan, sources, baked)
