"""Many layers in one library: one package, in which every layer is a subpackage.

A library costs a process about five mappings of memory, and Linux allows 65,530 of them; so a
program of ten thousand layers needs a library that holds them all. The layers are those of their
own packages, text by text and flag by flag; each is verified again in the library they share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from convgen import __version__
from convgen.errors import MismatchError, ToolchainError, UsageError
from convgen.package.disk.binding import Bound, bind_all
from convgen.package.disk.commit import (
    Place,
    commit,
    forget_failed,
    keep_failed,
    locked,
    refuse_foreign,
    work_folder,
    writing,
)
from convgen.package.disk.inputs import cffi_identity
from convgen.package.disk.making import weights_form
from convgen.package.disk.manifest import NAME as MANIFEST
from convgen.package.disk.manifest import Manifest, current, digests, read_manifest
from convgen.package.disk.result import BuildOptions, BuildResult, State
from convgen.package.disk.session import Session
from convgen.package.emit.files import Decided, decide, kernel_bytes
from convgen.package.emit.python_text import bundle_files, glue_files, python_files
from convgen.spec.model import Layer
from convgen.spec.names import refuse_name
from convgen.spec.schedule import Schedule
from convgen.target import is_foreign
from convgen.toolchain import COMPILE_FLAGS, Unit, awaited, compile_shared, link_flags
from convgen.verify import Report, verify_plan_in_child

SECONDS_EACH = 10.0  # of the linker's time, beside those of ``timeout``, per hundred layers


@dataclass(frozen=True)
class Together:
    """The package of several layers. ``path``: its folder; ``state``: as of ``BuildResult``."""

    name: str
    path: Path
    state: State
    layers: tuple[str, ...]


def build_together(
    name: str,
    layers: Sequence[Layer],
    results: Sequence[BuildResult],
    options: BuildOptions,
    jobs: int | None = None,
) -> Together:
    """Bring ``options.out/<name>/`` up to date with ``layers``, which ``results`` says are built.

    ``jobs``: how many are verified at a time. Raises ``UsageError`` for a name that cannot be
    taken, ``ToolchainError``, and ``MismatchError`` where a layer fails in the shared library.
    """
    names = tuple(layer.spec.name for layer in layers)
    refuse_shared_name(name, names, options)
    session = Session.open(options)
    place = Place(options.out, name)
    inputs = _inputs(session, name, results)
    with locked(place):
        if current(place.package, inputs, verified=False) is not None:
            return Together(name, place.package, "unchanged", names)
        refuse_foreign(place)
        with work_folder(place) as work:
            _made(session, place, work, inputs, _decided(session, layers, results), jobs)
    return Together(name, place.package, "built", names)


def refuse_shared_name(name: str, layers: Sequence[str], options: BuildOptions) -> None:
    """Raises ``UsageError`` where no package of that name can stand beside those of ``layers``."""
    if broken := refuse_name(name):
        raise UsageError(f"--together {name}: {broken[1]}")
    if name in layers:
        raise UsageError(
            f"--together {name}: a layer has this name, and both would be written to "
            f"{options.out / name}: take another"
        )
    if is_foreign(options.target):
        raise UsageError(
            f"--together: {options.target.name} is another kind of machine; emit writes its C"
        )


def _inputs(session: Session, name: str, results: Sequence[BuildResult]) -> str:
    digest = hashlib.sha256()
    parts = [
        name, session.own, session.compiler.id, repr((COMPILE_FLAGS, link_flags())),
        session.binding, repr(session.python), cffi_identity(), str(session.options.verify),
    ]  # fmt: skip
    for result in results:
        manifest = read_manifest(result.path)
        assert manifest is not None, "it has just been built"
        parts += [manifest.name, manifest.inputs, manifest.schedule, manifest.target]
    for part in parts:
        digest.update(f"{part}\0".encode())
    return digest.hexdigest()


def _decided(
    session: Session, layers: Sequence[Layer], results: Sequence[BuildResult]
) -> list[Decided]:
    """Each layer with the schedule that its own package has, whatever led to it."""
    return [
        decide(layer, session.options.target, Schedule.from_text(result.schedule))
        for layer, result in zip(layers, results, strict=True)
    ]


def _made(
    session: Session,
    place: Place,
    work: Path,
    inputs: str,
    decided: Sequence[Decided],
    jobs: int | None,
) -> None:
    texts, units, headers = _sources(session, decided)
    extension = f"_{place.name}_{_key(texts)[:12]}"
    bound = bind_all(place.name, extension, headers, session.binding, session.python)
    with writing(work):
        for file, data in texts.items():
            (work / file).write_bytes(data)
        for file, text in bound.sources().items():
            (work / file).write_text(text, encoding="utf-8", newline="\n")
    try:
        done = compile_shared(
            session.compiler,
            work,
            (*units, *bound.units),
            bound.library,
            flags=(*COMPILE_FLAGS, *session.options.target.flags),
            link=bound.link,
            timeout=session.options.timeout + SECONDS_EACH * len(decided) / 100,
            processes=session.processes,
        )
    except ToolchainError as error:
        kept = keep_failed(place, work, str(error))
        message, _, _ = str(error).partition("\n")
        raise ToolchainError(f"{message}; {kept}", error.command, error.stderr) from None
    report = _verified(session, place, work, bound, decided, jobs)
    files = _package(place.name, decided, bound)
    files[bound.library] = done.library.read_bytes()
    manifest = Manifest(
        name=place.name,
        version=__version__,
        inputs=inputs,
        files=digests(files),
        extension=bound.extension,
        target=session.options.target.name,
        isa=", ".join(dict.fromkeys(isa for one in decided for isa in one.plan.isas)),
        schedule=f"{len(decided)} layers",
        reason="one library (--together)",
        binding=session.binding,
        compiler=str(session.compiler),
        commands=done.commands,
        warnings=done.warnings,
        code_bytes=None,
        limits={},
        notes=(),
        report=report,
    )
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    commit(place, work, files, bound.extension, earlier.extension if earlier else None)
    forget_failed(place)


def _sources(
    session: Session, decided: Sequence[Decided]
) -> tuple[dict[str, bytes], list[Unit], dict[str, str]]:
    """Every file to compile from, the units among them, and each layer's glue header."""
    texts: dict[str, bytes] = {}
    units: list[Unit] = []
    headers: dict[str, str] = {}
    for one in decided:
        name, glue = one.plan.spec.name, glue_files(one.plan)
        own = kernel_bytes(one, weights_form(session, one))
        own |= {file: text.encode() for file, text in glue.items()}
        texts |= own
        units += [Unit(file) for file in own if file.endswith(".c")]
        headers[name] = glue[f"{name}_glue.h"]
    return texts, units, headers


