"""From a layer to texts: the C package that ``emit`` writes, and what a build starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from convgen.choose.fit import NOTHING_OUT, Excluded, check_given, fitting
from convgen.choose.limits import NO_LIMITS, SizeLimits
from convgen.kernels import lower
from convgen.numbers.settle import Settled, settled
from convgen.package.emit.project import ProjectText, cmake_file, project_files, project_text
from convgen.package.emit.selftests import selftest_file
from convgen.plan.kernel import KernelPlan
from convgen.render.baked import Form, binary_file
from convgen.render.source import render_c
from convgen.spec.model import Layer
from convgen.spec.schedule import Schedule
from convgen.target import Target

if TYPE_CHECKING:
    from convgen.package.disk.choices import Memory
    from convgen.spec.weights import Weights

TUNED = "measured quickest on this machine (convgen tune)"


@dataclass(frozen=True)
class Decided:
    """A layer with every decision taken: ``reason`` says why this schedule.

    ``settled``: the same layer, its weights, and what a calibration found.
    """

    settled: Settled
    plan: KernelPlan
    reason: str

    @property
    def layer(self) -> Layer:
        return self.settled.layer

    @property
    def weights(self) -> Weights | None:
        return self.settled.weights


def decide(
    layer: Layer,
    target: Target,
    tuned: Schedule | None = None,
    limits: SizeLimits = NO_LIMITS,
    out: Excluded = NOTHING_OUT,
    *,
    compiles: bool = False,
    memory: Memory | None = None,
) -> Decided:
    """Take the pinned schedule, else the ``tuned`` one, else choose; lower it, read the weights.

    ``limits``: what the kernel may take up; ``out``: what a build has found not to do;
    ``compiles``: the real sizes will be looked at, so an estimate refuses no given
    schedule; ``memory``: of choices that were made before.

    Raises ``ScheduleError`` for a given schedule that cannot be carried out on this target,
    ``LimitError`` where nothing keeps to the limits, ``SpecError`` for weights, scales and samples.
    """
    done = settled(layer)
    spec, baked = done.layer.spec, done.weights is not None
    if layer.schedule is not None:
        schedule, reason = layer.schedule, "pinned in the spec"
    elif tuned is not None and out.takes(tuned):
        schedule, reason = tuned, TUNED
    else:
        make = partial(fitting, spec, target, limits, out, compiles, baked)
        known = (spec, target, limits, out, compiles, baked)
        choice = make() if memory is None else memory.choice(make, *known)
        schedule, reason = choice.schedule, choice.reason
    plan = lower(spec, schedule, target)
    if layer.schedule is not None or schedule is tuned:
        check_given(plan, limits, reason, compiles, baked)
    return Decided(done, plan, reason)


def kernel_files(decided: Decided, *, form: Form = Form.INSIDE) -> dict[str, str]:
    """``<name>.c`` and ``<name>.h``, and ``<name>_weights.c`` where baked weights stand apart."""
    return render_c(decided.plan, decided.weights, form=form)


def binary_files(decided: Decided, form: Form) -> dict[str, bytes]:
    """``<name>_weights.bin``, where ``<name>_weights.c`` takes the baked weights from it."""
    if decided.weights is None or form is not Form.BIN:
        return {}
    return {weights_bin(decided.plan.spec.name): binary_file(decided.plan, decided.weights)}


def kernel_bytes(decided: Decided, form: Form) -> dict[str, bytes]:
    """All of ``kernel_files`` and ``binary_files``, as they lie on disk."""
    texts = kernel_files(decided, form=form)
    return {file: text.encode() for file, text in texts.items()} | binary_files(decided, form)


def weights_bin(name: str) -> str:
    """The file's name."""
    return f"{name}_weights.bin"


def companion_files(decided: Decided, *, form: Form = Form.INSIDE) -> dict[str, str]:
    """``selftest.c`` and ``CMakeLists.txt``, for whoever takes the C alone."""
    text = _project_text(decided, form)
    return {
        "selftest.c": selftest_file(decided.plan, decided.weights, text.sources),
        "CMakeLists.txt": cmake_file(text),
    }


def package_files(decided: Decided, *, form: Form = Form.INSIDE) -> dict[str, str]:
    """The embeddable C package, path below its folder to text; ``binary_files`` are apart."""
    return {
        **kernel_files(decided, form=form),
        **companion_files(decided, form=form),
        **project_files(_project_text(decided, form)),
    }


def emit_files(
    layer: Layer, target: Target, limits: SizeLimits = NO_LIMITS, *, form: Form = Form.INSIDE
) -> dict[str, str]:
    """The embeddable C package, path below its folder to text; nothing is compiled or written.

    The bytes are a function of spec, schedule, target and convgen's version alone; ``limits`` have
    a part in choosing the schedule.
    """
    return package_files(decide(layer, target, limits=limits), form=form)


def _project_text(decided: Decided, form: Form) -> ProjectText:
    name, baked = decided.plan.spec.name, decided.weights is not None
    apart = baked and form is not Form.INSIDE
    sources = (f"{name}.c", f"{name}_weights.c") if apart else (f"{name}.c",)
    text = project_text(decided.plan, sources, baked)
    return replace(text, weights_bin=weights_bin(name) if apart and form is Form.BIN else "")
