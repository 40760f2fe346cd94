"""A layer's compiled library: out of the cache, or compiled, and verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.choose.limits import GIVEN_FIX, SizeLimits
from convgen.errors import LimitError, MismatchError, ToolchainError, UsageError
from convgen.package.disk.binding import Bound
from convgen.package.disk.cache import Entry
from convgen.package.disk.commit import Place, keep_failed, writing
from convgen.package.disk.result import Stage, State
from convgen.package.disk.session import Session
from convgen.plan.kernel import KernelPlan
from convgen.target import Target, is_foreign, lacking
from convgen.target.host import machine_name
from convgen.toolchain import COMPILE_FLAGS, Unit, compile_shared, read_stack, stack_flags
from convgen.verify import Report, tiling_of, verify_plan_in_child

if TYPE_CHECKING:
    from convgen.package.emit.files import Decided


VALUES = ("exact fill", "bounded fill", "baked image")  # checks of what a kernel computes


class Oversize(Exception):
    """The compiled code is over the limit, and another schedule may be taken; ``size`` in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class DeepStack(Exception):
    """The RAM with the compiled ``stack`` (bytes) is over the limit; another schedule may do."""

    def __init__(self, stack: int) -> None:
        super().__init__(stack)
        self.stack = stack


class Inaccurate(Exception):
    """A kernel with an error bound of its own does not hold it, and may be replaced."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report


@dataclass(frozen=True)
class Library:
    """A compiled library and what is known of it. ``report``: None when it was not verified;
    ``stack_bytes``: below ``run``, None where nobody asked or the compiler does not tell."""

    content: bytes
    commands: tuple[str, ...]
    warnings: tuple[str, ...]
    code_bytes: int | None
    report: Report | None
    stack_bytes: int | None = None


def make_library(
    session: Session,
    decided: Decided,
    place: Place,
    work: Path,
    files: Callable[[], Mapping[str, bytes]],
    bound: Bound,
    key: str,
) -> tuple[Library, State, tuple[str, ...]]:
    """The compiled layer: from the cache if it is there, else compiled; verified if that is wanted.

    What ``files`` makes is written to ``work``, ``bound`` says how it becomes a library, ``key``
    names that library in the cache. The last value: what went wrong with the cache, worth a
    warning.
    Raises ``Oversize``, ``DeepStack`` and ``Inaccurate`` beside what ``build_layer`` raises.
    """
    layer, verify = decided.layer, session.options.verify
    refuse_foreign_target(decided.plan.target)
    if verify:
        _refuse_unverifiable(decided)
    made = _cached(session, key)
    state: State = "built" if made is None else "cached"
    if made is not None:
        _check_sizes(decided, session.options.limits, made)
    if made is not None and (made.report is not None or not verify):
        return made, state, ()
    texts = files()
    with writing(work):
        for name, data in texts.items():
            (work / name).write_bytes(data)
        if made is not None:
            (work / bound.library).write_bytes(made.content)
    if made is None:
        session.say(layer, Stage.COMPILE, None)
        made = _compiled(session, decided, place, work, bound, sorted(texts))
        _check_sizes(decided, session.options.limits, made)
    if verify:
        session.say(layer, Stage.VERIFY, None)
        made = _verified(session, decided, place, work, bound, made)
    return made, state, _stored(session, key, made)


def refuse_foreign_target(target: Target) -> None:
    """Raises ``UsageError`` for a target whose code this machine's Python cannot load."""
    if is_foreign(target):
        raise UsageError(
            f"{target.name} is another kind of machine than this {machine_name()}, whose Python "
            "could not import such a package: convgen emit writes the C for it, convgen cross "
            "compiles that and runs its self test under emulation"
        )


def _refuse_unverifiable(decided: Decided) -> None:
    if decided.plan.fat:
        return  # what this CPU lacks it never runs
    isa = decided.plan.body.isa
    missing = lacking(isa.features)
    if missing:
        raise UsageError(
            f"this CPU lacks {', '.join(missing)}, so a kernel for {isa.name} cannot be verified "
            "here; build it with --no-verify, run its self test under emulation with convgen "
            "cross, or emit its C and run selftest.c where it belongs"
        )


def _check_sizes(decided: Decided, limits: SizeLimits, made: Library) -> None:
    _check_code(decided, limits.code_bytes, made)
    _check_ram(decided, limits.ram_bytes, made)


def _check_ram(decided: Decided, most: int | None, made: Library) -> None:
    """A stack that the compiler does not tell is taken to be what is set aside for it."""
    from convgen.choose.fit import given_over_ram
    from convgen.choose.ram import ram_of, stack_allowance

    if most is None:
        return
    plan, baked, stack = decided.plan, decided.weights is not None, made.stack_bytes
    needs = ram_of(plan, baked, stack_allowance(plan) if stack is None else stack)
    if needs.total <= most:
        return
    if decided.layer.schedule is not None:
        raise given_over_ram(plan, most, decided.reason, needs)
    raise DeepStack(needs.stack)