def _key(texts: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for file, data in sorted(texts.items()):
        digest.update(f"\0{file}\0".encode() + data)
    return digest.hexdigest()


def _verified(
    session: Session,
    place: Place,
    work: Path,
    bound: Bound,
    decided: Sequence[Decided],
    jobs: int | None,
) -> Report | None:
    """All layers' checks in one report, None where nothing is to be verified.

    Raises ``MismatchError`` where one of them fails.
    """
    if not session.options.verify:
        return None

    def climbed(one: Decided) -> Report:
        library = work / bound.library
        return verify_plan_in_child(library, one.plan, one.weights, processes=session.processes)

    with ThreadPoolExecutor(jobs) as pool:
        reports = [awaited(f) for f in [pool.submit(climbed, one) for one in decided]]
    bad = [
        (one.plan.spec.name, report)
        for one, report in zip(decided, reports, strict=True)
        if not report.passed
    ]
    if not bad:
        whole = reports[0]
        for one, report in zip(decided[1:], reports[1:], strict=True):
            whole = whole.with_body(one.plan.spec.name, report)
        return whole
    lines = [f"  {name}: {c.name}: {c.detail or 'failed'}" for name, r in bad for c in r.failures]
    findings = "\n".join(lines)
    kept = keep_failed(place, work, f"{findings}\n")
    raise MismatchError(
        f"{len(bad)} of {len(decided)} layers failed their verification in the library "
        f"{place.name}, which is not used\n{findings}\nThis is convgen's fault or the compiler's; "
        f"{kept}, with a report"
    )


def _package(name: str, decided: Sequence[Decided], bound: Bound) -> dict[str, bytes]:
    texts = {**bundle_files(name, [one.plan.spec for one in decided]), **bound.module}
    for one in decided:
        # Their `from .<extension> import` looks one package up.
        own = python_files(one.layer, one.plan, f".{bound.extension}")
        texts |= {f"{one.plan.spec.name}/{file}": text for file, text in own.items()}
    return {file: text.encode() for file, text in texts.items()}
