"""A campaign run: blocks of numbers dealt out to worker processes, failures shrunk and written."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from places import SUPPORT

from campaign import grid
from campaign.shrink import shrunk, spec_text
from campaign.store import Campaign, Store
from campaign.trial import GENERATE, Outcome, try_all
from convgen.package.disk.inputs import own_digest
from convgen.verify.isolate import child_environment

SHRINK_SECONDS = 120


@dataclass(frozen=True)
class Order:
    """What is to be run. ``folder``: where its state and its failures are kept."""

    folder: Path
    seed: int
    count: int
    first: int = 0

    @property
    def campaign(self) -> Campaign:
        files = sorted(Path(grid.__file__).parent.glob("*.py"))
        own = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
        return Campaign(
            hashlib.sha256(f"{own_digest()} {own}".encode()).hexdigest()[:12], self.seed
        )

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)

    def open(self) -> Store:
        return Store(self.folder / "campaign.sqlite", self.campaign)


def work(order: Order, worker: int, workers: int, *, fail_fast: bool = False) -> None:
    """One worker's share, block by block, until all is tried or the parent is gone."""
    parent = os.getppid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    store = order.open()
    with tempfile.TemporaryDirectory(prefix="convgen-campaign-") as scratch:
        for numbers in _blocks(order, store.tried(), worker, workers):
            if os.getppid() != parent or (fail_fast and store.failures()):
                break
            begin = time.monotonic()
            outcomes = tried(order.seed, numbers, Path(scratch))
            store.add(outcomes, (time.monotonic() - begin) / len(outcomes))
            for outcome in outcomes:
                if not outcome.passed:
                    write_failure(order, outcome, Path(scratch))
            _swept(Path(scratch))
    store.close()


def tried(seed: int, numbers: Sequence[int], scratch: Path) -> list[Outcome]:
    """Made, compiled and verified; a case that cannot even be made is an outcome as well."""
    made, outcomes = [], []
    for number in numbers:
        try:
            made.append(grid.case(seed, number))
        except Exception as error:
            outcomes.append(Outcome(grid.bare_case(seed, number), GENERATE, repr(error)))
    return [*outcomes, *try_all(made, scratch)]


def _blocks(order: Order, done: set[int], worker: int, workers: int) -> Iterator[list[int]]:
    """Of the numbers still to try, block by block, those whose turn is this worker's."""
    starts = range(order.first // grid.BLOCK, -(-order.numbers.stop // grid.BLOCK))
    for block in starts[worker::workers]:
        whole = range(block * grid.BLOCK, (block + 1) * grid.BLOCK)
        left = [n for n in whole if n in order.numbers and n not in done]
        if left:
            yield left


def _swept(scratch: Path) -> None:
    """What a block left behind goes, but for the precompiled header."""
    for file in scratch.iterdir():
        if not file.name.startswith("prelude"):
            file.unlink()


# -- failures --------------------------------------------------------------------------------------


def write_failure(order: Order, outcome: Outcome, scratch: Path) -> Path:
    """``failures/<seed>-<number>/``: the least spec that fails, and what was seen."""
    folder = order.folder / "failures" / f"{order.seed}-{outcome.case.number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.txt").write_text(f"{outcome.case}\n{outcome.check}: {outcome.detail}\n")
    least = shrunk(outcome, partial(try_all, folder=scratch), SHRINK_SECONDS)
    case = least.case
    file = folder / f"{case.spec.name}.yaml"
    command = f"convgen build {file.name} --target {case.target}"
    again = f"python -m campaign --seed {order.seed} --only {outcome.case.number}"
    file.write_text(
        f"# {command}\n# fails here: {least.check}, body {case.part or 'own'}, {case.cc} "
        f"{case.flag}\n# shrunk from: {again}\n{spec_text(case)}",
        encoding="utf-8",
    )
    build = _build(file, case.target)
    (folder / "report.txt").write_text(
        f"{outcome.case}\n{outcome.check}: {outcome.detail}\n\nshrunk to {case}\n{least.check}: "
        f"{least.detail}\n\n{command}: exit code {build.returncode}\n{build.stderr}",
        encoding="utf-8",
    )
    return file


def _build(file: Path, target: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="convgen-campaign-") as out:
        command = [sys.executable, "-m", "convgen", "build", str(file), "--target", target]
        return subprocess.run(
            [*command, "--no-cache", "-o", out],
            capture_output=True, text=True, check=False, env=child_environment(), timeout=600,
        )  # fmt: skip


# -- the processes ---------------------------------------------------------------------------------


def start(order: Order, workers: int, *, fail_fast: bool = False) -> list[subprocess.Popen[bytes]]:
    """The workers, each a process with one thread: it forks, and counts on that."""
    environment = child_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(SUPPORT), environment["PYTHONPATH"]])
    command = [
        sys.executable, "-m", "campaign", "--state", str(order.folder), "--seed", str(order.seed),
        "--count", str(order.count), "--first", str(order.first),
    ]  # fmt: skip
    command += ["--fail-fast"] if fail_fast else []
    return [
        subprocess.Popen([*command, "--worker", f"{k}/{workers}"], env=environment)
        for k in range(workers)
    ]