def _check_code(decided: Decided, most: int | None, made: Library) -> None:
    if most is None or made.code_bytes is None or made.code_bytes <= most:
        return
    if decided.layer.schedule is not None:
        raise LimitError(
            f"--max-code-bytes {most}: the schedule {decided.plan.schedule} ({decided.reason}) "
            f"gives {made.code_bytes} bytes of machine code; {GIVEN_FIX}"
        )
    raise Oversize(made.code_bytes)


def _compiled(
    session: Session,
    decided: Decided,
    place: Place,
    work: Path,
    bound: Bound,
    files: Sequence[str],
) -> Library:
    name = decided.layer.spec.name
    # Only a limit makes the compiler write its frames down: else commands stay what they are.
    asked = session.options.max_ram_bytes is not None
    frames = stack_flags(session.compiler) if asked else ()
    weights = [Unit(file) for file in files if file == f"{name}_weights.c"]
    units = (Unit(f"{name}.c", frames), Unit(f"{name}_glue.c"), *weights, *bound.units)
    try:
        done = compile_shared(
            session.compiler,
            work,
            units,
            bound.library,
            flags=(*COMPILE_FLAGS, *decided.plan.target.flags),
            link=bound.link,
            timeout=session.options.timeout,
            processes=session.processes,
        )
    except ToolchainError as error:
        kept = keep_failed(place, work, str(error))
        message, _, _ = str(error).partition("\n")
        raise ToolchainError(
            f"{message}; {kept}",
            error.command,
            error.stderr,
        ) from None
    library = done.library.read_bytes()
    outside = (f"{name}_pack", f"{name}_cpu_ok")
    stack = read_stack(work, name, f"{name}_run", outside) if asked else None
    taken = None if stack is None else stack.bytes
    return Library(library, done.commands, done.warnings, done.code_bytes, None, taken)


def _verified(
    session: Session, decided: Decided, place: Place, work: Path, bound: Bound, made: Library
) -> Library:
    plan = decided.plan

    def climbed(library: Path) -> Report:
        return verify_plan_in_child(library, plan, decided.weights, processes=session.processes)

    report = climbed(work / bound.library)
    for body in _beside(plan):
        report = report.with_body(body, climbed(_alone(session, plan, work, body)))
    if report.passed:
        return replace(made, report=report)
    only_values = all(check.name in VALUES for check in report.failures)
    if report.checks and only_values and tiling_of(plan) and decided.layer.schedule is None:
        raise Inaccurate(report)
    lines = [f"{check.name}: {check.detail or 'failed'}" for check in report.failures]
    findings = "\n".join(f"  {line}" for line in lines or ["no check ran"])
    text = f"{findings}\nschedule: {plan.schedule}\ncompiler commands:\n"
    kept = keep_failed(place, work, text + "\n".join(made.commands) + "\n")
    raise MismatchError(
        f"the kernel of {plan.spec.name} failed its verification and is not used\n"
        f"{findings}\nThis is convgen's fault or the compiler's; {kept}, with a report; an earlier "
        "build, if any, is as it was"
    )


def _beside(plan: KernelPlan) -> tuple[str, ...]:
    """The bodies of a fat file that this CPU can run, but for the one that it takes by itself."""
    from convgen.target.host import cpu_features

    plans = (plan, *plan.narrower) if plan.fat else ()
    have = cpu_features()
    return tuple(p.body.isa.name for p in plans if set(p.body.isa.features) <= have)[1:]


def _alone(session: Session, plan: KernelPlan, work: Path, body: str) -> Path:
    """A library of one body of a fat file, compiled alone."""
    name = plan.spec.name
    done = compile_shared(
        session.compiler,
        work,
        [Unit(f"{name}.c", (f"-D{name.upper()}_ONLY_{body.upper()}",))],
        f"{name}_{body}.so",
        timeout=session.options.timeout,
        processes=session.processes,
    )
    return done.library


def _cached(session: Session, key: str) -> Library | None:
    entry = session.cache.get(key) if session.cache is not None else None
    if entry is None:
        return None
    facts = entry.facts
    report = facts["report"]
    return Library(
        entry.library,
        tuple(facts["commands"]),
        tuple(facts["warnings"]),
        facts["code_bytes"],
        None if report is None else Report.from_mapping(report),
        facts["stack_bytes"],
    )


def _stored(session: Session, key: str, made: Library) -> tuple[str, ...]:
    """Put the library into the cache; a cache that cannot be written is worth a warning."""
    if session.cache is None:
        return ()
    facts = {
        "commands": made.commands,
        "warnings": made.warnings,
        "code_bytes": made.code_bytes,
        "stack_bytes": made.stack_bytes,
        "report": None if made.report is None else made.report.to_mapping(),
    }
    try:
        session.cache.put(key, Entry(made.content, facts))
    except OSError as error:
        return (f"cache {session.cache.root}: not written ({error.strerror or error})",)
    return ()
