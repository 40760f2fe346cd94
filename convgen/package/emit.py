"""From a layer to texts: the C package that ``emit`` writes, and what a build starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgen import __version__
from convgen.choose import choose
from convgen.families import lower
from convgen.package.selftest import selftest_file
from convgen.plan import KernelPlan
from convgen.render import environment, render_c
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


@dataclass(frozen=True)
class CMakeText:
    """What the CMake template prints."""

    name: str
    version: str


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


def kernel_files(decided: Decided) -> dict[str, str]:
    """``<name>.c`` and ``<name>.h``."""
    return render_c(decided.plan, decided.weights)


def companion_files(decided: Decided) -> dict[str, str]:
    """``selftest.c`` and ``CMakeLists.txt``, for whoever takes the C alone."""
    text = CMakeText(decided.plan.spec.name, __version__)
    return {
        "selftest.c": selftest_file(decided.plan, decided.weights),
        "CMakeLists.txt": environment().get_template("CMakeLists.txt.j2").render(t=text),
    }


def emit_files(layer: Layer, target: Target) -> dict[str, str]:
    """The embeddable C package, file name to text; nothing is compiled, nothing written.

    The bytes are a function of spec, schedule, target and convgen's version alone.
    """
    decided = decide(layer, target)
    return {**kernel_files(decided), **companion_files(decided)}
